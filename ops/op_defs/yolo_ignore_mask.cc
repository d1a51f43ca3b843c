#include "ops/attributes.h"
#include "ops/op_defs/shape_checks.h"
#include "ops/yolo_ignore_mask_shapes.h"
#include "tensorflow/core/framework/op.h"

namespace detloss {
namespace {

using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status InferFour(InferenceContext* c, int input, const char* name, const char* dimensions) {
  DimensionHandle four;
  const ShapeHandle shape = c->input(input);
  if (!c->RankKnown(shape) || (c->Rank(shape) >= 2 && c->WithValue(c->Dim(shape, -1), 4, &four).ok())) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": expected shape ", dimensions, ", got ", c->DebugString(shape)));
}

// boxes [batch, ..., 4], true_boxes [batch, number, 4]; the mask is [batch, ...].
absl::Status InferYoloIgnoreMask(InferenceContext* c) {
  IgnoreOptions options;
  TF_RETURN_IF_ERROR(CheckLabelDtype(c));
  TF_RETURN_IF_ERROR(ReadIgnoreOptions(c, &options));
  TF_RETURN_IF_ERROR(ToAbsl(CheckIgnoreOptions(options)));
  ShapeHandle true_boxes, mask;
  TF_RETURN_IF_ERROR(InferFour(c, 0, "boxes", "[batch, ..., 4]"));
  TF_RETURN_IF_ERROR(InferRank(c, 1, "true_boxes", 3, "batch, true boxes, 4", &true_boxes));
  TF_RETURN_IF_ERROR(InferFour(c, 1, "true_boxes", "[batch, true boxes, 4]"));
  const ShapeHandle boxes = c->input(0);
  if (!c->RankKnown(boxes)) {
    c->set_output(0, c->UnknownShape());
    return absl::OkStatus();
  }
  DimensionHandle batch;
  if (!c->Merge(c->Dim(boxes, 0), c->Dim(true_boxes, 0), &batch).ok()) {
    return absl::InvalidArgumentError(absl::StrCat("true_boxes: expected a batch as in boxes ", c->DebugString(boxes),
                                                   ", got ", c->DebugString(true_boxes)));
  }
  TF_RETURN_IF_ERROR(ToAbsl(CheckIgnoreMaskSizes(KnownDimensions(c, boxes), KnownDimensions(c, true_boxes))));
  TF_RETURN_IF_ERROR(c->Subshape(boxes, 0, -1, &mask));
  c->set_output(0, mask);
  return absl::OkStatus();
}

REGISTER_OP("Detloss>YoloIgnoreMask")
    .Input("boxes: T")
    .Input("true_boxes: Tlabel")
    .Output("mask: bool")
    .Attr("T: {float, half, bfloat16, double}")
    .Attr("Tlabel: {float, double}")
    .Attr("ignore_thresh: float = 0.5")
    .Attr("comparator: {'<', '<='} = '<'")
    .SetShapeFn(InferYoloIgnoreMask)
    .Doc(R"doc(
Marks boxes that overlap a true box of their image too well to be negatives. `detloss.yolo_ignore_mask` documents the
semantics.

boxes: x, y, w, h of predicted boxes, `[batch, ..., 4]`.
true_boxes: x, y, w, h of true boxes, `[batch, number, 4]`; empty ones are padding.
mask: `[batch, ...]`, true where the box is ignored.
)doc");

}  // namespace
}  // namespace detloss
