// Which boxes overlap a true box of their image so well that they are no negatives.
#ifndef DETLOSS_CC_YOLO_IGNORE_MASK_H_
#define DETLOSS_CC_YOLO_IGNORE_MASK_H_

#include <cstddef>
#include <cstdint>

#include "cc/device_stream.h"
#include "cc/dtypes.h"
#include "cc/executor.h"
#include "cc/ignore_test.h"
#include "cc/status.h"

namespace detloss {

Status CheckIgnoreOptions(const IgnoreOptions& options);

// `boxes[images, boxes_per_image, 4]` and `true_boxes[images, true_per_image, 4]` are x, y, w, h. True boxes that are
// empty or not finite are padding.
struct IgnoreMaskShape {
  int64_t images;
  int64_t boxes;
  int64_t true_boxes;
};

template <class T>
size_t YoloIgnoreMaskWorkspaceBytes(const IgnoreMaskShape& shape);

// `mask[images, boxes_per_image]`: whether the box is ignored.
template <class T>
Status YoloIgnoreMask(const IgnoreOptions& options, const IgnoreMaskShape& shape, const T* boxes,
                      const Compute<T>* true_boxes, bool* mask, void* workspace, Executor& executor);

// The same on a device.
template <class T>
Status YoloIgnoreMask(const IgnoreOptions& options, const IgnoreMaskShape& shape, const T* boxes,
                      const Compute<T>* true_boxes, bool* mask, DeviceStream stream);

}  // namespace detloss

#endif  // DETLOSS_CC_YOLO_IGNORE_MASK_H_
