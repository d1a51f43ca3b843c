#include "cc/touch_floor.h"

#include <atomic>

#include "cc/touch_floor_kernels.h"

namespace detloss {
namespace {

constexpr int64_t kRowsPerTask = 1024;

}  // namespace

uint32_t TouchForward(const TouchedRows& labels, const TouchedRows& predictions, int64_t rows, Executor& executor) {
  const TouchFloorKernels& kernels = DETLOSS_PICK_PER_TIER(ChosenCpuTier(), kTouchFloor);
  std::atomic<uint32_t> any{0};
  ParallelFor(executor, rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
    // Row groups small enough that both tensors are read side by side, as a loss reads them.
    constexpr int64_t kSideBySide = 16;
    uint32_t seen = 0;
    for (int64_t row = begin; row < end; row += kSideBySide) {
      const int64_t stop = row + kSideBySide < end ? row + kSideBySide : end;
      seen |= kernels.read(labels, row, stop) | kernels.read(predictions, row, stop);
    }
    any.fetch_or(seen);
  });
  return any.load();
}

void TouchBackward(void* gradient, int64_t row_bytes, int64_t rows, int64_t nonzero_every, Executor& executor) {
  const TouchFloorKernels& kernels = DETLOSS_PICK_PER_TIER(ChosenCpuTier(), kTouchFloor);
  ParallelFor(executor, rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
    alignas(64) char buffer[kTouchedGroupBytes];
    kernels.write(static_cast<char*>(gradient), row_bytes, begin, end, nonzero_every, buffer);
  });
}

}  // namespace detloss
