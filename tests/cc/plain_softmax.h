// Logarithms of softmax probabilities in double: the oracle of cc/softmax_terms.h.
#ifndef DETLOSS_TESTS_CC_PLAIN_SOFTMAX_H_
#define DETLOSS_TESTS_CC_PLAIN_SOFTMAX_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "tests/cc/rounding.h"

namespace detloss {

// An infinite number is no rounded one.
inline double RoundedMagnitude(double x) { return std::isfinite(x) ? std::fabs(x) : 0; }

// By the logits' differences from the largest, which shares the probability with its equals where it is infinite. The
// sum of exponentials is 1 or more, so that its logarithm is rounded as 0.1 is, also where it is less.
inline std::vector<Total> PlainLogProbabilities(const std::vector<double>& logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  std::vector<double> differences;
  double sum = 0;
  for (double x : logits) {
    differences.push_back(x == largest ? 0 : x - largest);
    sum += std::exp(differences.back());
  }
  const double log_sum = std::log(sum);
  std::vector<Total> result;
  for (double x : differences) {
    result.push_back({x - log_sum, RoundedMagnitude(x) + RoundedMagnitude(log_sum) + 0.1});
  }
  return result;
}

}  // namespace detloss

#endif  // DETLOSS_TESTS_CC_PLAIN_SOFTMAX_H_
