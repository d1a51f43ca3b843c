// Shapes that hard negative mining takes.
#ifndef DETLOSS_OPS_HARD_NEGATIVE_MINING_SHAPES_H_
#define DETLOSS_OPS_HARD_NEGATIVE_MINING_SHAPES_H_

#include "cc/hard_negative_mining.h"
#include "ops/argument_shapes.h"
#include "ops/attributes.h"

namespace detloss {

inline absl::Status CheckMiningShapes(const tensorflow::TensorShape& negative_loss,
                                      const tensorflow::TensorShape& n_positive) {
  TF_RETURN_IF_ERROR(CheckRank("negative_loss", negative_loss, 2, "batch, boxes"));
  TF_RETURN_IF_ERROR(CheckShape("n_positive", n_positive, {negative_loss.dim_size(0)}));
  return ToAbsl(CheckMiningShape(negative_loss.dim_size(0), negative_loss.dim_size(1)));
}

}  // namespace detloss

#endif  // DETLOSS_OPS_HARD_NEGATIVE_MINING_SHAPES_H_
