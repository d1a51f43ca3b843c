// What turns the logits of a row into the logarithms of their softmax probabilities. Shared by host and device.
#ifndef DETLOSS_CC_SOFTMAX_TERMS_H_
#define DETLOSS_CC_SOFTMAX_TERMS_H_

#include "cc/platform.h"

namespace detloss {

// How far a logit lies below the largest of its row: 0 for the largest itself, be it infinite.
template <class V>
DETLOSS_SHARED V FromLargest(V logit, V largest) {
  return logit == largest ? V{} : logit - largest;
}

// Both parts stay apart: their sum is rounded to the digits of the largest logit, and log-probabilities need those of
// the differences. Entries equal to an infinite largest logit share the probability.
template <class L>
struct SoftmaxTerms {
  L largest;  // of the logits
  L log_sum;  // logarithm of the sum of exponentials of FromLargest; NaN if a logit is

  DETLOSS_INLINE L LogProbability(L logit) const { return FromLargest(logit, largest) - log_sum; }
};

}  // namespace detloss

#endif  // DETLOSS_CC_SOFTMAX_TERMS_H_
