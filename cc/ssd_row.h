// One box of the SSD loss: its label, cross-entropy, localization and gradient. Shared by host and device.
#ifndef DETLOSS_CC_SSD_ROW_H_
#define DETLOSS_CC_SSD_ROW_H_

#include <cstdint>

#include "cc/dtypes.h"
#include "cc/lanes.h"
#include "cc/math.h"
#include "cc/platform.h"
#include "cc/ssd_layout.h"

namespace detloss {

// Probabilities below count as this one, as in the originals: -log never exceeds 34.5.
template <class L>
DETLOSS_SHARED L SmallestProbability() {
  return static_cast<L>(1e-15);
}

template <class L>
struct SsdTarget {
  L positive;  // weight as a positive
  L negative;  // weight as a candidate for hard negative mining
  bool valid;
};

// A label takes part with classes that are finite and not negative.
template <class L>
DETLOSS_SHARED bool IsValidLabel(L label) {
  return label >= 0 && IsFinite(label);
}

// Whether every class but the background is +0, which is so for nearly every box of an image.
template <class L>
DETLOSS_SHARED bool ForegroundIsZero(const L* labels, int64_t num_classes) {
  if (num_classes <= kLanes) {
    Bits<L> any = 0;
    for (int64_t c = 1; c < num_classes; ++c) any |= BitCast<Bits<L>>(labels[c]);
    return any == 0;
  }
  // The last sixteen may repeat some of those before.
  Vector<uint32_t> any = {};
  for (int64_t c = 1; c < num_classes; c += kLanes) {
    const int64_t first = c + kLanes <= num_classes ? c : num_classes - kLanes;
    for (const Vector<L>& vector : LoadLanes(labels + first).vectors) any |= BitCast<Vector<uint32_t>>(vector);
  }
  return IsZero(any);
}

// `num_labels` classes are read: all of them, or 1 where the foreground is zero.
template <class L>
DETLOSS_SHARED SsdTarget<L> ReadTarget(const SsdLayout& layout, const L* row, int64_t num_labels) {
  const L* labels = row + layout.class_column;
  SsdTarget<L> target = {0, labels[0], IsValidLabel(labels[0])};
  for (int64_t c = 1; c < num_labels; ++c) {
    target.valid &= IsValidLabel(labels[c]);
    target.positive = labels[c] > target.positive ? labels[c] : target.positive;
  }
  if (layout.has_positive_column) {
    target.positive = row[layout.positive_column];
    target.negative = 1 - target.positive;
    target.valid &= IsValidLabel(target.positive);
  }
  if (target.positive > 0) {
    const L* offsets = row + layout.box_column;
    for (int i = 0; i < 4; ++i) target.valid &= IsFinite(offsets[i]);
  }
  return target;
}

template <class L, class T>
DETLOSS_SHARED L CrossEntropyFromProbabilities(const L* labels, const T* probabilities, int64_t num_labels) {
  L sum = 0;
  for (int64_t c = 0; c < num_labels; ++c) {
    if (labels[c] == 0) continue;
    const L p = ToCompute(probabilities[c]);
    // Written so that NaN passes.
    sum -= labels[c] * Log(p < SmallestProbability<L>() ? SmallestProbability<L>() : p);
  }
  return sum;
}

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

// The lanes' sums are added in a fixed tree, so that vectors of any width agree bit for bit.
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

// NaN if any logit is, or if the largest is infinite.
template <class T>
DETLOSS_SHARED Compute<T> LogSumExp(const T* logits, int64_t count) {
  const ClassStrides<T> classes(logits, count);
  const Compute<T> largest = Largest(classes);
  return largest + Log(SumExp(classes, largest));
}

// The same of sixteen rows that lie `width` apart. Step by step over all rows: within one row every step waits for the
// one before.
template <class T>
DETLOSS_SHARED void LogSumExpOfRows(const T* logits, int64_t count, int64_t width, Compute<T>* log_sum_exp) {
  using L = Compute<T>;
  L largest[kLanes], sum[kLanes];
  for (int row = 0; row < kLanes; ++row) largest[row] = Largest(ClassStrides<T>(logits + row * width, count));
  for (int row = 0; row < kLanes; ++row) sum[row] = SumExp(ClassStrides<T>(logits + row * width, count), largest[row]);
  const Lanes<L> result =
      MapLanes(LoadLanes(largest), LoadLanes(sum), [](Vector<L> most, Vector<L> total) { return most + Log(total); });
  memcpy(log_sum_exp, &result, sizeof(result));
}

template <class L, class T>
DETLOSS_SHARED L CrossEntropyFromLogits(const L* labels, const T* logits, int64_t num_labels, L log_sum_exp) {
  L sum = 0;
  for (int64_t c = 0; c < num_labels; ++c) {
    if (labels[c] != 0) sum += labels[c] * (log_sum_exp - ToCompute(logits[c]));
  }
  return sum;
}

template <class L, class T>
DETLOSS_SHARED L SmoothL1(const L* offsets, const T* predicted) {
  L sum = 0;
  for (int i = 0; i < 4; ++i) {
    const L difference = ToCompute(predicted[i]) - offsets[i];
    const L magnitude = difference < 0 ? -difference : difference;
    sum += magnitude < 1 ? L(0.5) * difference * difference : magnitude - L(0.5);
  }
  return sum;
}

template <class L, class T>
DETLOSS_SHARED void SmoothL1Gradient(const L* offsets, const T* predicted, L scale, T* gradient) {
  for (int i = 0; i < 4; ++i) {
    const L difference = ToCompute(predicted[i]) - offsets[i];
    Store(scale * (difference > 1 ? L(1) : difference < -1 ? L(-1) : difference), gradient + i);
  }
}

// Into a gradient that is zero: entries without a label stay so.
template <class L, class T>
DETLOSS_SHARED void ProbabilitiesGradient(const L* labels, const T* probabilities, int64_t num_labels, L scale,
                                          T* gradient) {
  for (int64_t c = 0; c < num_labels; ++c) {
    const L p = ToCompute(probabilities[c]);
    if (labels[c] != 0 && !(p < SmallestProbability<L>())) Store(-scale * labels[c] / p, gradient + c);
  }
}

template <class L, class T>
DETLOSS_SHARED void LogitsGradient(const L* labels, const T* logits, int64_t num_classes, L scale, T* gradient) {
  L label_sum = 0;
  for (int64_t c = 0; c < num_classes; ++c) label_sum += labels[c];
  if (label_sum == 0) return;  // takes no part, whatever the logits are
  const L log_sum_exp = LogSumExp(logits, num_classes);
  for (int64_t c = 0; c < num_classes; ++c) {
    const L probability = Exp(ToCompute(logits[c]) - log_sum_exp);
    Store(scale * (label_sum * probability - labels[c]), gradient + c);
  }
}

}  // namespace detloss

#endif  // DETLOSS_CC_SSD_ROW_H_
