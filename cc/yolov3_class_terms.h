// Labels of a row's classes, and the terms of single classes. Shared by host and device.
#ifndef DETLOSS_CC_YOLOV3_CLASS_TERMS_H_
#define DETLOSS_CC_YOLOV3_CLASS_TERMS_H_

#include <cstdint>

#include "cc/math.h"
#include "cc/platform.h"
#include "cc/sigmoid_loss.h"
#include "cc/yolov3_cell.h"

namespace detloss {

// Smoothed labels of a row's classes, and the classes' weights.
template <class L>
class ClassLabels {
 public:
  // `classes` are the label's columns from the first class on; null for a row without an object, whose label is not
  // read: it has no class.
  DETLOSS_INLINE ClassLabels(const YoloCellOptions& options, const L* classes)
      : scores_(options.corner_targets ? nullptr : classes),
        index_(options.corner_targets && classes != nullptr ? static_cast<int64_t>(classes[0]) : -1),
        weights_(options.class_weights),
        smoothing_(static_cast<L>(options.label_smoothing)) {}

  DETLOSS_INLINE L Raw(int64_t c) const { return scores_ != nullptr ? scores_[c] : c == index_ ? L(1) : L(0); }
  DETLOSS_INLINE L operator[](int64_t c) const { return Smooth(Raw(c), smoothing_); }
  DETLOSS_INLINE L Weight(int64_t c) const { return weights_ != nullptr ? static_cast<L>(weights_[c]) : L(1); }

 private:
  const L* const scores_;
  const int64_t index_;
  const float* const weights_;
  const L smoothing_;
};

// Probabilities below count as this one and have no gradient.
template <class L>
DETLOSS_SHARED L SmallestFocalProbability() {
  return static_cast<L>(1e-15);
}

// Loss of one class, and its gradient with respect to the logarithm of its probability.
template <class L>
DETLOSS_SHARED LossAndGradient<L> SoftmaxFocalLoss(L log_probability, L label) {
  const L p = Exp(log_probability), missed = 1 - p, scale = label / 4;
  if (p < SmallestFocalProbability<L>()) return {-scale * missed * missed * Log(SmallestFocalProbability<L>()), 0};
  return {-scale * missed * missed * log_probability, scale * missed * (2 * p * log_probability - missed)};
}

template <class L>
struct ClippedSigmoid {
  L value;
  L log_slope;  // derivative of its logarithm
};

template <class L>
DETLOSS_SHARED ClippedSigmoid<L> ClippedSigmoidOf(L logit) {
  constexpr L kLow = static_cast<L>(1e-7), kHigh = static_cast<L>(1 - 1e-7);
  const L p = SigmoidOf(logit).probability;
  return p < kLow ? ClippedSigmoid<L>{kLow, 0} : p > kHigh ? ClippedSigmoid<L>{kHigh, 0} : ClippedSigmoid<L>{p, 1 - p};
}

}  // namespace detloss

#endif  // DETLOSS_CC_YOLOV3_CLASS_TERMS_H_
