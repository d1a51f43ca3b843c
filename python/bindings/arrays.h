// NumPy arrays as the kernels' arguments.
#ifndef DETLOSS_PYTHON_BINDINGS_ARRAYS_H_
#define DETLOSS_PYTHON_BINDINGS_ARRAYS_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "python/bindings/python_values.h"
#include "python/bindings/tensor_view.h"

namespace detloss {

using Arrays = std::vector<py::array>;

inline py::array ArrayFrom(const char* name, const py::handle& given) {
  if (!py::isinstance<py::array>(given)) ThrowTypeError(name, "a NumPy array", given);
  return py::reinterpret_borrow<py::array>(given);
}

// One per scale. Whatever becomes of the list, the arrays stay.
inline Arrays ArraysFrom(const char* name, const py::handle& given) {
  Arrays arrays;
  for (const py::handle& array : ListFrom(name, given, "a list of NumPy arrays")) {
    arrays.push_back(ArrayFrom(name, array));
  }
  return arrays;
}

inline std::string DtypeName(const py::dtype& dtype) {
  const std::string name = py::str(dtype.attr("name"));
  if (py::bool_(dtype.attr("isnative"))) return name;
  return name + " in another byte order (" + std::string(py::str(dtype.attr("str"))) + ")";
}

inline TensorView ViewOf(const py::array& array) {
  return {array.data(),
          DtypeName(array.dtype()),
          Dimensions(array.shape(), array.shape() + array.ndim()),
          array.itemsize(),
          (array.flags() & py::array::c_style) != 0,
          array.writeable()};
}

inline TensorView ViewOf(const char* name, const py::handle& given) { return ViewOf(ArrayFrom(name, given)); }

inline std::vector<TensorView> ViewsOf(const Arrays& arrays) {
  std::vector<TensorView> views;
  for (const py::array& array : arrays) views.push_back(ViewOf(array));
  return views;
}

}  // namespace detloss

#endif  // DETLOSS_PYTHON_BINDINGS_ARRAYS_H_
