// The vector maths of cc/math.h and cc/sigmoid_loss.h, compiled once per CPU tier.
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
  void (*log1p_float)(const float* x, float* y);
  void (*log1p_double)(const double* x, double* y);
  void (*sigmoid_loss)(const float* logit, const float* label, float* loss, float* gradient);
  void (*sigmoid_focal_loss)(const float* logit, const float* label, float* loss, float* gradient);
};

DETLOSS_DECLARE_PER_TIER(const MathKernels kMathKernels)

}  // namespace detloss

#endif  // DETLOSS_TESTS_CC_MATH_KERNELS_H_
