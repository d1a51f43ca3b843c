#include "cc/launch.h"
#include "cc/math.h"
#include "cc/yolo_ignore_mask.h"

namespace detloss {
namespace {

constexpr int kThreads = 256;

// A thread per box; the image's true boxes go through shared memory, one per thread at a time.
template <class T>
__global__ void __launch_bounds__(kThreads)
    MarkIgnored(IgnoreTest<Compute<T>> test, IgnoreMaskShape shape, int64_t blocks_per_image, const T* boxes,
                const Compute<T>* true_boxes, bool* mask) {
  using L = Compute<T>;
  __shared__ Corners<L> truths[kThreads];
  const int64_t image = blockIdx.x / blocks_per_image;
  const int64_t box = blockIdx.x % blocks_per_image * kThreads + threadIdx.x;
  const bool has_box = box < shape.boxes;
  const T* values = boxes + 4 * (image * shape.boxes + (has_box ? box : 0));
  const Corners<L> corners =
      TestedCorners(ToCompute(values[0]), ToCompute(values[1]), ToCompute(values[2]), ToCompute(values[3]));
  bool ignored = false;
  for (int64_t first = 0; first < shape.true_boxes; first += kThreads) {
    const int64_t left = shape.true_boxes - first, count = left < kThreads ? left : kThreads;
    __syncthreads();
    if (threadIdx.x < count) {
      const L* truth = true_boxes + 4 * (image * shape.true_boxes + first + threadIdx.x);
      truths[threadIdx.x] = CornersOf(truth[0], truth[1], truth[2], truth[3]);
      if (!IsTrueBox(Box<L>{truth[0], truth[1], truth[2], truth[3]})) truths[threadIdx.x].area = static_cast<L>(NAN);
    }
    __syncthreads();
    for (int64_t i = 0; i < count && !ignored; ++i) ignored = IsIgnored(test, corners, truths[i]);
  }
  if (has_box) mask[image * shape.boxes + box] = ignored;
}

}  // namespace

template <class T>
Status YoloIgnoreMask(const IgnoreOptions& options, const IgnoreMaskShape& shape, const T* boxes,
                      const Compute<T>* true_boxes, bool* mask, DeviceStream stream) {
  const Status status = CheckIgnoreOptions(options);
  if (!status.ok()) return status;
  const int64_t blocks_per_image = DividedUp(shape.boxes, kThreads);
  return Launch("yolo_ignore_mask", MarkIgnored<T>, shape.images * blocks_per_image, kThreads, stream,
                MakeIgnoreTest<Compute<T>>(options), shape, blocks_per_image, boxes, true_boxes, mask);
}

#define DETLOSS_INSTANTIATE(T)                                                                                     \
  template Status YoloIgnoreMask(const IgnoreOptions&, const IgnoreMaskShape&, const T*, const Compute<T>*, bool*, \
                                 DeviceStream);
DETLOSS_INSTANTIATE(float)
DETLOSS_INSTANTIATE(double)
DETLOSS_INSTANTIATE(Half)
DETLOSS_INSTANTIATE(BFloat16)
#undef DETLOSS_INSTANTIATE

}  // namespace detloss
