#include "ops/attributes.h"
#include "ops/op_defs/shape_checks.h"
#include "ops/ssd_loss_shapes.h"
#include "tensorflow/core/framework/op.h"

namespace detloss {
namespace {

using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// y_true and y_pred: [batch, boxes, width], with columns as the layout says.
absl::Status InferBoxes(InferenceContext* c, int y_true, int y_pred, const SsdLossOptions& options,
                        ShapeHandle* boxes) {
  TF_RETURN_IF_ERROR(CheckLabelDtype(c));
  TF_RETURN_IF_ERROR(InferRank(c, y_pred, "y_pred", 3, "batch, boxes, width", boxes));
  TF_RETURN_IF_ERROR(InferShape(c, y_true, "y_true", *boxes, boxes, kAsPredictions));
  const SsdShape shape = {c->Value(c->Dim(*boxes, 0)), c->Value(c->Dim(*boxes, 1)), c->Value(c->Dim(*boxes, 2))};
  SsdLossOptions resolved;
  if (shape.width >= 0) return ToAbsl(ResolveSsdOptions(options, shape, &resolved));
  TF_RETURN_IF_ERROR(ToAbsl(CheckSsdOptions(options)));
  return ToAbsl(CheckSsdShape(shape));
}

// Eight outputs: six of [batch] for loss and components, num_invalid [batch], selection [batch, boxes].
absl::Status InferSsdLoss(InferenceContext* c) {
  SsdLossOptions options;
  ShapeHandle boxes;
  TF_RETURN_IF_ERROR(ReadSsdLossOptions(c, &options));
  TF_RETURN_IF_ERROR(InferBoxes(c, 0, 1, options, &boxes));
  const ShapeHandle batch = c->Vector(c->Dim(boxes, 0));
  for (int output = 0; output < 7; ++output) c->set_output(output, batch);
  c->set_output(7, c->Matrix(c->Dim(boxes, 0), c->Dim(boxes, 1)));
  return absl::OkStatus();
}

// The gradient has the shape of y_pred.
absl::Status InferSsdLossGrad(InferenceContext* c) {
  SsdLossOptions options;
  ShapeHandle boxes, ignored;
  TF_RETURN_IF_ERROR(ReadSsdLossGradOptions(c, &options));
  TF_RETURN_IF_ERROR(InferBoxes(c, 1, 2, options, &boxes));
  const ShapeHandle batch = c->Vector(c->Dim(boxes, 0));
  TF_RETURN_IF_ERROR(InferShape(c, 0, "loss_gradient", batch, &ignored));
  TF_RETURN_IF_ERROR(InferShape(c, 3, "n_pos", batch, &ignored));
  TF_RETURN_IF_ERROR(InferShape(c, 4, "n_kept", batch, &ignored));
  TF_RETURN_IF_ERROR(InferShape(c, 5, "selection", c->Matrix(c->Dim(boxes, 0), c->Dim(boxes, 1)), &ignored));
  c->set_output(0, boxes);
  return absl::OkStatus();
}

REGISTER_OP("Detloss>SsdLoss")
    .Input("y_true: Tlabel")
    .Input("y_pred: T")
    .Output("loss: Tlabel")
    .Output("positive: Tlabel")
    .Output("negative: Tlabel")
    .Output("localization: Tlabel")
    .Output("n_pos: Tlabel")
    .Output("n_kept: Tlabel")
    .Output("num_invalid: int32")
    .Output("selection: uint8")
    .Attr("T: {float, half, bfloat16, double}")
    .Attr("Tlabel: {float, double}")
    .Attr("neg_pos_ratio: float = 3.0")
    .Attr("n_neg_min: int = 0")
    .Attr("alpha: float = 1.0")
    .Attr("mining_scope: {'batch', 'image', 'image_uniform'} = 'batch'")
    .Attr("rank_by: {'loss', 'foreground'} = 'loss'")
    .Attr("normalizer: {'batch', 'image', 'image_selected'} = 'batch'")
    .Attr("from_logits: bool = false")
    .Attr("invalid_targets: {'ignore', 'silent', 'error'} = 'ignore'")
    .Attr("num_classes: int = 0")
    .Attr("class_column: int = 0")
    .Attr("box_column: int = -12")
    .Attr("has_positive_column: bool = false")
    .Attr("positive_column: int = 0")
    .Attr("exact_width: bool = false")
    .SetShapeFn(InferSsdLoss)
    .Doc(R"doc(
SSD loss with hard negative mining, per image. `detloss.ssd_loss` documents the semantics.

y_true: Labels `[batch, boxes, width]`.
y_pred: Predictions of the same shape.
loss: `[batch]`; `positive`, `negative` and `localization` add up to it.
n_pos: Sum of the positive weights, `[batch]`.
n_kept: Number of hard negatives kept, `[batch]`.
num_invalid: Boxes left out because of an invalid label, `[batch]`.
selection: `[batch, boxes]`, bits: 1 positive, 2 kept by mining, 4 invalid.
num_classes: Classes with the background; 0: the width minus 12.
class_column: First class column. Negative columns count from the end of the row.
box_column: First of the four offset columns.
has_positive_column: Whether `positive_column` of the labels flags positives.
exact_width: Whether rows have 12 columns beside the classes, or 4 where the offsets follow classes that begin the row.
)doc");

REGISTER_OP("Detloss>SsdLossGrad")
    .Input("loss_gradient: Tlabel")
    .Input("y_true: Tlabel")
    .Input("y_pred: T")
    .Input("n_pos: Tlabel")
    .Input("n_kept: Tlabel")
    .Input("selection: uint8")
    .Output("y_pred_gradient: T")
    .Attr("T: {float, half, bfloat16, double}")
    .Attr("Tlabel: {float, double}")
    .Attr("alpha: float = 1.0")
    .Attr("normalizer: {'batch', 'image', 'image_selected'} = 'batch'")
    .Attr("from_logits: bool = false")
    .Attr("num_classes: int = 0")
    .Attr("class_column: int = 0")
    .Attr("box_column: int = -12")
    .Attr("has_positive_column: bool = false")
    .Attr("positive_column: int = 0")
    .Attr("exact_width: bool = false")
    .SetShapeFn(InferSsdLossGrad)
    .Doc(R"doc(
Gradient of `Detloss>SsdLoss` with respect to `y_pred`.

loss_gradient: Gradient of the loss, `[batch]`.
n_pos: As the loss returned it.
n_kept: As the loss returned it.
selection: As the loss returned it.
)doc");

}  // namespace
}  // namespace detloss
