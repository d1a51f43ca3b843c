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
#include "cc/yolov3_class_terms.h"

namespace detloss {

// ---- Labels ----

template <class L, class F>
DETLOSS_SHARED Lanes<L> GatherLanes(int64_t first, const F& value) {
  L values[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) values[lane] = value(first + lane);
  return LoadLanes(values);
}

// Those of sixteen classes.
template <class L>
DETLOSS_SHARED Lanes<L> LabelsFrom(const ClassLabels<L>& labels, int64_t first) {
  return GatherLanes<L>(first, [&](int64_t c) { return labels[c]; });
}
template <class L>
DETLOSS_SHARED Lanes<L> WeightsFrom(const ClassLabels<L>& labels, int64_t first) {
  return GatherLanes<L>(first, [&](int64_t c) { return labels.Weight(c); });
}

// The class itself: the first of the largest, -1 in a row without any.
template <class L>
DETLOSS_SHARED int64_t ClassOf(const ClassLabels<L>& labels, int64_t num_classes) {
  int64_t best = 0;
  for (int64_t c = 1; c < num_classes; ++c) best = labels.Raw(c) > labels.Raw(best) ? c : best;
  return labels.Raw(best) > 0 ? best : -1;
}

// Mean weight of the row's classes; 1 in a row without any.
template <class L>
DETLOSS_SHARED L MeanWeight(const ClassLabels<L>& labels, int64_t num_classes) {
  L weighted = 0, sum = 0;
  for (int64_t c = 0; c < num_classes; ++c) {
    weighted += labels.Weight(c) * labels[c];
    sum += labels[c];
  }
  return sum > 0 ? weighted / sum : L(1);
}

// ---- Sigmoids: every class by itself ----

// Loss and gradient of one class, or of a vector of them: for finite logits, and for any.
struct SigmoidTerm {
  template <class V>
  static DETLOSS_INLINE LossAndGradient<V> OfFinite(V logit, V label) {
    return SigmoidLossOfFinite(logit, label);
  }
  template <class V>
  static DETLOSS_INLINE LossAndGradient<V> Of(V logit, V label) {
    return SigmoidLoss(logit, label);
  }
};
struct SigmoidFocalTerm {
  template <class V>
  static DETLOSS_INLINE LossAndGradient<V> OfFinite(V logit, V label) {
    return SigmoidFocalLossOfFinite(logit, label);
  }
  template <class V>
  static DETLOSS_INLINE LossAndGradient<V> Of(V logit, V label) {
    return SigmoidFocalLoss(logit, label);
  }
};

// NaN says to look closer, at infinite logits and at weights of 0.
template <class Term, class T>
DETLOSS_SHARED Compute<T> SumOverClasses(const ClassLabels<Compute<T>>& labels, const T* logits, int64_t num_classes) {
  using L = Compute<T>;
  Lanes<L> sums = {};
  int64_t c = 0;
  for (; c + kLanes <= num_classes; c += kLanes) {
    const Lanes<L> logit = LoadLanes(logits + c), label = LabelsFrom(labels, c), weight = WeightsFrom(labels, c);
    for (int v = 0; v < Lanes<L>::kVectors; ++v) {
      sums.vectors[v] += weight.vectors[v] * Term::OfFinite(logit.vectors[v], label.vectors[v]).loss;
    }
  }
  L sum = ReduceLanes(sums, [](auto a, auto b) { return a + b; });
  for (; c < num_classes; ++c) sum += labels.Weight(c) * Term::OfFinite(ToCompute(logits[c]), labels[c]).loss;
  if (!IsNan(sum)) return sum;
  sum = 0;
  for (c = 0; c < num_classes; ++c) {
    sum += Weighted(labels.Weight(c), Term::Of(ToCompute(logits[c]), labels[c]).loss);
  }
  return sum;
}

template <class Term, class T>
DETLOSS_SHARED void GradientsOfClasses(const ClassLabels<Compute<T>>& labels, const T* logits, int64_t num_classes,
                                       Compute<T> scale, T* gradient) {
  using L = Compute<T>;
  L sum = 0;  // NaN, as above
  Vector<L> sums = {};
  int64_t c = 0;
  for (; c + kLanes <= num_classes; c += kLanes) {
    const Lanes<L> logit = LoadLanes(logits + c), label = LabelsFrom(labels, c), weight = WeightsFrom(labels, c);
    L values[kLanes];
    for (int v = 0; v < Lanes<L>::kVectors; ++v) {
      const Vector<L> slope = scale * weight.vectors[v] * Term::OfFinite(logit.vectors[v], label.vectors[v]).gradient;
      StoreVector(slope, values + v * (kVectorBytes / sizeof(L)));
      sums += slope;
    }
    for (int lane = 0; lane < kLanes; ++lane) Store(values[lane], gradient + c + lane);
  }
  for (; c < num_classes; ++c) {
    const L slope = scale * labels.Weight(c) * Term::OfFinite(ToCompute(logits[c]), labels[c]).gradient;
    Store(slope, gradient + c);
    sum += slope;
  }
  if (!IsNan(sum) && IsZero(BitCast<Vector<uint32_t>>(sums != sums))) return;
  for (c = 0; c < num_classes; ++c) {
    Store(Weighted(scale * labels.Weight(c), Term::Of(ToCompute(logits[c]), labels[c]).gradient), gradient + c);
  }
}

// ---- Softmax ----

template <class T>
DETLOSS_SHARED Compute<T> SoftmaxLoss(const ClassLabels<Compute<T>>& labels, const T* logits, int64_t num_classes) {
  using L = Compute<T>;
  const SoftmaxTerms<L> softmax = SoftmaxTermsOf(logits, num_classes);
  L sum = 0;
  for (int64_t c = 0; c < num_classes; ++c) {
    if (labels[c] != 0) sum -= labels[c] * softmax.LogProbability(ToCompute(logits[c]));
  }
  return Weighted(MeanWeight(labels, num_classes), sum);
}

// TensorFlow's gradient, also where the labels do not add up to 1.
template <class T>
DETLOSS_SHARED void SoftmaxGradient(const ClassLabels<Compute<T>>& labels, const T* logits, int64_t num_classes,
                                    Compute<T> scale, T* gradient) {
  using L = Compute<T>;
  const L weighted = ToFinite(scale * MeanWeight(labels, num_classes));  // the slopes may be 0
  if (weighted == 0) return;
  ForEachProbability(SoftmaxTermsOf(logits, num_classes), logits, num_classes,
                     [&](int64_t c, L probability) { Store(weighted * (probability - labels[c]), gradient + c); });
}

template <class T>
DETLOSS_SHARED Compute<T> SoftmaxFocalLossOf(const ClassLabels<Compute<T>>& labels, const T* logits,
                                             int64_t num_classes) {
  using L = Compute<T>;
  const SoftmaxTerms<L> softmax = SoftmaxTermsOf(logits, num_classes);
  L sum = softmax.log_sum - softmax.log_sum;  // NaN where a logit is
  for (int64_t c = 0; c < num_classes; ++c) {
    if (labels[c] == 0) continue;
    const L log_probability = softmax.LogProbability(ToCompute(logits[c]));
    sum += Weighted(labels.Weight(c), SoftmaxFocalLoss(log_probability, labels[c]).loss);
  }
  return sum;
}

template <class T>
DETLOSS_SHARED void SoftmaxFocalGradient(const ClassLabels<Compute<T>>& labels, const T* logits, int64_t num_classes,
                                         Compute<T> scale, T* gradient) {
  using L = Compute<T>;
  const SoftmaxTerms<L> softmax = SoftmaxTermsOf(logits, num_classes);
  const auto slope = [&](int64_t c) {
    const L log_probability = softmax.LogProbability(ToCompute(logits[c]));
    return labels.Weight(c) * SoftmaxFocalLoss(log_probability, labels[c]).gradient;
  };
  L sum = 0;
  for (int64_t c = 0; c < num_classes; ++c) sum += labels[c] == 0 ? 0 : slope(c);
  // No slope is above 0. Most rows have no label, and nothing to add where no logit is NaN.
  if (sum == 0 && !IsNan(softmax.log_sum)) return;
  ForEachProbability(softmax, logits, num_classes, [&](int64_t c, L probability) {
    Store(scale * ((labels[c] == 0 ? 0 : slope(c)) - probability * sum), gradient + c);
  });
}

// ---- Sigmoids divided by their sum ----

template <class T>
DETLOSS_SHARED Compute<T> SumOfClippedSigmoids(const T* logits, int64_t num_classes) {
  Compute<T> sum = 0;
  for (int64_t c = 0; c < num_classes; ++c) sum += ClippedSigmoidOf(ToCompute(logits[c])).value;
  return sum;
}

template <class T>
DETLOSS_SHARED Compute<T> NormalizedSigmoidLoss(const ClassLabels<Compute<T>>& labels, const T* logits,
                                                int64_t num_classes) {
  const int64_t c = ClassOf(labels, num_classes);
  if (c < 0) return 0;
  return Weighted(labels.Weight(c),
                  Log(SumOfClippedSigmoids(logits, num_classes)) - Log(ClippedSigmoidOf(ToCompute(logits[c])).value));
}

template <class T>
DETLOSS_SHARED void NormalizedSigmoidGradient(const ClassLabels<Compute<T>>& labels, const T* logits,
                                              int64_t num_classes, Compute<T> scale, T* gradient) {
  using L = Compute<T>;
  const int64_t own = ClassOf(labels, num_classes);
  if (own < 0) return;
  const L sum = SumOfClippedSigmoids(logits, num_classes), weighted = scale * labels.Weight(own);
  for (int64_t c = 0; c < num_classes; ++c) {
    const ClippedSigmoid<L> sigmoid = ClippedSigmoidOf(ToCompute(logits[c]));
    const L share = sigmoid.value / sum - (c == own ? 1 : 0);
    Store(Weighted(Weighted(weighted, share), sigmoid.log_slope), gradient + c);
  }
}

// ---- Whichever was chosen ----

// Without class_weight and objectness.
template <class T>
DETLOSS_SHARED Compute<T> ClassLossOf(const YoloCellOptions& options, const ClassLabels<Compute<T>>& labels,
                                      const T* logits, int64_t num_classes) {
  switch (options.class_loss) {
    case ClassLoss::kSigmoid:
      return options.class_focal ? SumOverClasses<SigmoidFocalTerm>(labels, logits, num_classes)
                                 : SumOverClasses<SigmoidTerm>(labels, logits, num_classes);
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
      return options.class_focal ? GradientsOfClasses<SigmoidFocalTerm>(labels, logits, num_classes, scale, gradient)
                                 : GradientsOfClasses<SigmoidTerm>(labels, logits, num_classes, scale, gradient);
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
