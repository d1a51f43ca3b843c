// The floating-point mode that kernels compute in: pools and callers differ in whether they flush subnormals to zero,
// results must not.
#ifndef DETLOSS_CC_FLOAT_ENVIRONMENT_H_
#define DETLOSS_CC_FLOAT_ENVIRONMENT_H_

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace detloss {

// Sets the calling thread to the default mode for its lifetime: round to nearest, subnormals kept.
class DefaultFloatEnvironment {
 public:
#if defined(__x86_64__)
  DefaultFloatEnvironment() : saved_(_mm_getcsr()) { _mm_setcsr(0x1f80); }
  ~DefaultFloatEnvironment() { _mm_setcsr(saved_); }
#else
  DefaultFloatEnvironment() {}
#endif
  DefaultFloatEnvironment(const DefaultFloatEnvironment&) = delete;
  DefaultFloatEnvironment& operator=(const DefaultFloatEnvironment&) = delete;

#if defined(__x86_64__)
 private:
  const unsigned saved_;
#endif
};

}  // namespace detloss

#endif  // DETLOSS_CC_FLOAT_ENVIRONMENT_H_
