# cmake -DNM=<nm> -DOBJECTS=<object|object|...> -P no_weak_symbols.cmake
# The linker keeps one definition of a weak symbol. Were it the one compiled for AVX-512, the baseline kernels would call it too.
string(REPLACE "|" ";" objects "${OBJECTS}")
if(NOT objects)
  message(FATAL_ERROR "OBJECTS: expected object files, got none")
endif()
foreach(object IN LISTS objects)
  execute_process(COMMAND ${NM} --demangle --defined-only ${object} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]* [WwVvu] [^\n]*" weak "${symbols}")
  if(weak)
    list(JOIN weak "\n  " weak)
    message(SEND_ERROR "${object}: expected no weak or unique symbols, got\n  ${weak}")
  endif()
endforeach()
