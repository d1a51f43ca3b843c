// Ranges that the options share. Texts name the option, what was expected and what came.
#ifndef DETLOSS_CC_OPTION_CHECKS_H_
#define DETLOSS_CC_OPTION_CHECKS_H_

#include <limits>
#include <string>

#include "cc/float_environment.h"
#include "cc/status.h"

namespace detloss {

// Bounds included; NaN is in no range.
inline Status CheckRange(const char* option, float value, float low, float high, const char* expected) {
  if (value >= low && value <= high) return Status::Ok();
  DefaultFloatEnvironment environment;  // or a subnormal number is shown as the zero that the caller's thread sees
  return Status::InvalidArgument(std::string(option) + ": expected " + expected + ", got " + Describe(value));
}

inline Status CheckNonNegative(const char* option, float value) {
  return CheckRange(option, value, 0, std::numeric_limits<float>::max(), "a finite number of at least 0");
}

}  // namespace detloss

#endif  // DETLOSS_CC_OPTION_CHECKS_H_
