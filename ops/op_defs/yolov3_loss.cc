#include <vector>

#include "ops/attributes.h"
#include "ops/op_defs/shape_checks.h"
#include "ops/yolov3_loss_shapes.h"
#include "tensorflow/core/framework/op.h"

namespace detloss {
namespace {

using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// y_true and y_pred: one tensor per scale, [batch, height, width, anchors * columns] or with anchors as a dimension of
// their own. A scale of unknown rank is left to the kernel.
absl::Status InferScales(InferenceContext* c, int first_true, int scales, const YoloV3LossOptions& options,
                         YoloDimensions* all) {
  TF_RETURN_IF_ERROR(CheckLabelDtype(c));
  TF_RETURN_IF_ERROR(CountAnchors(options, scales, &all->anchors));
  for (int i = 0; i < scales; ++i) {
    const ShapeHandle y_true = c->input(first_true + i), y_pred = c->input(first_true + scales + i);
    if (!c->RankKnown(y_true) || !c->RankKnown(y_pred)) {
      all->scales.push_back({-1, -1});
      continue;
    }
    TF_RETURN_IF_ERROR(
        AddScale(KnownDimensions(c, y_true), KnownDimensions(c, y_pred), options.cell.corner_targets, all));
  }
  const YoloV3Shape shape = ShapeOf(*all);
  if (shape.classes >= 0) return ToAbsl(CheckYoloV3Options(options, shape));
  TF_RETURN_IF_ERROR(ToAbsl(CheckYoloV3Options(options, shape.scales.size())));
  return ToAbsl(CheckYoloV3Shape(shape));
}

ShapeHandle RowsOf(InferenceContext* c, const YoloDimensions& all, const Dimensions& scale) {
  const bool known = scale[0] >= 0 && scale[1] >= 0;
  return c->Matrix(c->MakeDim(all.batch), c->MakeDim(known ? scale[0] * scale[1] * all.anchors : -1));
}

// Eight outputs of [batch], then objectness_gradient and selection of every scale: [batch, rows].
absl::Status InferYoloV3Loss(InferenceContext* c) {
  YoloV3LossOptions options;
  YoloDimensions all;
  int scales;
  TF_RETURN_IF_ERROR(c->GetAttr("N", &scales));
  TF_RETURN_IF_ERROR(ReadYoloV3LossOptions(c, &options));
  TF_RETURN_IF_ERROR(InferScales(c, 0, scales, options, &all));
  constexpr int kPerImage = 8;
  for (int output = 0; output < kPerImage; ++output) c->set_output(output, c->Vector(c->MakeDim(all.batch)));
  for (int i = 0; i < scales; ++i) {
    const ShapeHandle rows = RowsOf(c, all, all.scales[i]);
    c->set_output(kPerImage + i, rows);
    c->set_output(kPerImage + scales + i, rows);
  }
  return absl::OkStatus();
}

// The shape of y_pred.
absl::Status InferYoloV3LossGrad(InferenceContext* c) {
  YoloV3LossOptions options;
  YoloDimensions all;
  TF_RETURN_IF_ERROR(ReadYoloV3LossGradOptions(c, &options));
  TF_RETURN_IF_ERROR(InferScales(c, 1, /*scales=*/1, options, &all));
  const ShapeHandle rows = RowsOf(c, all, all.scales[0]);
  ShapeHandle ignored;
  TF_RETURN_IF_ERROR(InferShape(c, 0, "loss_gradient", c->Vector(c->MakeDim(all.batch)), &ignored));
  TF_RETURN_IF_ERROR(InferShape(c, 3, "objectness_gradient", rows, &ignored));
  TF_RETURN_IF_ERROR(InferShape(c, 4, "selection", rows, &ignored));
  c->set_output(0, c->input(2));
  return absl::OkStatus();
}

REGISTER_OP("Detloss>YoloV3Loss")
    .Input("y_true: N * Tlabel")
    .Input("y_pred: N * T")
    .Output("loss: Tlabel")
    .Output("box: Tlabel")
    .Output("xy: Tlabel")
    .Output("wh: Tlabel")
    .Output("object: Tlabel")
    .Output("no_object: Tlabel")
    .Output("class_term: Tlabel")
    .Output("num_invalid: int32")
    .Output("objectness_gradient: N * Tlabel")
    .Output("selection: N * uint8")
    .Attr("N: int >= 1")
    .Attr("T: {float, half, bfloat16, double}")
    .Attr("Tlabel: {float, double}")
    .Attr("anchors: list(float)")
    .Attr("strides: list(int)")
    .Attr("grid_sense: list(float) = []")
    .Attr("ignore_thresh: float = 0.5")
    .Attr("comparator: {'<', '<='} = '<'")
    .Attr("ignore_scope: {'scale', 'image'} = 'scale'")
    .Attr("box_loss: {'classic', 'squared', 'iou', 'giou', 'diou', 'ciou', 'siou'} = 'classic'")
    .Attr("class_loss: {'sigmoid', 'softmax', 'normalized_sigmoid', 'none'} = 'sigmoid'")
    .Attr("class_focal: bool = false")
    .Attr("objectness_focal: bool = false")
    .Attr("label_smoothing: float = 0.0")
    .Attr("box_weight: float = 1.0")
    .Attr("object_weight: float = 1.0")
    .Attr("no_object_weight: float = 1.0")
    .Attr("class_weight: float = 1.0")
    .Attr("class_weights: list(float) = []")
    .Attr("target_format: {'center', 'corner'} = 'center'")
    .Attr("invalid_targets: {'ignore', 'silent', 'error', 'class_error'} = 'ignore'")
    .SetShapeFn(InferYoloV3Loss)
    .Doc(R"doc(
YOLOv3's loss, per image, over all scales given. `detloss.yolov3_loss` documents the semantics.

y_true: Labels of every scale, `[batch, height, width, anchors, columns]`.
y_pred: Logits of every scale, `[batch, height, width, anchors * (5 + classes)]`, or with anchors as a dimension.
loss: `[batch]`; `box`, `object`, `no_object` and `class_term` add up to it.
xy: Part of `box`, `[batch]`; with `wh` all of it, but zero with an overlap loss.
num_invalid: Labels left out because they are invalid, `[batch]`.
objectness_gradient: Gradient with respect to the objectness logits, `[batch, height * width * anchors]`.
selection: Of the same shape, bits: 1 object, 2 ignored, 4 invalid.
anchors: Width and height of every anchor of every scale.
strides: Pixels per cell of every scale, or 0 where the anchors are relative to the input.
grid_sense: Per scale, how far decoded centres reach beyond their cell; empty: 1.
class_weights: Per class; empty: 1.
)doc");

REGISTER_OP("Detloss>YoloV3LossGrad")
    .Input("loss_gradient: Tlabel")
    .Input("y_true: Tlabel")
    .Input("y_pred: T")
    .Input("objectness_gradient: Tlabel")
    .Input("selection: uint8")
    .Output("y_pred_gradient: T")
    .Attr("T: {float, half, bfloat16, double}")
    .Attr("Tlabel: {float, double}")
    .Attr("anchors: list(float)")
    .Attr("strides: list(int)")
    .Attr("grid_sense: list(float) = []")
    .Attr("box_loss: {'classic', 'squared', 'iou', 'giou', 'diou', 'ciou', 'siou'} = 'classic'")
    .Attr("class_loss: {'sigmoid', 'softmax', 'normalized_sigmoid', 'none'} = 'sigmoid'")
    .Attr("class_focal: bool = false")
    .Attr("label_smoothing: float = 0.0")
    .Attr("box_weight: float = 1.0")
    .Attr("class_weight: float = 1.0")
    .Attr("class_weights: list(float) = []")
    .Attr("target_format: {'center', 'corner'} = 'center'")
    .SetShapeFn(InferYoloV3LossGrad)
    .Doc(R"doc(
Gradient of `Detloss>YoloV3Loss` with respect to one scale's `y_pred`.

One op per scale: in graphs on a CPU, TensorFlow takes the gradient of a convolution's bias from whichever output of its
producer it meets, and would hand one scale the bias gradient of another.

loss_gradient: Gradient of the loss, `[batch]`.
objectness_gradient: As the loss returned it for the scale.
selection: As the loss returned it for the scale.
anchors: Those of the scale, as strides and grid_sense: one number each.
)doc");

}  // namespace
}  // namespace detloss
