// Checks of argument shapes that kernels and lowerings share. Texts name the argument, what was expected and what came.
#ifndef DETLOSS_OPS_ARGUMENT_SHAPES_H_
#define DETLOSS_OPS_ARGUMENT_SHAPES_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tensorflow/core/framework/tensor_shape.h"
#include "tensorflow/core/platform/errors.h"

namespace detloss {

inline absl::Status CheckRank(const char* name, const tensorflow::TensorShape& shape, int rank,
                              const char* dimensions) {
  if (shape.dims() == rank) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": expected shape [", dimensions, "], got ", shape.DebugString()));
}

using Dimensions = std::vector<int64_t>;

inline Dimensions DimensionsOf(const tensorflow::TensorShape& shape) {
  const auto sizes = shape.dim_sizes();
  return Dimensions(sizes.begin(), sizes.end());
}

// `origin` follows the expected shape in the text: where it is from.
inline absl::Status CheckShape(const char* name, const tensorflow::TensorShape& shape, const Dimensions& expected,
                               const char* origin = "") {
  if (DimensionsOf(shape) == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, ": expected shape [", absl::StrJoin(expected, ","), "]", origin,
                                                 ", got ", shape.DebugString()));
}

}  // namespace detloss

#endif  // DETLOSS_OPS_ARGUMENT_SHAPES_H_
