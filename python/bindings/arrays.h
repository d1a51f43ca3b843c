// NumPy arrays as the kernels' arguments.
#ifndef DETLOSS_PYTHON_BINDINGS_ARRAYS_H_
#define DETLOSS_PYTHON_BINDINGS_ARRAYS_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "python/bindings/tensor_view.h"

namespace detloss {

using Arrays = std::vector<py::array>;

inline std::string DtypeName(const py::array& array) { return py::str(array.dtype().attr("name")); }

inline TensorView ViewOf(const py::array& array) {
  return {array.data(), DtypeName(array), Dimensions(array.shape(), array.shape() + array.ndim()), array.itemsize(),
          (array.flags() & py::array::c_style) != 0};
}

inline std::vector<TensorView> ViewsOf(const Arrays& arrays) {
  std::vector<TensorView> views;
  for (const py::array& array : arrays) views.push_back(ViewOf(array));
  return views;
}

}  // namespace detloss

#endif  // DETLOSS_PYTHON_BINDINGS_ARRAYS_H_
