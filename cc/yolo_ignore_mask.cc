#include "cc/yolo_ignore_mask.h"

#include <algorithm>
#include <string>

#include "cc/float_environment.h"
#include "cc/math.h"
#include "cc/option_checks.h"
#include "cc/workspace.h"
#include "cc/yolo_ignore_mask_kernels.h"

namespace detloss {
namespace {

IgnoreMaskKernel<float> KernelFor(float) { return DETLOSS_PICK_PER_TIER(ChosenCpuTier(), kIgnoreMaskFloat); }
IgnoreMaskKernel<double> KernelFor(double) { return DETLOSS_PICK_PER_TIER(ChosenCpuTier(), kIgnoreMaskDouble); }
IgnoreMaskKernel<Half> KernelFor(Half) { return DETLOSS_PICK_PER_TIER(ChosenCpuTier(), kIgnoreMaskHalf); }
IgnoreMaskKernel<BFloat16> KernelFor(BFloat16) { return DETLOSS_PICK_PER_TIER(ChosenCpuTier(), kIgnoreMaskBFloat16); }

template <class L>
struct MaskWorkspace {
  MaskWorkspace(void* buffer, const IgnoreMaskShape& shape) : workspace(buffer) {
    true_boxes = workspace.Take<Box<L>>(shape.images * shape.true_boxes);
    counts = workspace.Take<int64_t>(shape.images);
  }

  Workspace workspace;
  Box<L>* true_boxes;
  int64_t* counts;
};

// The boxes of an image that are no padding; returns how many.
template <class L>
int64_t TakeTrueBoxes(const L* values, int64_t count, Box<L>* to) {
  int64_t taken = 0;
  for (int64_t i = 0; i < count; ++i, values += 4) {
    const Box<L> box = {values[0], values[1], values[2], values[3]};
    if (IsTrueBox(box)) to[taken++] = box;
  }
  return taken;
}

}  // namespace

Status CheckIgnoreOptions(const IgnoreOptions& options) { return CheckNonNegative("ignore_thresh", options.thresh); }

template <class T>
size_t YoloIgnoreMaskWorkspaceBytes(const IgnoreMaskShape& shape) {
  return MaskWorkspace<Compute<T>>(nullptr, shape).workspace.bytes();
}

template <class T>
Status YoloIgnoreMask(const IgnoreOptions& options, const IgnoreMaskShape& shape, const T* boxes,
                      const Compute<T>* true_boxes, bool* mask, void* workspace, Executor& executor) {
  using L = Compute<T>;
  DefaultFloatEnvironment environment;
  DETLOSS_RETURN_IF_ERROR(CheckCpuTier());
  const Status status = CheckIgnoreOptions(options);
  if (!status.ok()) return status;
  const MaskWorkspace<L> work(workspace, shape);
  for (int64_t image = 0; image < shape.images; ++image) {
    const int64_t first = image * shape.true_boxes;
    work.counts[image] = TakeTrueBoxes(true_boxes + 4 * first, shape.true_boxes, work.true_boxes + first);
  }
  const int64_t blocks = (shape.boxes + kIgnoreMaskBoxesPerBlock - 1) / kIgnoreMaskBoxesPerBlock;
  ParallelFor(executor, shape.images * blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t image = block / blocks, first = block % blocks * kIgnoreMaskBoxesPerBlock;
      const int64_t box = image * shape.boxes + first;
      KernelFor(T())({MakeIgnoreTest<L>(options), std::min(kIgnoreMaskBoxesPerBlock, shape.boxes - first),
                      boxes + 4 * box, work.true_boxes + image * shape.true_boxes, work.counts[image], mask + box});
    }
  });
  return Status::Ok();
}

#define DETLOSS_INSTANTIATE(T)                                                                                     \
  template size_t YoloIgnoreMaskWorkspaceBytes<T>(const IgnoreMaskShape&);                                         \
  template Status YoloIgnoreMask(const IgnoreOptions&, const IgnoreMaskShape&, const T*, const Compute<T>*, bool*, \
                                 void*, Executor&);
DETLOSS_INSTANTIATE(float)
DETLOSS_INSTANTIATE(double)
DETLOSS_INSTANTIATE(Half)
DETLOSS_INSTANTIATE(BFloat16)
#undef DETLOSS_INSTANTIATE

}  // namespace detloss
