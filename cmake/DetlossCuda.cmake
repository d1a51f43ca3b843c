# DETLOSS_CUDA: AUTO builds the CUDA kernels where nvcc is found, ON insists on them, OFF leaves them out.
set(DETLOSS_CUDA AUTO CACHE STRING "Build CUDA kernels: AUTO, ON or OFF")
set_property(CACHE DETLOSS_CUDA PROPERTY STRINGS AUTO ON OFF)
if(NOT DETLOSS_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "DETLOSS_CUDA: expected AUTO, ON or OFF, got ${DETLOSS_CUDA}")
endif()

# This version has no CUDA kernels yet, so that no choice but one can be met.
if(DETLOSS_CUDA STREQUAL ON)
  message(FATAL_ERROR "DETLOSS_CUDA=ON: this version of detloss has no CUDA kernels yet; use AUTO or OFF")
endif()
message(STATUS "detloss: CPU-only build (DETLOSS_CUDA=${DETLOSS_CUDA}; this version has no CUDA kernels yet)")
