// Shapes that the ignore mask takes.
#ifndef DETLOSS_OPS_YOLO_IGNORE_MASK_SHAPES_H_
#define DETLOSS_OPS_YOLO_IGNORE_MASK_SHAPES_H_

#include "cc/tensor_size.h"
#include "cc/yolo_ignore_mask.h"
#include "ops/argument_shapes.h"
#include "ops/attributes.h"

namespace detloss {

// Unknown dimensions are negative.
inline Status CheckIgnoreMaskSizes(const Dimensions& boxes, const Dimensions& true_boxes) {
  DETLOSS_RETURN_IF_ERROR(CheckTensorSize("boxes", "boxes", boxes.size() - 1, boxes));
  return CheckTensorSize("true_boxes", "boxes", true_boxes.size() - 1, true_boxes);
}

// `mask` gets the shape of the mask: that of the boxes without its last dimension.
inline absl::Status CheckIgnoreMaskShapes(const tensorflow::TensorShape& boxes,
                                          const tensorflow::TensorShape& true_boxes, IgnoreMaskShape* shape,
                                          tensorflow::TensorShape* mask) {
  if (boxes.dims() < 2 || boxes.dim_size(boxes.dims() - 1) != 4) {
    return absl::InvalidArgumentError(absl::StrCat("boxes: expected shape [batch, ..., 4], got ", boxes.DebugString()));
  }
  if (true_boxes.dims() != 3 || true_boxes.dim_size(0) != boxes.dim_size(0) || true_boxes.dim_size(2) != 4) {
    return absl::InvalidArgumentError(absl::StrCat("true_boxes: expected shape [", boxes.dim_size(0),
                                                   ", true boxes, 4] for boxes of shape ", boxes.DebugString(),
                                                   ", got ", true_boxes.DebugString()));
  }
  TF_RETURN_IF_ERROR(ToAbsl(CheckIgnoreMaskSizes(DimensionsOf(boxes), DimensionsOf(true_boxes))));
  *mask = boxes;
  mask->RemoveLastDims(1);
  const int64_t images = boxes.dim_size(0);
  *shape = {images, images == 0 ? 0 : mask->num_elements() / images, true_boxes.dim_size(1)};
  return absl::OkStatus();
}

}  // namespace detloss

#endif  // DETLOSS_OPS_YOLO_IGNORE_MASK_SHAPES_H_
