# detloss_add_kernels(<target>): the kernels of cc/ as a static library. Sources named *_kernels.cc are compiled once per CPU tier (cc/cpu_tier.h), and *.cu
# where DetlossCuda.cmake chose a compiler for them.
function(detloss_add_kernels target)
  set(_cc ${PROJECT_SOURCE_DIR}/cc)
  add_library(${target} STATIC
    ${_cc}/cpu_tier.cc
    ${_cc}/executor.cc
    ${_cc}/hard_negative_mining.cc
    ${_cc}/ssd_layout.cc
    ${_cc}/ssd_loss.cc
    ${_cc}/thread_pool.cc
    ${_cc}/touch_floor.cc
    ${_cc}/yolo_ignore_mask.cc
    ${_cc}/yolov3_loss.cc)
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(${target} PUBLIC Threads::Threads)

  # Every instruction set must round alike: no contraction into fused multiply-adds but where the source asks for them.
  # The other two let the compiler vectorise comparisons and square roots; they change no value.
  set(_options -ffp-contract=off -fno-math-errno -fno-trapping-math)
  # Vectors never cross a library's boundary, so their calling convention does not matter; and GCC takes the padding of
  # ClassStrides, which rows of few classes alone use, for uninitialised.
  list(APPEND _options -Wall -Wextra -Wno-psabi -Wno-maybe-uninitialized)
  target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:${_options}>")

  if(DETLOSS_HAS_CUDA)
    target_compile_definitions(${target} PUBLIC DETLOSS_HAS_CUDA=1)
    detloss_add_cuda_sources(${target}
      ${_cc}/hard_negative_mining.cu
      ${_cc}/ssd_loss.cu
      ${_cc}/touch_floor.cu
      ${_cc}/yolo_ignore_mask.cu
      ${_cc}/yolov3_loss.cu)
  endif()

  set(_march_baseline x86-64)
  set(_march_x86_64_v3 x86-64-v3)
  set(_march_x86_64_v4 x86-64-v4)
  foreach(tier IN ITEMS baseline x86_64_v3 x86_64_v4)
    add_library(${target}_${tier} OBJECT
      ${_cc}/hard_negative_mining_kernels.cc
      ${_cc}/ssd_loss_kernels.cc
      ${_cc}/touch_floor_kernels.cc
      ${_cc}/yolo_ignore_mask_kernels.cc
      ${_cc}/yolov3_loss_kernels.cc)
    target_include_directories(${target}_${tier} PRIVATE ${PROJECT_SOURCE_DIR})
    target_compile_definitions(${target}_${tier} PRIVATE DETLOSS_TIER=${tier})
    target_compile_options(${target}_${tier} PRIVATE ${_options} -O3 -march=${_march_${tier}})
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_${tier}>)
  endforeach()
endfunction()
