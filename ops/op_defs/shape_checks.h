// Shape inference that the op definitions share. Texts name the argument, what was expected and what came.
#ifndef DETLOSS_OPS_OP_DEFS_SHAPE_CHECKS_H_
#define DETLOSS_OPS_OP_DEFS_SHAPE_CHECKS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/framework/types.pb.h"
#include "tensorflow/core/platform/errors.h"

namespace detloss {

inline absl::Status InferRank(tensorflow::shape_inference::InferenceContext* c, int input, const char* name, int rank,
                              const char* dimensions, tensorflow::shape_inference::ShapeHandle* shape) {
  if (c->WithRank(c->input(input), rank, shape).ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": expected shape [", dimensions, "], got ", c->DebugString(c->input(input))));
}

// `origin` follows the expected shape in the text: where it is from.
inline absl::Status InferShape(tensorflow::shape_inference::InferenceContext* c, int input, const char* name,
                               tensorflow::shape_inference::ShapeHandle expected,
                               tensorflow::shape_inference::ShapeHandle* shape, const char* origin = "") {
  if (c->Merge(c->input(input), expected, shape).ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, ": expected shape ", c->DebugString(expected), origin, ", got ",
                                                 c->DebugString(c->input(input))));
}

// Of a shape whose rank is known; the unknown ones are -1.
inline std::vector<int64_t> KnownDimensions(tensorflow::shape_inference::InferenceContext* c,
                                            tensorflow::shape_inference::ShapeHandle shape) {
  std::vector<int64_t> dimensions;
  for (int i = 0; i < c->Rank(shape); ++i) dimensions.push_back(c->Value(c->Dim(shape, i)));
  return dimensions;
}

// Labels and losses are float32, but float64 beside float64 predictions.
inline absl::Status CheckLabelDtype(tensorflow::shape_inference::InferenceContext* c) {
  tensorflow::DataType predictions, labels;
  TF_RETURN_IF_ERROR(c->GetAttr("T", &predictions));
  TF_RETURN_IF_ERROR(c->GetAttr("Tlabel", &labels));
  if ((predictions == tensorflow::DT_DOUBLE) == (labels == tensorflow::DT_DOUBLE)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("Tlabel: expected float32, or float64 with float64 predictions, got ",
                                                 tensorflow::DataTypeString(labels), " with ",
                                                 tensorflow::DataTypeString(predictions)));
}

}  // namespace detloss

#endif  // DETLOSS_OPS_OP_DEFS_SHAPE_CHECKS_H_
