// The mode in which TensorFlow's threads run: subnormal results and operands count as zero.
#ifndef DETLOSS_TESTS_CC_FLUSH_TO_ZERO_H_
#define DETLOSS_TESTS_CC_FLUSH_TO_ZERO_H_

#include <xmmintrin.h>

namespace detloss {

// On for the calling thread as long as it lives.
class FlushToZero {
 public:
  FlushToZero() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | kModes); }
  ~FlushToZero() { _mm_setcsr(saved_); }
  FlushToZero(const FlushToZero&) = delete;
  FlushToZero& operator=(const FlushToZero&) = delete;

  static bool IsOn() { return (_mm_getcsr() & kModes) == kModes; }

 private:
  static constexpr unsigned kModes = 0x8040;  // flush results, and read operands as zeros

  const unsigned saved_;
};

}  // namespace detloss

#endif  // DETLOSS_TESTS_CC_FLUSH_TO_ZERO_H_
