// What the kernels' arguments are checked for, wherever their elements lie: NumPy arrays and tensors of a device alike.
#ifndef DETLOSS_PYTHON_BINDINGS_TENSOR_VIEW_H_
#define DETLOSS_PYTHON_BINDINGS_TENSOR_VIEW_H_

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cc/dtypes.h"
#include "cc/status.h"

namespace detloss {

namespace py = pybind11;

using Dimensions = std::vector<int64_t>;

// Elements that somebody else owns, for as long as a call takes.
struct TensorView {
  const void* data;
  std::string dtype;  // as NumPy names it
  Dimensions shape;
  int64_t item_bytes;
  bool contiguous;  // in C order
};

inline int64_t ByteCount(const TensorView& tensor) {
  int64_t bytes = tensor.item_bytes;
  for (int64_t size : tensor.shape) bytes *= size;
  return bytes;
}

inline std::string ShapeText(const Dimensions& shape) { return py::str(py::tuple(py::cast(shape))); }

// Raises what a status warns of as a RuntimeWarning, once per process.
inline void ThrowIfError(const Status& status) {
  static bool warned = false;  // under the interpreter's lock
  if (status.ok()) {
    if (status.message().empty() || std::exchange(warned, true)) return;
    if (PyErr_WarnEx(PyExc_RuntimeWarning, status.message().c_str(), 1) != 0) throw py::error_already_set();
    return;
  }
  if (status.is_internal()) throw std::runtime_error(status.message());
  throw py::value_error(status.message());
}

// Throws unless the tensor has the dtype and the shape, and is contiguous.
inline void CheckTensor(const char* name, const TensorView& tensor, const std::string& dtype, const Dimensions& shape) {
  if (tensor.dtype != dtype) {
    throw py::type_error(std::string(name) + ": expected dtype " + dtype + ", got " + tensor.dtype);
  }
  if (tensor.shape != shape) {
    throw py::value_error(std::string(name) + ": expected shape " + ShapeText(shape) + ", got " +
                          ShapeText(tensor.shape));
  }
  if (!tensor.contiguous) throw py::value_error(std::string(name) + ": expected a C-contiguous array");
}

template <class T>
const T* Elements(const char* name, const TensorView& tensor, const std::string& dtype, const Dimensions& shape) {
  CheckTensor(name, tensor, dtype, shape);
  return static_cast<const T*>(tensor.data);
}

// The same of an output.
template <class T>
T* MutableElements(const char* name, const TensorView& tensor, const std::string& dtype, const Dimensions& shape) {
  CheckTensor(name, tensor, dtype, shape);
  return static_cast<T*>(const_cast<void*>(tensor.data));
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
