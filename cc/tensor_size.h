// How large the tensors of a call may be. Within these bounds no product of their dimensions, of bytes of a workspace
// or of blocks overflows, and 32 bits count rows.
#ifndef DETLOSS_CC_TENSOR_SIZE_H_
#define DETLOSS_CC_TENSOR_SIZE_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "cc/status.h"

namespace detloss {

constexpr int64_t kMostRows = std::numeric_limits<int32_t>::max();
constexpr int64_t kMostElements = int64_t{1} << 40;

// Whether the product of the dimensions is larger than `most`. Empty dimensions count as 1, because there are products
// without them, and unknown ones, which are negative, because nothing else is known.
inline bool ProductExceeds(const std::vector<int64_t>& dimensions, int64_t most) {
  for (int64_t size : dimensions) {
    if (size > most) return true;
    if (size > 1) most /= size;
  }
  return false;
}

// `[2,?,4]`: unknown dimensions are negative.
inline std::string DimensionsText(const std::vector<int64_t>& dimensions) {
  std::string text;
  for (int64_t size : dimensions) text += (text.empty() ? "[" : ",") + (size < 0 ? "?" : std::to_string(size));
  return dimensions.empty() ? "[]" : text + "]";
}

// Of a tensor whose first `row_dimensions` number rows, which are called `rows`.
inline Status CheckTensorSize(const std::string& tensor, const char* rows, size_t row_dimensions,
                              const std::vector<int64_t>& dimensions) {
  const bool few_rows = !ProductExceeds({dimensions.begin(), dimensions.begin() + row_dimensions}, kMostRows);
  if (few_rows && !ProductExceeds(dimensions, kMostElements)) return Status::Ok();
  const std::string most =
      few_rows ? std::to_string(kMostElements) + " numbers" : std::to_string(kMostRows) + " " + rows;
  return Status::InvalidArgument(tensor + ": expected at most " + most + " in a batch, got shape " +
                                 DimensionsText(dimensions));
}

}  // namespace detloss

#endif  // DETLOSS_CC_TENSOR_SIZE_H_
