// Compiled once per CPU tier, with DETLOSS_TIER naming it: see cpu_tier.h.
#include "cc/yolo_ignore_mask_kernels.h"

#include <cstring>

#include "cc/box_lanes.h"
#include "cc/platform.h"

namespace detloss {
namespace DETLOSS_TIER {
namespace {

template <class T>
void IgnoreMask(const IgnoreMaskBlock<T>& block) {
  using L = Compute<T>;
  BoxLanes<L, kIgnoreMaskBoxesPerBlock> boxes;
  alignas(64) Bits<L> ignored[kIgnoreMaskBoxesPerBlock] = {};
  const int64_t rounded = (block.count + kLanes - 1) / kLanes * kLanes;
  for (int64_t i = 0; i < rounded; ++i) {
    Box<L> box = {0, 0, 0, 0};
    const T* values = block.boxes + 4 * i;
    if (i < block.count) box = {ToCompute(values[0]), ToCompute(values[1]), ToCompute(values[2]), ToCompute(values[3])};
    const Corners<L> corners = TestedCorners(box.x, box.y, box.w, box.h);
    boxes.x1[i] = corners.x1;
    boxes.y1[i] = corners.y1;
    boxes.x2[i] = corners.x2;
    boxes.y2[i] = corners.y2;
    boxes.area[i] = corners.area;
  }
  for (int64_t i = 0; i < block.num_true_boxes; ++i) boxes.Ignore(block.test, block.true_boxes[i], rounded, ignored);
  for (int64_t i = 0; i < block.count; ++i) block.mask[i] = ignored[i] != 0;
}

}  // namespace

const IgnoreMaskKernel<float> kIgnoreMaskFloat = IgnoreMask<float>;
const IgnoreMaskKernel<double> kIgnoreMaskDouble = IgnoreMask<double>;
const IgnoreMaskKernel<Half> kIgnoreMaskHalf = IgnoreMask<Half>;
const IgnoreMaskKernel<BFloat16> kIgnoreMaskBFloat16 = IgnoreMask<BFloat16>;

}  // namespace DETLOSS_TIER
}  // namespace detloss
