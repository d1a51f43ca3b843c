// What the kernels' arguments are checked for, wherever their elements lie: NumPy arrays and tensors of a device alike.
#ifndef DETLOSS_PYTHON_BINDINGS_TENSOR_VIEW_H_
#define DETLOSS_PYTHON_BINDINGS_TENSOR_VIEW_H_

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cc/dtypes.h"
#include "cc/tensor_size.h"
#include "python/bindings/errors.h"

namespace detloss {

using Dimensions = std::vector<int64_t>;

// Elements that somebody else owns, for as long as a call takes.
struct TensorView {
  const void* data;
  std::string dtype;  // as NumPy names it; none of its names if the elements are not as the machine has them
  Dimensions shape;
  int64_t item_bytes;
  bool contiguous;  // in C order
  bool writable;
};

inline std::string ShapeText(const Dimensions& shape) { return py::str(py::tuple(py::cast(shape))); }

// Throws unless the sizes can be multiplied.
inline void CheckSizes(const char* name, const Dimensions& shape) {
  const auto fail = [&](const std::string& expected) {
    throw py::value_error(ErrorText(name, expected, "shape " + ShapeText(shape)));
  };
  if (std::any_of(shape.begin(), shape.end(), [](int64_t size) { return size < 0; })) fail("sizes of at least 0");
  if (ProductExceeds(shape, kMostElements)) {
    fail("sizes whose product, without zeros, is at most " + std::to_string(kMostElements));
  }
}

// Throws unless elements of so many bytes begin where the machine may read them. Without elements, any place will do.
inline void CheckAlignment(const char* name, const TensorView& tensor, size_t bytes) {
  const size_t beyond = reinterpret_cast<uintptr_t>(tensor.data) % bytes;
  if (beyond == 0 || std::count(tensor.shape.begin(), tensor.shape.end(), 0) > 0) return;
  throw py::value_error(ErrorText(name, "memory that is aligned to " + std::to_string(bytes) + " bytes",
                                  "an address " + std::to_string(beyond) + " beyond"));
}

// Throws unless the tensor has the dtype and the shape, and is contiguous.
inline void CheckTensor(const char* name, const TensorView& tensor, const std::string& dtype, const Dimensions& shape) {
  if (tensor.dtype != dtype) throw py::type_error(ErrorText(name, "dtype " + dtype, tensor.dtype));
  if (tensor.shape != shape) {
    throw py::value_error(ErrorText(name, "shape " + ShapeText(shape), ShapeText(tensor.shape)));
  }
  if (!tensor.contiguous) throw py::value_error(ErrorText(name, "a C-contiguous array", "another order or gaps"));
}

template <class T>
const T* Elements(const char* name, const TensorView& tensor, const std::string& dtype, const Dimensions& shape) {
  CheckTensor(name, tensor, dtype, shape);
  CheckAlignment(name, tensor, alignof(T));
  return static_cast<const T*>(tensor.data);
}

// The same of an output.
template <class T>
T* MutableElements(const char* name, const TensorView& tensor, const std::string& dtype, const Dimensions& shape) {
  const T* elements = Elements<T>(name, tensor, dtype, shape);
  if (!tensor.writable) throw py::value_error(ErrorText(name, "an array that may be written", "a read-only one"));
  return const_cast<T*>(elements);
}

// Calls `f` with a value of the predictions' element type and the dtype name of their labels.
template <class F>
auto WithPredictionDtype(const char* name, const std::string& dtype, const F& f) {
  if (dtype == "float32") return f(float(), "float32");
  if (dtype == "float64") return f(double(), "float64");
  if (dtype == "float16") return f(Half(), "float32");
  if (dtype == "bfloat16") return f(BFloat16(), "float32");
  throw py::type_error(std::string(name) + ": expected dtype float32, float64, float16 or bfloat16, got " + dtype);
}

}  // namespace detloss

#endif  // DETLOSS_PYTHON_BINDINGS_TENSOR_VIEW_H_
