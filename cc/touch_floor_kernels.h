// Loops of the touch-only floor, compiled once per CPU tier.
#ifndef DETLOSS_CC_TOUCH_FLOOR_KERNELS_H_
#define DETLOSS_CC_TOUCH_FLOOR_KERNELS_H_

#include <cstdint>

#include "cc/cpu_tier.h"
#include "cc/touch_floor.h"

namespace detloss {

// Rows are written in groups: of so many, and so many bytes at most.
constexpr int64_t kTouchedGroup = 32;
constexpr int64_t kTouchedGroupBytes = 64 << 10;

struct TouchFloorKernels {
  uint32_t (*read)(const TouchedRows& rows, int64_t begin, int64_t end);
  // `buffer` holds a group of rows, and begins on a cache line.
  void (*write)(char* gradient, int64_t row_bytes, int64_t begin, int64_t end, int64_t nonzero_every, char* buffer);
};

DETLOSS_DECLARE_PER_TIER(const TouchFloorKernels kTouchFloor)

}  // namespace detloss

#endif  // DETLOSS_CC_TOUCH_FLOOR_KERNELS_H_
