// Compiled once per CPU tier, with DETLOSS_TIER naming it: see cpu_tier.h.
#include "cc/touch_floor_kernels.h"

#include <cstring>

#include "cc/streaming.h"

namespace detloss {
namespace DETLOSS_TIER {
namespace {

uint32_t Read(const TouchedRows& rows, int64_t begin, int64_t end) {
  constexpr int kLanes = 8;
  uint32_t any[kLanes] = {};
  for (int64_t row = begin; row < end; ++row) {
    const char* data = static_cast<const char*>(rows.data) + row * rows.row_bytes;
    int64_t byte = 0;
    for (; byte + 4 * kLanes <= rows.touched_bytes; byte += 4 * kLanes) {
      uint32_t words[kLanes];
      memcpy(words, data + byte, sizeof(words));
      for (int lane = 0; lane < kLanes; ++lane) any[lane] |= words[lane];
    }
    for (; byte + 4 <= rows.touched_bytes; byte += 4) {
      uint32_t word;
      memcpy(&word, data + byte, sizeof(word));
      any[0] |= word;
    }
  }
  for (int lane = 1; lane < kLanes; ++lane) any[0] |= any[lane];
  return any[0];
}

DETLOSS_SHARED void WriteRows(char* rows, int64_t row_bytes, int64_t begin, int64_t end, int64_t nonzero_every) {
  memset(rows, nonzero_every == 0 ? 1 : 0, (end - begin) * row_bytes);
  if (nonzero_every == 0) return;
  for (int64_t row = (begin + nonzero_every - 1) / nonzero_every * nonzero_every; row < end; row += nonzero_every) {
    rows[(row - begin) * row_bytes] = 1;
  }
}

void Write(char* gradient, int64_t row_bytes, int64_t begin, int64_t end, int64_t nonzero_every, char* buffer) {
  const int64_t group_bytes = kTouchedGroup * row_bytes;
  // No loss has rows so wide that a group of them does not fit.
  const int64_t last = group_bytes <= kTouchedGroupBytes ? end - kTouchedGroup : begin - 1;
  int64_t row = begin;
  for (; row <= last; row += kTouchedGroup) {
    WriteRows(buffer, row_bytes, row, row + kTouchedGroup, nonzero_every);
    StreamLines(buffer, group_bytes, gradient + row * row_bytes);
  }
  WriteRows(gradient + row * row_bytes, row_bytes, row, end, nonzero_every);
  FinishStreaming();
}

}  // namespace

const TouchFloorKernels kTouchFloor = {Read, Write};

}  // namespace DETLOSS_TIER
}  // namespace detloss
