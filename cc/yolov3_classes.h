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

// `term(logit, label)` gives loss and gradient of one class, or of a vector of them.
template <class T, class F>
DETLOSS_SHARED Compute<T> SumOverClasses(const ClassLabels<Compute<T>>& labels, const T* logits, int64_t num_classes,
                                         const F& term) {
  using L = Compute<T>;
  Lanes<L> sums = {};
  int64_t c = 0;
  for (; c + kLanes <= num_classes; c += kLanes) {
    const Lanes<L> logit = LoadLanes(logits + c), label = LabelsFrom(labels, c), weight = WeightsFrom(labels, c);
    for (int v = 0; v < Lanes<L>::kVectors; ++v) {
      sums.vectors[v] += Weighted(weight.vectors[v], term(logit.vectors[v], label.vectors[v]).loss);
    }
  }
  L sum = ReduceLanes(sums, [](auto a, auto b) { return a + b; });
  for (; c < num_classes; ++c) sum += Weighted(labels.Weight(c), term(ToCompute(logits[c]), labels[c]).loss);
  return sum;
}

template <class T, class F>
DETLOSS_SHARED void GradientsOfClasses(const ClassLabels<Compute<T>>& labels, const T* logits, int64_t num_classes,
                                       Compute<T> scale, const F& term, T* gradient) {
  using L = Compute<T>;
  int64_t c = 0;
  for (; c + kLanes <= num_classes; c += kLanes) {
    const Lanes<L> logit = LoadLanes(logits + c), label = LabelsFrom(labels, c), weight = WeightsFrom(labels, c);
    L values[kLanes];
    for (int v = 0; v < Lanes<L>::kVectors; ++v) {
      const Vector<L> slope = Weighted(scale * weight.vectors[v], term(logit.vectors[v], label.vectors[v]).gradient);
      StoreVector(slope, values + v * (kVectorBytes / sizeof(L)));
    }
    for (int lane = 0; lane < kLanes; ++lane) Store(values[lane], gradient + c + lane);
  }
  for (; c < num_classes; ++c) {
    Store(Weighted(scale * labels.Weight(c), term(ToCompute(logits[c]), labels[c]).gradient), gradient + c);
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
  const SoftmaxTerms<L> softmax = SoftmaxTermsOf(logits, num_classes);
  const L weighted = scale * MeanWeight(labels, num_classes);
  for (int64_t c = 0; c < num_classes; ++c) {
    Store(Weighted(weighted, Exp(softmax.LogProbability(ToCompute(logits[c]))) - labels[c]), gradient + c);
  }
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
    return Weighted(labels.Weight(c), SoftmaxFocalLoss(log_probability, labels[c]).gradient);
  };
  L sum = 0;
  for (int64_t c = 0; c < num_classes; ++c) sum += labels[c] == 0 ? 0 : slope(c);
  for (int64_t c = 0; c < num_classes; ++c) {
    const L own = labels[c] == 0 ? 0 : slope(c);
    Store(Weighted(scale, own - Exp(softmax.LogProbability(ToCompute(logits[c]))) * sum), gradient + c);
  }
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
