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

// The class itself: the first of the largest.
template <class L>
DETLOSS_SHARED int64_t ClassOf(const ClassLabels<L>& labels, int64_t num_classes) {
  int64_t best = 0;
  for (int64_t c = 1; c < num_classes; ++c) best = labels.Raw(c) > labels.Raw(best) ? c : best;
  return best;
}

// Mean weight of the row's classes.
template <class L>
DETLOSS_SHARED L MeanWeight(const ClassLabels<L>& labels, int64_t num_classes) {
  L weighted = 0, sum = 0;
  for (int64_t c = 0; c < num_classes; ++c) {
    weighted += labels.Weight(c) * labels[c];
    sum += labels[c];
  }
  return weighted / sum;
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
    const Lanes<L> logit = LoadLanes(logits + c), label = LabelsFrom(labels, c), weight = WeightsFrom(labels, c);
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
  return MeanWeight(labels, num_classes) * sum;
}

// TensorFlow's gradient, also where the labels do not add up to 1.
template <class T>
DETLOSS_SHARED void SoftmaxGradient(const ClassLabels<Compute<T>>& labels, const T* logits, int64_t num_classes,
                                    Compute<T> scale, T* gradient) {
  using L = Compute<T>;
  const L log_sum_exp = LogSumExp(logits, num_classes), weighted = scale * MeanWeight(labels, num_classes);
  for (int64_t c = 0; c < num_classes; ++c) {
    Store(weighted * (Exp(ToCompute(logits[c]) - log_sum_exp) - labels[c]), gradient + c);
  }
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
  return labels.Weight(c) *
         (Log(SumOfClippedSigmoids(logits, num_classes)) - Log(ClippedSigmoidOf(ToCompute(logits[c])).value));
}

template <class T>
DETLOSS_SHARED void NormalizedSigmoidGradient(const ClassLabels<Compute<T>>& labels, const T* logits,
                                              int64_t num_classes, Compute<T> scale, T* gradient) {
  using L = Compute<T>;
  const L sum = SumOfClippedSigmoids(logits, num_classes);
  const int64_t own = ClassOf(labels, num_classes);
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
