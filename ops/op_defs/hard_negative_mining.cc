#include "ops/attributes.h"
#include "ops/op_defs/shape_checks.h"
#include "tensorflow/core/framework/op.h"

namespace detloss {
namespace {

using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// The mask has the shape of negative_loss: [batch, boxes].
absl::Status InferHardNegativeMining(InferenceContext* c) {
  MiningOptions options;
  TF_RETURN_IF_ERROR(CheckLabelDtype(c));
  TF_RETURN_IF_ERROR(ReadMiningOptions(c, &options));
  TF_RETURN_IF_ERROR(ToAbsl(CheckMiningOptions(options)));
  ShapeHandle boxes, ignored;
  TF_RETURN_IF_ERROR(InferRank(c, 0, "negative_loss", 2, "batch, boxes", &boxes));
  TF_RETURN_IF_ERROR(InferShape(c, 1, "n_positive", c->Vector(c->Dim(boxes, 0)), &ignored));
  TF_RETURN_IF_ERROR(ToAbsl(CheckMiningShape(c->Value(c->Dim(boxes, 0)), c->Value(c->Dim(boxes, 1)))));
  c->set_output(0, boxes);
  return absl::OkStatus();
}

REGISTER_OP("Detloss>HardNegativeMining")
    .Input("negative_loss: T")
    .Input("n_positive: Tlabel")
    .Output("mask: bool")
    .Attr("T: {float, half, bfloat16, double}")
    .Attr("Tlabel: {float, double}")
    .Attr("neg_pos_ratio: float = 3.0")
    .Attr("n_neg_min: int = 0")
    .Attr("mining_scope: {'batch', 'image', 'image_uniform'} = 'batch'")
    .SetShapeFn(InferHardNegativeMining)
    .Doc(R"doc(
Marks the hardest negatives of a batch or of every image. `detloss.hard_negative_mask` documents the semantics.

negative_loss: `[batch, boxes]`, zero where a box is no candidate.
n_positive: Positives of every image, `[batch]`.
mask: `[batch, boxes]`, true where the box is kept.
)doc");

}  // namespace
}  // namespace detloss
