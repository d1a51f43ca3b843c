// The vector maths of cc/math.h, compiled once per CPU tier.
#ifndef DETLOSS_TESTS_CC_MATH_KERNELS_H_
#define DETLOSS_TESTS_CC_MATH_KERNELS_H_

#include "cc/cpu_tier.h"

namespace detloss {

constexpr int kMathLanes = 16;

// Each of sixteen values.
struct MathKernels {
  void (*exp_float)(const float* x, float* y);
  void (*log_float)(const float* x, float* y);
  void (*exp_double)(const double* x, double* y);
  void (*log_double)(const double* x, double* y);
};

DETLOSS_DECLARE_PER_TIER(const MathKernels kMathKernels)

}  // namespace detloss

#endif  // DETLOSS_TESTS_CC_MATH_KERNELS_H_
