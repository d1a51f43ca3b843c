// Python's exceptions: every text names the argument, what was expected and what came.
#ifndef DETLOSS_PYTHON_BINDINGS_ERRORS_H_
#define DETLOSS_PYTHON_BINDINGS_ERRORS_H_

#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>
#include <utility>

#include "cc/status.h"

namespace detloss {

namespace py = pybind11;

inline std::string ErrorText(const std::string& name, const std::string& expected, const std::string& found) {
  return name + ": expected " + expected + ", got " + found;
}

// The value, as far as a message has room for it.
inline std::string ValueText(const py::handle& value) {
  constexpr py::ssize_t kLongest = 200;
  const py::str text = py::repr(value);
  if (PyUnicode_GetLength(text.ptr()) <= kLongest) return text;
  const auto beginning = py::reinterpret_steal<py::str>(PyUnicode_Substring(text.ptr(), 0, kLongest));
  if (!beginning) throw py::error_already_set();
  return std::string(beginning) + "...";
}

[[noreturn]] inline void ThrowTypeError(const char* name, const std::string& expected, const py::handle& found) {
  throw py::type_error(ErrorText(name, expected, ValueText(found)));
}

[[noreturn]] inline void ThrowValueError(const char* name, const std::string& expected, const py::handle& found) {
  throw py::value_error(ErrorText(name, expected, ValueText(found)));
}

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

}  // namespace detloss

#endif  // DETLOSS_PYTHON_BINDINGS_ERRORS_H_
