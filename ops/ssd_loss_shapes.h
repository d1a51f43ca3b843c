// Shapes that the SSD loss takes.
#ifndef DETLOSS_OPS_SSD_LOSS_SHAPES_H_
#define DETLOSS_OPS_SSD_LOSS_SHAPES_H_

#include "cc/ssd_loss.h"
#include "ops/argument_shapes.h"
#include "ops/attributes.h"

namespace detloss {

// Labels and predictions have one shape; this follows it where it is expected.
constexpr char kAsPredictions[] = ", the shape of y_pred";

inline absl::Status CheckSsdShapes(const tensorflow::TensorShape& y_true, const tensorflow::TensorShape& y_pred,
                                   const SsdLossOptions& options, SsdShape* shape) {
  TF_RETURN_IF_ERROR(CheckRank("y_pred", y_pred, 3, "batch, boxes, width"));
  *shape = {y_pred.dim_size(0), y_pred.dim_size(1), y_pred.dim_size(2)};
  TF_RETURN_IF_ERROR(CheckShape("y_true", y_true, {shape->images, shape->boxes, shape->width}, kAsPredictions));
  SsdLossOptions resolved;
  return ToAbsl(ResolveSsdOptions(options, *shape, &resolved));
}

inline absl::Status CheckSsdGradShapes(const tensorflow::TensorShape& loss_gradient,
                                       const tensorflow::TensorShape& n_pos, const tensorflow::TensorShape& n_kept,
                                       const tensorflow::TensorShape& selection, const SsdShape& shape) {
  TF_RETURN_IF_ERROR(CheckShape("loss_gradient", loss_gradient, {shape.images}));
  TF_RETURN_IF_ERROR(CheckShape("n_pos", n_pos, {shape.images}));
  TF_RETURN_IF_ERROR(CheckShape("n_kept", n_kept, {shape.images}));
  return CheckShape("selection", selection, {shape.images, shape.boxes});
}

}  // namespace detloss

#endif  // DETLOSS_OPS_SSD_LOSS_SHAPES_H_
