// One box of the SSD loss: its label, cross-entropy, localization and gradient. Shared by host and device.
#ifndef DETLOSS_CC_SSD_ROW_H_
#define DETLOSS_CC_SSD_ROW_H_

#include <cstdint>

#include "cc/dtypes.h"
#include "cc/lanes.h"
#include "cc/log_sum_exp.h"
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
