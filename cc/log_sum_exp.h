// Largest value of a row's classes, and the terms of its softmax. Host only.
#ifndef DETLOSS_CC_LOG_SUM_EXP_H_
#define DETLOSS_CC_LOG_SUM_EXP_H_

#include <math.h>

#include <cstdint>
#include <cstring>

#include "cc/dtypes.h"
#include "cc/lanes.h"
#include "cc/math.h"
#include "cc/platform.h"
#include "cc/softmax_terms.h"

namespace detloss {

// A row's classes sixteen at a time. Fewer are padded with -inf; a last stride that is not full overlaps the one before
// it.
template <class T>
class ClassStrides {
 public:
  using L = Compute<T>;

  DETLOSS_INLINE ClassStrides(const T* classes, int64_t count) : classes_(classes), count_(count) {
    if (count >= kLanes) return;
    for (int lane = 0; lane < kLanes; ++lane) padded_[lane] = -static_cast<L>(HUGE_VAL);
    for (int lane = 0; lane < count; ++lane) padded_[lane] = ToCompute(classes[lane]);
  }

  DETLOSS_INLINE int64_t strides() const { return (count_ + kLanes - 1) / kLanes; }
  DETLOSS_INLINE Lanes<L> operator[](int64_t stride) const {
    return count_ < kLanes ? LoadLanes(padded_) : LoadLanes(classes_ + FirstClass(stride));
  }
  // Lanes of the stride below this one repeat classes of the stride before.
  DETLOSS_INLINE int FirstNewLane(int64_t stride) const {
    return count_ < kLanes ? 0 : static_cast<int>(stride * kLanes - FirstClass(stride));
  }

 private:
  DETLOSS_INLINE int64_t FirstClass(int64_t stride) const {
    const int64_t first = stride * kLanes;
    return first + kLanes <= count_ ? first : count_ - kLanes;
  }

  const T* const classes_;
  const int64_t count_;
  L padded_[kLanes];
};

// Passes over NaN; -inf where there is nothing else.
template <class T>
DETLOSS_SHARED Compute<T> Largest(const ClassStrides<T>& classes) {
  const auto larger = [](auto a, auto b) { return b > a ? b : a; };
  const Lanes<Compute<T>> nothing = ReplaceFirst(Lanes<Compute<T>>{}, kLanes, -static_cast<Compute<T>>(HUGE_VAL));
  Lanes<Compute<T>> largest = nothing;
  for (int64_t stride = 0; stride < classes.strides(); ++stride) largest = MapLanes(largest, classes[stride], larger);
  return ReduceLanes(largest, larger);
}

// NaN if any entry is.
template <class T>
DETLOSS_SHARED Compute<T> LargestOrNan(const T* values, int64_t count) {
  for (int64_t c = 0; c < count; ++c) {
    if (IsNan(ToCompute(values[c]))) return ToCompute(values[c]);
  }
  return Largest(ClassStrides<T>(values, count));
}

// For a finite `largest`. The lanes' sums are added in a fixed tree, so that vectors of any width agree bit for bit.
template <class T>
DETLOSS_SHARED Compute<T> SumExp(const ClassStrides<T>& classes, Compute<T> largest) {
  using L = Compute<T>;
  const auto add = [](auto a, auto b) { return a + b; };
  const auto exp_of = [&](Vector<L> x) { return Exp(x - largest); };
  const int64_t last = classes.strides() - 1;
  Lanes<L> sum = ReplaceFirst(MapLanes(classes[last], exp_of), classes.FirstNewLane(last), L(0));
  for (int64_t stride = 0; stride < last; ++stride) sum = MapLanes(sum, MapLanes(classes[stride], exp_of), add);
  return ReduceLanes(sum, add);
}

// For an infinite `largest`: how many logits equal it, NaN if any is.
template <class T>
DETLOSS_SHARED Compute<T> SumExpOfInfinite(const T* logits, int64_t count, Compute<T> largest) {
  Compute<T> sum = 0;
  for (int64_t c = 0; c < count; ++c) sum += Exp(FromLargest(ToCompute(logits[c]), largest));
  return sum;
}

template <class T>
DETLOSS_SHARED SoftmaxTerms<Compute<T>> SoftmaxTermsOf(const T* logits, int64_t count) {
  const ClassStrides<T> classes(logits, count);
  const Compute<T> largest = Largest(classes);
  return {largest, Log(IsFinite(largest) ? SumExp(classes, largest) : SumExpOfInfinite(logits, count, largest))};
}

// The same of sixteen rows.
template <class L>
struct SoftmaxTermsOfRows {
  L largest[kLanes] = {};
  L log_sum[kLanes] = {};

  DETLOSS_INLINE SoftmaxTerms<L> operator[](int row) const { return {largest[row], log_sum[row]}; }
};

// Of rows that lie `width` apart. Step by step over all rows: within one row every step waits for the one before.
template <class T>
DETLOSS_SHARED void ComputeSoftmaxTermsOfRows(const T* logits, int64_t count, int64_t width,
                                              SoftmaxTermsOfRows<Compute<T>>* terms) {
  using L = Compute<T>;
  L* const largest = terms->largest;
  L sum[kLanes];
  for (int row = 0; row < kLanes; ++row) largest[row] = Largest(ClassStrides<T>(logits + row * width, count));
  for (int row = 0; row < kLanes; ++row) sum[row] = SumExp(ClassStrides<T>(logits + row * width, count), largest[row]);
  if (AnyLane(largest, [](Vector<L> x) { return x - x != 0; })) {
    for (int row = 0; row < kLanes; ++row) {
      if (!IsFinite(largest[row])) sum[row] = SumExpOfInfinite(logits + row * width, count, largest[row]);
    }
  }
  const Lanes<L> log_sum = MapLanes(LoadLanes(sum), [](Vector<L> total) { return Log(total); });
  memcpy(terms->log_sum, &log_sum, sizeof(log_sum));
}

}  // namespace detloss

#endif  // DETLOSS_CC_LOG_SUM_EXP_H_
