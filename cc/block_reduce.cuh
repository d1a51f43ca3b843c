// Sums and scans over the threads of a block, in an order that does not depend on timing.
#ifndef DETLOSS_CC_BLOCK_REDUCE_CUH_
#define DETLOSS_CC_BLOCK_REDUCE_CUH_

#include <cuda_runtime.h>

#include <cstdint>

namespace detloss {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

// Over `kWidth` neighbours, a power of two; all threads of the warp take part.
template <int kWidth = kWarp, class T>
__device__ T WarpSum(T value) {
  for (int offset = kWidth / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  return value;
}

template <int kWidth = kWarp, class T>
__device__ T WarpLargest(T value) {
  for (int offset = kWidth / 2; offset > 0; offset /= 2) {
    const T other = __shfl_xor_sync(kAllLanes, value, offset);
    value = other > value ? other : value;
  }
  return value;
}

// Known to every thread. Every thread of the block takes part, and there are `kThreads` of them.
template <int kThreads, class T>
__device__ T BlockSum(T value) {
  __shared__ T warps[kThreads / kWarp];
  value = WarpSum(value);
  __syncthreads();  // whoever read the last call's sums is done
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = value;
  __syncthreads();
  T sum = 0;
  for (int warp = 0; warp < kThreads / kWarp; ++warp) sum += warps[warp];
  return sum;
}

// Sum over the threads before this one.
template <int kThreads, class T>
__device__ T BlockExclusiveSum(T value) {
  __shared__ T warps[kThreads / kWarp];
  const int lane = threadIdx.x % kWarp;
  T inclusive = value;
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const T before = __shfl_up_sync(kAllLanes, inclusive, offset);
    if (lane >= offset) inclusive += before;
  }
  __syncthreads();
  if (lane == kWarp - 1) warps[threadIdx.x / kWarp] = inclusive;
  __syncthreads();
  T sum = inclusive - value;
  for (int warp = 0; warp < static_cast<int>(threadIdx.x) / kWarp; ++warp) sum += warps[warp];
  return sum;
}

}  // namespace detloss

#endif  // DETLOSS_CC_BLOCK_REDUCE_CUH_
