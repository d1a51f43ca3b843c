// Sixteen threads that look at one row together, each at every sixteenth class, as the lanes of log_sum_exp.h do on the
// host, and with the same bits.
#ifndef DETLOSS_CC_ROW_GROUP_CUH_
#define DETLOSS_CC_ROW_GROUP_CUH_

#include <math.h>

#include <cstdint>

#include "cc/block_reduce.cuh"
#include "cc/dtypes.h"
#include "cc/math.h"
#include "cc/softmax_terms.h"

namespace detloss {

constexpr int kGroup = 16;

// Passes over NaN; -inf where there is nothing else. All threads of the warp take part, in both groups of it, here and
// below.
template <class T>
__device__ Compute<T> GroupLargest(const T* values, int64_t count) {
  using L = Compute<T>;
  L largest = -static_cast<L>(HUGE_VAL);
  for (int64_t c = threadIdx.x % kGroup; c < count; c += kGroup) {
    const L value = ToCompute(values[c]);
    largest = value > largest ? value : largest;
  }
  return WarpLargest<kGroup>(largest);
}

// NaN if any entry is.
template <class T>
__device__ Compute<T> GroupLargestOrNan(const T* values, int64_t count) {
  bool is_nan = false;
  for (int64_t c = threadIdx.x % kGroup; c < count; c += kGroup) is_nan |= IsNan(ToCompute(values[c]));
  const unsigned group = 0xffffu << (threadIdx.x % kWarp / kGroup * kGroup);
  const bool any_nan = (__ballot_sync(kAllLanes, is_nan) & group) != 0;
  const Compute<T> largest = GroupLargest(values, count);
  return any_nan ? static_cast<Compute<T>>(NAN) : largest;
}

// The host adds the last sixteen classes first, of which those that a stride before holds count as zero.
template <class T>
__device__ SoftmaxTerms<Compute<T>> GroupSoftmaxTerms(const T* logits, int64_t count) {
  using L = Compute<T>;
  const int lane = threadIdx.x % kGroup;
  const L largest = GroupLargest(logits, count);
  const int64_t last = (count - 1) / kGroup * kGroup;
  const int64_t overlapping = count < kGroup ? lane : count - kGroup + lane;
  L sum = 0;
  if (overlapping >= last && overlapping < count) sum = Exp(FromLargest(ToCompute(logits[overlapping]), largest));
  for (int64_t c = lane; c < last; c += kGroup) sum += Exp(FromLargest(ToCompute(logits[c]), largest));
  return {largest, Log(WarpSum<kGroup>(sum))};
}

}  // namespace detloss

#endif  // DETLOSS_CC_ROW_GROUP_CUH_
