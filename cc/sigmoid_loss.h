// Cross-entropy of a sigmoid, and its focal variant, with gradients with respect to the logit. V is a number or a
// vector of numbers. Shared by host and device.
#ifndef DETLOSS_CC_SIGMOID_LOSS_H_
#define DETLOSS_CC_SIGMOID_LOSS_H_

#include "cc/math.h"
#include "cc/platform.h"

namespace detloss {

template <class V>
struct Sigmoid {
  V probability;
  V softplus;  // ln(1 + e^logit): the cross-entropy where the label is 0
};

template <class V>
DETLOSS_SHARED Sigmoid<V> SigmoidOf(V logit) {
  const V e = Exp(logit < 0 ? logit : -logit);
  const V larger = 1 / (1 + e);
  return {logit < 0 ? e * larger : larger, (logit > 0 ? logit : V{}) + Log1p(e)};
}

template <class V>
struct LossAndGradient {
  V loss;
  V gradient;
};

// Labels may be fractions, or beyond 1. Infinite logits count as the largest numbers: a difference of infinities would
// not tell that nothing is lost where the label is what the logit says.
template <class V>
DETLOSS_SHARED LossAndGradient<V> SigmoidLoss(V any_logit, V label) {
  const V logit = ToFinite(any_logit);
  const Sigmoid<V> sigmoid = SigmoidOf(logit);
  return {sigmoid.softplus - logit * label, sigmoid.probability - label};
}

// Lin et al., "Focal Loss for Dense Object Detection" (arXiv:1708.02002), gamma 2 and alpha 0.25.
template <class V>
DETLOSS_SHARED LossAndGradient<V> SigmoidFocalLoss(V any_logit, V label) {
  const V logit = ToFinite(any_logit);
  const Sigmoid<V> sigmoid = SigmoidOf(logit);
  const V p = sigmoid.probability;
  const V cross_entropy = ToFinite(sigmoid.softplus - logit * label);  // the factors may be 0
  const V missed = label * (1 - p) + (1 - label) * p;                  // 1 - p_t
  const V missed_gradient = (1 - 2 * label) * p * (1 - p);
  const V alpha = label / 4 + (1 - label) * 3 / 4;
  return {alpha * missed * missed * cross_entropy,
          alpha * missed * (2 * missed_gradient * cross_entropy + missed * (p - label))};
}

}  // namespace detloss

#endif  // DETLOSS_CC_SIGMOID_LOSS_H_
