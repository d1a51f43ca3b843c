// NumPy arrays as the plain pointers that the kernels take.
#ifndef DETLOSS_PYTHON_BINDINGS_ARRAYS_H_
#define DETLOSS_PYTHON_BINDINGS_ARRAYS_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "cc/dtypes.h"
#include "cc/status.h"

namespace detloss {

namespace py = pybind11;

inline std::string DtypeName(const py::array& array) { return py::str(array.dtype().attr("name")); }

inline void ThrowIfError(const Status& status) {
  if (!status.ok()) throw py::value_error(status.message());
}

inline std::string ShapeText(const py::array& array) {
  return py::str(py::tuple(py::cast(std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()))));
}

// The array's elements; throws unless they are of dtype `dtype`, contiguous, and of the shape.
template <class T>
const T* Elements(const char* name, const py::array& array, const std::string& dtype,
                  const std::vector<py::ssize_t>& shape) {
  if (DtypeName(array) != dtype) {
    throw py::type_error(std::string(name) + ": expected dtype " + dtype + ", got " + DtypeName(array));
  }
  if (std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()) != shape) {
    throw py::value_error(std::string(name) + ": expected shape " + std::string(py::str(py::tuple(py::cast(shape)))) +
                          ", got " + ShapeText(array));
  }
  if (!(array.flags() & py::array::c_style))
    throw py::value_error(std::string(name) + ": expected a C-contiguous array");
  return static_cast<const T*>(array.data());
}

// Calls `f` with a value of the element type and the dtype name of its labels.
template <class F>
auto WithPredictionDtype(const char* name, const py::array& predictions, const F& f) {
  const std::string dtype = DtypeName(predictions);
  if (dtype == "float32") return f(float(), "float32");
  if (dtype == "float64") return f(double(), "float64");
  if (dtype == "float16") return f(Half(), "float32");
  if (dtype == "bfloat16") return f(BFloat16(), "float32");
  throw py::type_error(std::string(name) + ": expected dtype float32, float64, float16 or bfloat16, got " + dtype);
}

}  // namespace detloss

#endif  // DETLOSS_PYTHON_BINDINGS_ARRAYS_H_
