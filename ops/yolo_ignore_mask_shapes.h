// Shapes that the ignore mask takes.
#ifndef DETLOSS_OPS_YOLO_IGNORE_MASK_SHAPES_H_
#define DETLOSS_OPS_YOLO_IGNORE_MASK_SHAPES_H_

#include "cc/yolo_ignore_mask.h"
#include "ops/argument_shapes.h"

namespace detloss {

// `mask` gets the shape of the mask: that of the boxes without its last dimension.
inline absl::Status CheckIgnoreMaskShapes(const tensorflow::TensorShape& boxes,
                                          const tensorflow::TensorShape& true_boxes, IgnoreMaskShape* shape,
                                          tensorflow::TensorShape* mask) {
  if (boxes.dims() < 2 || boxes.dim_size(boxes.dims() - 1) != 4) {
    return absl::InvalidArgumentError(absl::StrCat("boxes: expected shape [batch, ..., 4], got ", boxes.DebugString()));
  }
  if (true_boxes.dims() != 3 || true_boxes.dim_size(0) != boxes.dim_size(0) || true_boxes.dim_size(2) != 4) {
    return absl::InvalidArgumentError(absl::StrCat("true_boxes: expected shape [", boxes.dim_size(0),
                                                   ", true boxes, 4] for boxes of shape ",
                                                   boxes.DebugString(), ", got ", true_boxes.DebugString()));
  }
  *mask = boxes;
  mask->RemoveLastDims(1);
  const int64_t images = boxes.dim_size(0);
  *shape = {images, images == 0 ? 0 : mask->num_elements() / images, true_boxes.dim_size(1)};
  return absl::OkStatus();
}

}  // namespace detloss

#endif  // DETLOSS_OPS_YOLO_IGNORE_MASK_SHAPES_H_
