// The class term of one row of a YOLOv3 head, and its gradient. Host only.
#ifndef DETLOSS_CC_YOLOV3_CLASSES_H_
#define DETLOSS_CC_YOLOV3_CLASSES_H_

#include <cstdint>

#include "cc/dtypes.h"
#include "cc/lanes.h"
#include "cc/log_sum_exp.h"
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

  // Those of sixteen classes.
  DETLOSS_INLINE Lanes<L> LabelsFrom(int64_t first) const {
    return Gather(first, [&](int64_t c) { return (*this)[c]; });
  }
  DETLOSS_INLINE Lanes<L> WeightsFrom(int64_t first) const {
    return Gather(first, [&](int64_t c) { return Weight(c); });
  }

  // The class itself: the first of the largest.
  DETLOSS_INLINE int64_t Class(int64_t num_classes) const {
    int64_t best = 0;
    for (int64_t c = 1; c < num_classes; ++c) best = Raw(c) > Raw(best) ? c : best;
    return best;
  }

  // Mean weight of the row's classes.
  DETLOSS_INLINE L MeanWeight(int64_t num_classes) const {
    L weighted = 0, sum = 0;
    for (int64_t c = 0; c < num_classes; ++c) {
      weighted += Weight(c) * (*this)[c];
      sum += (*this)[c];
    }
    return weighted / sum;
  }

 private:
  template <class F>
  DETLOSS_INLINE static Lanes<L> Gather(int64_t first, const F& value) {
    L values[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) values[lane] = value(first + lane);
    return LoadLanes(values);
  }

  const L* const scores_;
  const int64_t index_;
  const float* const weights_;
  const L smoothing_;
};

// ---- Sigmoids: every class by itself ----

// `term(logit, label)` gives loss and gradient of one class, or of a vector of them.
template <class T, class F>
DETLOSS_SHARED Compute<T> SumOverClasses(const ClassLabels<Compute<T>>& labels, const T* logits, int64_t num_classes,
                                         const F& term) {
  using L = Compute<T>;
  Lanes<L> sums = {};
  int64_t c = 0;
  for (; c + kLanes <= num_classes; c += kLanes) {
    const Lanes<L> logit = LoadLanes(logits + c), label = labels.LabelsFrom(c), weight = labels.WeightsFrom(c);
    for (int v = 0; v < Lanes<L>::kVectors; ++v) {
      sums.vectors[v] += weight.vectors[v] * term(logit.vectors[v], label.vectors[v]).loss;
    }
  }
  L sum = ReduceLanes(sums, [](auto a, auto b) { return a + b; });
  for (; c < num_classes; ++c) sum += labels.Weight(c) * term(ToCompute(logits[c]), labels[c]).loss;
  return sum;
}

template <class T, class F>
DETLOSS_SHARED void GradientsOfClasses(const ClassLabels<Compute<T>>& labels, const T* logits, int64_t num_classes,
                                       Compute<T> scale, const F& term, T* gradient) {
  using L = Compute<T>;
  int64_t c = 0;
  for (; c + kLanes <= num_classes; c += kLanes) {
    const Lanes<L> logit = LoadLanes(logits + c), label = labels.LabelsFrom(c), weight = labels.WeightsFrom(c);
    L values[kLanes];
    for (int v = 0; v < Lanes<L>::kVectors; ++v) {
      const Vector<L> slope = scale * weight.vectors[v] * term(logit.vectors[v], label.vectors[v]).gradient;
      StoreVector(slope, values + v * (kVectorBytes / sizeof(L)));
    }
    for (int lane = 0; lane < kLanes; ++lane) Store(values[lane], gradient + c + lane);
  }
  for (; c < num_classes; ++c) {
    Store(scale * labels.Weight(c) * term(ToCompute(logits[c]), labels[c]).gradient, gradient + c);
  }
}

// ---- Softmax ----

template <class T>
DETLOSS_SHARED Compute<T> SoftmaxLoss(const ClassLabels<Compute<T>>& labels, const T* logits, int64_t num_classes) {
  using L = Compute<T>;
  const L log_sum_exp = LogSumExp(logits, num_classes);
  L sum = 0;
  for (int64_t c = 0; c < num_classes; ++c) {
    if (labels[c] != 0) sum += labels[c] * (log_sum_exp - ToCompute(logits[c]));
  }
  return labels.MeanWeight(num_classes) * sum;
}

// TensorFlow's gradient, also where the labels do not add up to 1.
template <class T>
DETLOSS_SHARED void SoftmaxGradient(const ClassLabels<Compute<T>>& labels, const T* logits, int64_t num_classes,
                                    Compute<T> scale, T* gradient) {
  using L = Compute<T>;
  const L log_sum_exp = LogSumExp(logits, num_classes), weighted = scale * labels.MeanWeight(num_classes);
  for (int64_t c = 0; c < num_classes; ++c) {
    Store(weighted * (Exp(ToCompute(logits[c]) - log_sum_exp) - labels[c]), gradient + c);
  }
}

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

template <class T>
DETLOSS_SHARED Compute<T> SoftmaxFocalLossOf(const ClassLabels<Compute<T>>& labels, const T* logits,
                                             int64_t num_classes) {
  using L = Compute<T>;
  const L log_sum_exp = LogSumExp(logits, num_classes);
  L sum = log_sum_exp - log_sum_exp;  // NaN where a logit is
  for (int64_t c = 0; c < num_classes; ++c) {
    if (labels[c] == 0) continue;
    sum += labels.Weight(c) * SoftmaxFocalLoss(ToCompute(logits[c]) - log_sum_exp, labels[c]).loss;
  }
  return sum;
}

template <class T>
DETLOSS_SHARED void SoftmaxFocalGradient(const ClassLabels<Compute<T>>& labels, const T* logits, int64_t num_classes,
                                         Compute<T> scale, T* gradient) {
  using L = Compute<T>;
  const L log_sum_exp = LogSumExp(logits, num_classes);
  const auto slope = [&](int64_t c) {
    return labels.Weight(c) * SoftmaxFocalLoss(ToCompute(logits[c]) - log_sum_exp, labels[c]).gradient;
  };
  L sum = 0;
  for (int64_t c = 0; c < num_classes; ++c) sum += labels[c] == 0 ? 0 : slope(c);
  for (int64_t c = 0; c < num_classes; ++c) {
    const L own = labels[c] == 0 ? 0 : slope(c);
    Store(scale * (own - Exp(ToCompute(logits[c]) - log_sum_exp) * sum), gradient + c);
  }
}

// ---- Sigmoids divided by their sum ----

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

template <class T>
DETLOSS_SHARED Compute<T> SumOfClippedSigmoids(const T* logits, int64_t num_classes) {
  Compute<T> sum = 0;
  for (int64_t c = 0; c < num_classes; ++c) sum += ClippedSigmoidOf(ToCompute(logits[c])).value;
  return sum;
}

template <class T>
DETLOSS_SHARED Compute<T> NormalizedSigmoidLoss(const ClassLabels<Compute<T>>& labels, const T* logits,
                                                int64_t num_classes) {
  const int64_t c = labels.Class(num_classes);
  return labels.Weight(c) *
         (Log(SumOfClippedSigmoids(logits, num_classes)) - Log(ClippedSigmoidOf(ToCompute(logits[c])).value));
}

template <class T>
DETLOSS_SHARED void NormalizedSigmoidGradient(const ClassLabels<Compute<T>>& labels, const T* logits,
                                              int64_t num_classes, Compute<T> scale, T* gradient) {
  using L = Compute<T>;
  const L sum = SumOfClippedSigmoids(logits, num_classes);
  const int64_t own = labels.Class(num_classes);
  for (int64_t c = 0; c < num_classes; ++c) {
    const ClippedSigmoid<L> sigmoid = ClippedSigmoidOf(ToCompute(logits[c]));
    Store(scale * labels.Weight(own) * (sigmoid.value / sum - (c == own ? 1 : 0)) * sigmoid.log_slope, gradient + c);
  }
}

// ---- Whichever was chosen ----

// Without class_weight and objectness.
template <class T>
DETLOSS_SHARED Compute<T> ClassLossOf(const YoloCellOptions& options, const ClassLabels<Compute<T>>& labels,
                                      const T* logits, int64_t num_classes) {
  switch (options.class_loss) {
    case ClassLoss::kSigmoid:
      if (options.class_focal) {
        return SumOverClasses(labels, logits, num_classes, [](auto x, auto y) { return SigmoidFocalLoss(x, y); });
      }
      return SumOverClasses(labels, logits, num_classes, [](auto x, auto y) { return SigmoidLoss(x, y); });
    case ClassLoss::kSoftmax:
      return options.class_focal ? SoftmaxFocalLossOf(labels, logits, num_classes)
                                 : SoftmaxLoss(labels, logits, num_classes);
    case ClassLoss::kNormalizedSigmoid:
      return NormalizedSigmoidLoss(labels, logits, num_classes);
    case ClassLoss::kNone:
      break;
  }
  return 0;
}

// Into zeros.
template <class T>
DETLOSS_SHARED void ClassGradient(const YoloCellOptions& options, const ClassLabels<Compute<T>>& labels,
                                  const T* logits, int64_t num_classes, Compute<T> scale, T* gradient) {
  switch (options.class_loss) {
    case ClassLoss::kSigmoid:
      if (options.class_focal) {
        const auto focal = [](auto x, auto y) { return SigmoidFocalLoss(x, y); };
        return GradientsOfClasses(labels, logits, num_classes, scale, focal, gradient);
      }
      return GradientsOfClasses(
          labels, logits, num_classes, scale, [](auto x, auto y) { return SigmoidLoss(x, y); }, gradient);
    case ClassLoss::kSoftmax:
      return options.class_focal ? SoftmaxFocalGradient(labels, logits, num_classes, scale, gradient)
                                 : SoftmaxGradient(labels, logits, num_classes, scale, gradient);
    case ClassLoss::kNormalizedSigmoid:
      return NormalizedSigmoidGradient(labels, logits, num_classes, scale, gradient);
    case ClassLoss::kNone:
      return;
  }
}

}  // namespace detloss

#endif  // DETLOSS_CC_YOLOV3_CLASSES_H_
