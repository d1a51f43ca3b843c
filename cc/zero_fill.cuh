// Zeros for a tile of a gradient, by all threads of a block.
#ifndef DETLOSS_CC_ZERO_FILL_CUH_
#define DETLOSS_CC_ZERO_FILL_CUH_

#include <cuda_runtime.h>

#include <cstdint>

namespace detloss {

// Sixteen bytes at a time where the tile lets it.
template <int kThreads, class T>
__device__ void FillWithZeros(T* tile, int64_t count) {
  const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
  const bool aligned = reinterpret_cast<uintptr_t>(tile) % sizeof(uint4) == 0;
  const int64_t vectors = aligned ? bytes / static_cast<int64_t>(sizeof(uint4)) : 0;
  for (int64_t i = threadIdx.x; i < vectors; i += kThreads) reinterpret_cast<uint4*>(tile)[i] = make_uint4(0, 0, 0, 0);
  const int64_t rest = vectors * static_cast<int64_t>(sizeof(uint4) / sizeof(T));
  for (int64_t i = rest + threadIdx.x; i < count; i += kThreads) tile[i] = T{};
}

}  // namespace detloss

#endif  // DETLOSS_CC_ZERO_FILL_CUH_
