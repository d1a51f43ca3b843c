# CUDA 12 kernels by clang, with no toolkit installed: nvcc 13's machine code needs driver 580, newer than the ones that TensorFlow
# 2.21 supports. Sets what DetlossCuda.cmake promises, or stops: who asks for this build wants no other.
find_program(DETLOSS_CLANG NAMES clang++-19 clang++-20 clang++-21 clang++-18 clang++ DOC "clang 18 or newer, for CUDA 12 kernels")
if(DETLOSS_CLANG)
  execute_process(COMMAND ${DETLOSS_CLANG} -dumpversion OUTPUT_VARIABLE _clang_version OUTPUT_STRIP_TRAILING_WHITESPACE)
endif()
if(NOT DETLOSS_CLANG OR _clang_version VERSION_LESS 18)
  message(FATAL_ERROR "DETLOSS_CUDA_TOOLKIT=12: expected clang++ 18 or newer, found ${DETLOSS_CLANG} ${_clang_version}. "
    "Install it, as in apt-get install clang-19, or name it with DETLOSS_CLANG.")
endif()

find_package(Python 3.10 REQUIRED COMPONENTS Interpreter)
set(DETLOSS_CUDA12 ${PROJECT_BINARY_DIR}/cuda-12.9)
execute_process(
  COMMAND ${Python_EXECUTABLE} ${PROJECT_SOURCE_DIR}/cmake/fetch_cuda12.py ${DETLOSS_CUDA12}
  RESULT_VARIABLE _failed)
if(_failed)
  message(FATAL_ERROR "DETLOSS_CUDA_TOOLKIT=12: could not fetch the parts of CUDA 12.9; pip's message is above")
endif()

set(DETLOSS_HAS_CUDA TRUE)
file(READ ${DETLOSS_CUDA12}/version.txt DETLOSS_CUDA_VERSION)
set(DETLOSS_CUDART ${DETLOSS_CUDA12}/lib/libcudart_static.a ${CMAKE_DL_LIBS} rt)
# What clang 19 knows; newer GPUs run the PTX of the last one.
detloss_choose_architectures(70 75 80 86 89 90)

# Appends to _outputs the device code of one source for one architecture: machine code, or with -S PTX.
macro(_detloss_clang_device name source architecture output)
  add_custom_command(
    OUTPUT ${output}
    COMMAND ${_clang} --cuda-device-only --cuda-gpu-arch=sm_${architecture} ${ARGN} -o ${output} -MD -MF ${output}.d ${source}
    DEPENDS ${source}
    DEPFILE ${output}.d
    COMMENT "clang: ${name} for ${architecture}"
    VERBATIM)
  list(APPEND _outputs ${output})
endmacro()

# CMake's CUDA language insists on an nvcc even beside clang, and clang on a fatbinary that has options of CUDA 12. So the
# steps are spelt out: device code per architecture, fatbinary, host code that holds it.
function(detloss_add_cuda_sources target)
  set(folder ${PROJECT_BINARY_DIR}/cuda)
  file(MAKE_DIRECTORY ${folder})
  # As nvcc's options in DetlossCudaNvcc.cmake. clang 19 knows CUDA up to 12.5, and what 12.9 adds is not used.
  set(_clang ${DETLOSS_CLANG} -x cuda --cuda-path=${DETLOSS_CUDA12} -Wno-unknown-cuda-version -std=c++17 -O3 -DNDEBUG
    -I${PROJECT_SOURCE_DIR} -DDETLOSS_HAS_CUDA=1 -ffp-contract=off -Wall -Wextra -fno-crash-diagnostics)
  if(DETLOSS_CUDA_WERROR)
    list(APPEND _clang -Werror)
  endif()

  foreach(source IN LISTS ARGN)
    get_filename_component(name ${source} NAME)
    set(stem ${folder}/${name})
    set(images)
    set(_outputs)
    foreach(architecture IN LISTS DETLOSS_CUDA_REAL)
      _detloss_clang_device(${name} ${source} ${architecture} ${stem}.${architecture}.cubin -c -Xcuda-ptxas --warn-on-spills)
      list(APPEND images --image3=kind=elf,sm=${architecture},file=${stem}.${architecture}.cubin)
    endforeach()
    foreach(architecture IN LISTS DETLOSS_CUDA_PTX)
      _detloss_clang_device(${name} ${source} ${architecture} ${stem}.${architecture}.ptx -S)
      list(APPEND images --image3=kind=ptx,sm=${architecture},file=${stem}.${architecture}.ptx)
    endforeach()
    add_custom_command(
      OUTPUT ${stem}.fatbin
      # The compression that CUDA 12 uses too: drivers of its time do not know CUDA 13's.
      COMMAND ${DETLOSS_CUDA12}/bin/fatbinary -64 --compress-all --compress-mode=speed --create ${stem}.fatbin ${images}
      DEPENDS ${_outputs}
      VERBATIM)
    add_custom_command(
      OUTPUT ${stem}.o
      COMMAND ${_clang} --cuda-host-only -Xclang -fcuda-include-gpubinary -Xclang ${stem}.fatbin
        -fPIC -fvisibility=hidden -fvisibility-inlines-hidden -c -o ${stem}.o -MD -MF ${stem}.o.d ${source}
      DEPENDS ${source} ${stem}.fatbin
      DEPFILE ${stem}.o.d
      COMMENT "clang: ${name}, host code"
      VERBATIM)
    list(APPEND objects ${stem}.o)
  endforeach()
  set_source_files_properties(${objects} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  target_sources(${target} PRIVATE ${objects})
  # A target of their own lets them start before all that the library waits for.
  add_custom_target(${target}_cuda DEPENDS ${objects})
  add_dependencies(${target} ${target}_cuda)
  target_link_libraries(${target} PUBLIC ${DETLOSS_CUDART})
endfunction()
