// detloss._core.device: the CUDA kernels on tensors of any framework, with no TensorFlow in the process.
#ifndef DETLOSS_PYTHON_BINDINGS_DEVICE_H_
#define DETLOSS_PYTHON_BINDINGS_DEVICE_H_

#include <pybind11/pybind11.h>

namespace detloss {

// Adds the submodule `device`.
void AddDeviceFunctions(pybind11::module_& m);

}  // namespace detloss

#endif  // DETLOSS_PYTHON_BINDINGS_DEVICE_H_
