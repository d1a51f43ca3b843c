// Python's numbers, strings and lists as C++ values: what has another type, or a value that C++'s type does not hold,
// is refused by the argument's name instead of converted.
#ifndef DETLOSS_PYTHON_BINDINGS_PYTHON_VALUES_H_
#define DETLOSS_PYTHON_BINDINGS_PYTHON_VALUES_H_

#include <pybind11/pybind11.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "python/bindings/errors.h"

namespace detloss {

inline bool IsBool(const py::handle& value) {
  return PyBool_Check(value.ptr()) || py::isinstance(value, py::module_::import("numpy").attr("bool_"));
}

// A number of Python's or of NumPy's, of the kind that the module `numbers` calls so. True and False are none.
inline bool IsNumber(const py::handle& value, const char* kind) {
  if (PyLong_CheckExact(value.ptr())) return true;
  return !IsBool(value) && py::isinstance(value, py::module_::import("numbers").attr(kind));
}

// How values of an argument are taken, and what an error calls them.
template <class T, class = void>
struct PythonValue;

template <>
struct PythonValue<bool> {
  static constexpr const char* kExpected = "True or False";
  static bool From(const char* name, const py::handle& given) {
    if (!IsBool(given)) ThrowTypeError(name, kExpected, given);
    return PyObject_IsTrue(given.ptr()) == 1;
  }
};

template <>
struct PythonValue<std::string> {
  static constexpr const char* kExpected = "a string";
  static std::string From(const char* name, const py::handle& given) {
    if (!PyUnicode_Check(given.ptr())) ThrowTypeError(name, kExpected, given);
    const char* text = PyUnicode_AsUTF8(given.ptr());
    if (text != nullptr) return text;
    PyErr_Clear();
    ThrowValueError(name, "a string that has an encoding in UTF-8", given);
  }
};

template <class T>
struct PythonValue<T, std::enable_if_t<std::is_integral<T>::value>> {
  static constexpr const char* kExpected = "an integer";
  static T From(const char* name, const py::handle& given) {
    if (!IsNumber(given, "Integral")) ThrowTypeError(name, kExpected, given);
    const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(given.ptr()));
    if (!index) throw py::error_already_set();
    using Wide = std::conditional_t<std::is_signed<T>::value, long long, unsigned long long>;
    Wide value;
    if constexpr (std::is_signed<T>::value) {
      value = PyLong_AsLongLong(index.ptr());
    } else {
      value = PyLong_AsUnsignedLongLong(index.ptr());
    }
    const bool overflow = PyErr_Occurred() != nullptr;
    PyErr_Clear();
    if (overflow || value < std::numeric_limits<T>::min() || value > std::numeric_limits<T>::max()) {
      const std::string bits = std::to_string(8 * sizeof(T));
      ThrowValueError(name,
                      (std::is_signed<T>::value ? "an integer of " : "an integer of at least 0, of ") + bits + " bits",
                      given);
    }
    return static_cast<T>(value);
  }
};

template <class T>
struct PythonValue<T, std::enable_if_t<std::is_floating_point<T>::value>> {
  static constexpr const char* kExpected = "a number";
  static T From(const char* name, const py::handle& given) {
    if (!PyFloat_CheckExact(given.ptr()) && !IsNumber(given, "Real")) ThrowTypeError(name, kExpected, given);
    const double value = PyFloat_AsDouble(given.ptr());
    const bool overflow = PyErr_Occurred() != nullptr;
    PyErr_Clear();
    const T rounded = static_cast<T>(value);
    // Infinity by itself is a matter for the option's range.
    if (overflow || (std::isfinite(value) && !std::isfinite(rounded))) {
      ThrowValueError(name, "a number that float" + std::to_string(8 * sizeof(T)) + " holds", given);
    }
    return rounded;
  }
};

template <>
struct PythonValue<std::optional<int64_t>> {
  static std::optional<int64_t> From(const char* name, const py::handle& given) {
    if (given.is_none()) return std::nullopt;
    if (!IsNumber(given, "Integral")) ThrowTypeError(name, "an integer or None", given);
    return PythonValue<int64_t>::From(name, given);
  }
};

// The elements of a list, a tuple or an array.
inline py::list ListFrom(const char* name, const py::handle& given, const char* expected) {
  const bool text = PyUnicode_Check(given.ptr()) || PyBytes_Check(given.ptr()) || PyByteArray_Check(given.ptr());
  if (text || !PySequence_Check(given.ptr())) ThrowTypeError(name, expected, given);
  auto elements = py::reinterpret_steal<py::list>(PySequence_List(given.ptr()));
  if (!elements) {
    if (PyErr_ExceptionMatches(PyExc_MemoryError)) throw py::error_already_set();
    PyErr_Clear();
    ThrowTypeError(name, expected, given);
  }
  return elements;
}

template <class T>
struct PythonValue<std::vector<T>> {
  static std::vector<T> From(const char* name, const py::handle& given) {
    const char* expected = std::is_integral<T>::value ? "a list of integers" : "a list of numbers";
    std::vector<T> values;
    for (const py::handle& element : ListFrom(name, given, expected)) {
      values.push_back(PythonValue<T>::From(name, element));
    }
    return values;
  }
};

template <class T>
T ValueFrom(const char* name, const py::handle& given) {
  return PythonValue<T>::From(name, given);
}

}  // namespace detloss

#endif  // DETLOSS_PYTHON_BINDINGS_PYTHON_VALUES_H_
