# Whether this build has CUDA kernels, made by which compiler, for which GPUs.
#
# Input:  the variables below.
# Output: DETLOSS_HAS_CUDA and, where it is true, DETLOSS_CUDA_VERSION (of the toolkit), DETLOSS_CUDA_REAL and
#         DETLOSS_CUDA_PTX (architectures to compile to machine code, and to PTX), DETLOSS_CUDA_NAMES (both, sorted),
#         DETLOSS_CUDART (what to link), detloss_add_cuda_sources(<target> <source>...).
set(DETLOSS_CUDA AUTO CACHE STRING "Build CUDA kernels: AUTO (where nvcc is found), ON (insist) or OFF")
set(DETLOSS_CUDA_TOOLKIT "" CACHE STRING
  "Empty: nvcc as installed. 12: clang with parts of CUDA 12.9 that the build fetches, for drivers before 580")
set(DETLOSS_CUDA_ARCHITECTURES "" CACHE STRING
  "GPU architectures, as in 75;90. Empty: all that are named here. The newest gets PTX; or say which with -real, -virtual")
# Off for users: whether registers spill hangs on the compiler's version.
option(DETLOSS_CUDA_WERROR "Treat the CUDA compiler's warnings as errors, nvcc's of spilled registers among them" OFF)
set_property(CACHE DETLOSS_CUDA PROPERTY STRINGS AUTO ON OFF)
set_property(CACHE DETLOSS_CUDA_TOOLKIT PROPERTY STRINGS "" 12)
if(NOT DETLOSS_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "DETLOSS_CUDA: expected AUTO, ON or OFF, got ${DETLOSS_CUDA}")
endif()
if(NOT DETLOSS_CUDA_TOOLKIT MATCHES "^(|12)$")
  message(FATAL_ERROR "DETLOSS_CUDA_TOOLKIT: expected 12 or nothing, got ${DETLOSS_CUDA_TOOLKIT}")
endif()

# Turns the user's architectures, or else the given ones, into DETLOSS_CUDA_REAL, DETLOSS_CUDA_PTX and DETLOSS_CUDA_NAMES.
function(detloss_choose_architectures)
  string(REGEX REPLACE "[ ,]+" ";" chosen "${DETLOSS_CUDA_ARCHITECTURES}")
  if(NOT chosen)
    set(chosen ${ARGN})
  endif()
  list(REMOVE_DUPLICATES chosen)
  list(SORT chosen COMPARE NATURAL)
  if(NOT chosen MATCHES "-")
    list(POP_BACK chosen newest)
    list(TRANSFORM chosen APPEND "-real")
    list(APPEND chosen ${newest})
  endif()
  foreach(architecture IN LISTS chosen)
    if(NOT architecture MATCHES "^([0-9]+[af]?)(-real|-virtual)?$")
      message(FATAL_ERROR "DETLOSS_CUDA_ARCHITECTURES: expected numbers as in 75;90, got ${DETLOSS_CUDA_ARCHITECTURES}")
    endif()
    list(APPEND names ${CMAKE_MATCH_1})
    if(NOT CMAKE_MATCH_2 STREQUAL "-virtual")
      list(APPEND real ${CMAKE_MATCH_1})
    endif()
    if(NOT CMAKE_MATCH_2 STREQUAL "-real")
      list(APPEND ptx ${CMAKE_MATCH_1})
    endif()
  endforeach()
  list(REMOVE_DUPLICATES names)
  set(DETLOSS_CUDA_NAMES ${names} PARENT_SCOPE)
  set(DETLOSS_CUDA_REAL ${real} PARENT_SCOPE)
  set(DETLOSS_CUDA_PTX ${ptx} PARENT_SCOPE)
endfunction()

set(DETLOSS_HAS_CUDA FALSE)
if(DETLOSS_CUDA STREQUAL OFF)
  set(_left_out "DETLOSS_CUDA=OFF")
elseif(DETLOSS_CUDA_TOOLKIT STREQUAL 12)
  include(DetlossCudaClang)
else()
  include(DetlossCudaNvcc)
endif()

if(DETLOSS_HAS_CUDA)
  message(STATUS "detloss: CUDA kernels for ${DETLOSS_CUDA_NAMES} (PTX: ${DETLOSS_CUDA_PTX}), CUDA ${DETLOSS_CUDA_VERSION}")
elseif(DETLOSS_CUDA STREQUAL ON)
  message(FATAL_ERROR "DETLOSS_CUDA=ON: ${_left_out}. Put the nvcc of CUDA 12 or 13 on PATH or name it in CUDACXX; or set "
    "DETLOSS_CUDA_TOOLKIT=12, which needs clang instead; or set DETLOSS_CUDA=OFF for a build without CUDA kernels.")
else()
  message(STATUS "detloss: CUDA kernels left out: ${_left_out}")
endif()
