// The class term of one row of a YOLOv3 head, and its gradient, by a warp: each thread looks at every 32nd class.
#ifndef DETLOSS_CC_YOLOV3_WARP_CLASSES_CUH_
#define DETLOSS_CC_YOLOV3_WARP_CLASSES_CUH_

#include <cstdint>

#include "cc/block_reduce.cuh"
#include "cc/dtypes.h"
#include "cc/math.h"
#include "cc/row_group.cuh"
#include "cc/yolov3_class_terms.h"

namespace detloss {

// Sum of `f(c)` over the classes.
template <class L, class F>
__device__ L WarpSumOverClasses(int64_t num_classes, const F& f) {
  L sum = 0;
  for (int64_t c = threadIdx.x % kWarp; c < num_classes; c += kWarp) sum += f(c);
  return WarpSum(sum);
}

template <class F>
__device__ void ForEachClass(int64_t num_classes, const F& f) {
  for (int64_t c = threadIdx.x % kWarp; c < num_classes; c += kWarp) f(c);
}

template <class T>
__device__ bool WarpHasNan(const T* logits, int64_t num_classes) {
  bool mine = false;
  ForEachClass(num_classes, [&](int64_t c) { mine |= IsNan(ToCompute(logits[c])); });
  return __any_sync(kAllLanes, mine);
}

// The class itself: the first of the largest, -1 in a row without any.
template <class L>
__device__ int64_t WarpClassOf(const ClassLabels<L>& labels, int64_t num_classes) {
  int64_t best = threadIdx.x % kWarp < num_classes ? threadIdx.x % kWarp : 0;
  ForEachClass(num_classes, [&](int64_t c) { best = labels.Raw(c) > labels.Raw(best) ? c : best; });
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const int64_t other = __shfl_xor_sync(kAllLanes, best, offset);
    const L ours = labels.Raw(best), theirs = labels.Raw(other);
    if (theirs > ours || (theirs == ours && other < best)) best = other;
  }
  return labels.Raw(best) > 0 ? best : -1;
}

// Mean weight of the row's classes; 1 in a row without any.
template <class L>
__device__ L WarpMeanWeight(const ClassLabels<L>& labels, int64_t num_classes) {
  const L sum = WarpSumOverClasses<L>(num_classes, [&](int64_t c) { return labels[c]; });
  const L weighted = WarpSumOverClasses<L>(num_classes, [&](int64_t c) { return labels.Weight(c) * labels[c]; });
  return sum > 0 ? weighted / sum : L(1);
}

template <class T>
__device__ Compute<T> WarpSumOfClippedSigmoids(const T* logits, int64_t num_classes) {
  return WarpSumOverClasses<Compute<T>>(num_classes,
                                        [&](int64_t c) { return ClippedSigmoidOf(ToCompute(logits[c])).value; });
}

// Known to every thread, without class_weight and objectness.
template <class T>
__device__ Compute<T> WarpClassLoss(const YoloCellOptions& options, const ClassLabels<Compute<T>>& labels,
                                    const T* logits, int64_t num_classes) {
  using L = Compute<T>;
  if (options.class_loss == ClassLoss::kSigmoid) {
    return WarpSumOverClasses<L>(num_classes, [&](int64_t c) {
      const L logit = ToCompute(logits[c]);
      const LossAndGradient<L> term =
          options.class_focal ? SigmoidFocalLoss(logit, labels[c]) : SigmoidLoss(logit, labels[c]);
      return Weighted(labels.Weight(c), term.loss);
    });
  }
  if (options.class_loss == ClassLoss::kNormalizedSigmoid) {
    const int64_t own = WarpClassOf(labels, num_classes);
    if (own < 0) return 0;
    const L sum = WarpSumOfClippedSigmoids(logits, num_classes);
    return Weighted(labels.Weight(own), Log(sum) - Log(ClippedSigmoidOf(ToCompute(logits[own])).value));
  }
  if (options.class_loss == ClassLoss::kNone) return 0;
  const SoftmaxTerms<L> softmax = GroupSoftmaxTerms(logits, num_classes);  // by both groups alike
  if (options.class_focal) {
    const L nan_of_logits = softmax.log_sum - softmax.log_sum;
    return nan_of_logits + WarpSumOverClasses<L>(num_classes, [&](int64_t c) {
             if (labels[c] == 0) return L(0);
             const L log_probability = softmax.LogProbability(ToCompute(logits[c]));
             return Weighted(labels.Weight(c), SoftmaxFocalLoss(log_probability, labels[c]).loss);
           });
  }
  const L sum = WarpSumOverClasses<L>(num_classes, [&](int64_t c) {
    return labels[c] == 0 ? L(0) : -labels[c] * softmax.LogProbability(ToCompute(logits[c]));
  });
  return Weighted(WarpMeanWeight(labels, num_classes), sum);
}

// Into zeros.
template <class T>
__device__ void WarpClassGradient(const YoloCellOptions& options, const ClassLabels<Compute<T>>& labels,
                                  const T* logits, int64_t num_classes, Compute<T> scale, T* gradient) {
  using L = Compute<T>;
  if (options.class_loss == ClassLoss::kSigmoid) {
    return ForEachClass(num_classes, [&](int64_t c) {
      const L logit = ToCompute(logits[c]);
      const LossAndGradient<L> term =
          options.class_focal ? SigmoidFocalLoss(logit, labels[c]) : SigmoidLoss(logit, labels[c]);
      Store(Weighted(scale * labels.Weight(c), term.gradient), gradient + c);
    });
  }
  if (options.class_loss == ClassLoss::kNormalizedSigmoid) {
    const int64_t own = WarpClassOf(labels, num_classes);
    if (own < 0) return;
    const L sum = WarpSumOfClippedSigmoids(logits, num_classes), weighted = scale * labels.Weight(own);
    return ForEachClass(num_classes, [&](int64_t c) {
      const ClippedSigmoid<L> sigmoid = ClippedSigmoidOf(ToCompute(logits[c]));
      const L share = sigmoid.value / sum - (c == own ? 1 : 0);
      Store(Weighted(Weighted(weighted, share), sigmoid.log_slope), gradient + c);
    });
  }
  if (options.class_loss == ClassLoss::kNone) return;
  const SoftmaxTerms<L> softmax = GroupSoftmaxTerms(logits, num_classes);
  if (options.class_focal) {
    const auto slope = [&](int64_t c) {
      if (labels[c] == 0) return L(0);
      const L log_probability = softmax.LogProbability(ToCompute(logits[c]));
      return labels.Weight(c) * SoftmaxFocalLoss(log_probability, labels[c]).gradient;
    };
    const L sum = WarpSumOverClasses<L>(num_classes, slope);
    return ForEachClass(num_classes, [&](int64_t c) {
      const L probability = Exp(softmax.LogProbability(ToCompute(logits[c])));
      Store(Weighted(scale, slope(c) - probability * sum), gradient + c);
    });
  }
  const L weighted = ToFinite(scale * WarpMeanWeight(labels, num_classes));  // the slopes may be 0
  ForEachClass(num_classes, [&](int64_t c) {
    Store(Weighted(weighted, Exp(softmax.LogProbability(ToCompute(logits[c]))) - labels[c]), gradient + c);
  });
}

}  // namespace detloss

#endif  // DETLOSS_CC_YOLOV3_WARP_CLASSES_CUH_
