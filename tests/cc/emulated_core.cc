// The device functions of detloss._core over emulated kernels, for tests/test_emulated_kernels.py.
#include <pybind11/pybind11.h>

#include "python/bindings/device.h"

PYBIND11_MODULE(_emulated, m) { detloss::AddDeviceFunctions(m); }
