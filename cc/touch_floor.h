// The memory floor of a loss as kernels that only touch: they read what a forward pass must read, write what a backward
// pass must write, and compute nothing. Benchmarks divide by their time.
#ifndef DETLOSS_CC_TOUCH_FLOOR_H_
#define DETLOSS_CC_TOUCH_FLOOR_H_

#include <cstdint>

#include "cc/device_stream.h"
#include "cc/executor.h"
#include "cc/status.h"

namespace detloss {

// Rows of one tensor, of which the first `touched_bytes` are read.
struct TouchedRows {
  const void* data;
  int64_t row_bytes;
  int64_t touched_bytes;
};

// Reads both tensors, and returns something that depends on every byte read.
uint32_t TouchForward(const TouchedRows& labels, const TouchedRows& predictions, int64_t rows, Executor& executor);

// Writes a dense gradient past the cache: zeros, but for one element in every so many rows; no zeros at all if
// `nonzero_every` is 0. The gradient is aligned to a cache line.
void TouchBackward(void* gradient, int64_t row_bytes, int64_t rows, int64_t nonzero_every, Executor& executor);

// The same on a device, by whole words of 16 bytes. What was read ends up in `seen`, a word of the device's memory, by
// bitwise or.
Status TouchForward(const TouchedRows& labels, const TouchedRows& predictions, int64_t rows, uint32_t* seen,
                    DeviceStream stream);
Status TouchBackward(void* gradient, int64_t row_bytes, int64_t rows, int64_t nonzero_every, DeviceStream stream);

}  // namespace detloss

#endif  // DETLOSS_CC_TOUCH_FLOOR_H_
