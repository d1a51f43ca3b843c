// The loop over boxes of the ignore mask, compiled once per CPU tier.
#ifndef DETLOSS_CC_YOLO_IGNORE_MASK_KERNELS_H_
#define DETLOSS_CC_YOLO_IGNORE_MASK_KERNELS_H_

#include <cstdint>

#include "cc/box.h"
#include "cc/cpu_tier.h"
#include "cc/dtypes.h"
#include "cc/ignore_test.h"

namespace detloss {

constexpr int64_t kIgnoreMaskBoxesPerBlock = 512;

template <class T>
struct IgnoreMaskBlock {
  IgnoreTest<Compute<T>> test;
  int64_t count;  // at most kIgnoreMaskBoxesPerBlock
  const T* boxes;
  const Box<Compute<T>>* true_boxes;
  int64_t num_true_boxes;
  bool* mask;
};

template <class T>
using IgnoreMaskKernel = void (*)(const IgnoreMaskBlock<T>&);

DETLOSS_DECLARE_PER_TIER(const IgnoreMaskKernel<float> kIgnoreMaskFloat)
DETLOSS_DECLARE_PER_TIER(const IgnoreMaskKernel<double> kIgnoreMaskDouble)
DETLOSS_DECLARE_PER_TIER(const IgnoreMaskKernel<Half> kIgnoreMaskHalf)
DETLOSS_DECLARE_PER_TIER(const IgnoreMaskKernel<BFloat16> kIgnoreMaskBFloat16)

}  // namespace detloss

#endif  // DETLOSS_CC_YOLO_IGNORE_MASK_KERNELS_H_
