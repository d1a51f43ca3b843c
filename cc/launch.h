// Kernel launches, by nvcc or clang, or as tests/cc/simt emulates them on the host.
#ifndef DETLOSS_CC_LAUNCH_H_
#define DETLOSS_CC_LAUNCH_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "cc/device_stream.h"
#include "cc/status.h"

namespace detloss {

inline Status ToStatus(const char* what, cudaError_t error) {
  if (error == cudaSuccess) return Status::Ok();
  return Status::Internal(std::string(what) + ": " + cudaGetErrorString(error));
}

// Runs `kernel` as `blocks` blocks of `threads` threads. No blocks are no launch.
template <class... Parameters, class... Arguments>
Status Launch(const char* name, void (*kernel)(Parameters...), int64_t blocks, int threads, DeviceStream stream,
              Arguments... arguments) {
  constexpr int64_t kMostBlocks = 0x7fffffff;
  if (blocks == 0) return Status::Ok();
  if (blocks > kMostBlocks) return Status::InvalidArgument(std::string(name) + ": more boxes than a launch can have");
#if defined(__CUDACC__)
  kernel<<<static_cast<unsigned>(blocks), threads, 0, stream>>>(arguments...);
#else
  simt::Launch(static_cast<unsigned>(blocks), threads, [&] { kernel(arguments...); });
#endif
  return ToStatus(name, cudaGetLastError());
}

inline int64_t DividedUp(int64_t count, int64_t by) { return (count + by - 1) / by; }

inline Status SetToZero(void* memory, size_t bytes, DeviceStream stream) {
  return bytes == 0 ? Status::Ok() : ToStatus("memset", cudaMemsetAsync(memory, 0, bytes, stream));
}

}  // namespace detloss

#endif  // DETLOSS_CC_LAUNCH_H_
