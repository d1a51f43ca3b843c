// Options of a loss from Python's keyword arguments.
#ifndef DETLOSS_PYTHON_BINDINGS_OPTION_READER_H_
#define DETLOSS_PYTHON_BINDINGS_OPTION_READER_H_

#include <pybind11/pybind11.h>

#include <cstddef>
#include <set>
#include <string>

#include "cc/option_names.h"
#include "python/bindings/python_values.h"

namespace detloss {

class OptionReader {
 public:
  // `function` is the one of this package that documents the options.
  OptionReader(const char* function, const py::kwargs& given) : function_(function), given_(given) {}

  // Sets `value` if the option is given.
  template <class T>
  void Take(const char* name, T* value) {
    known_.insert(name);
    if (given_.contains(name)) *value = ValueFrom<T>(name, given_[name]);
  }

  // The same of an option that is given by name.
  template <class Option, size_t kCount>
  void Choose(const char* name, const OptionName<Option> (&options)[kCount], Option* value) {
    std::string chosen;
    Take(name, &chosen);
    if (given_.contains(name)) ThrowIfError(ChooseOption(name, options, chosen, value));
  }

  // Throws if anything is given that nobody took.
  void Finish() const {
    for (const auto& [name, _] : given_) {
      if (known_.count(py::str(name)) == 0) {
        throw py::type_error("expected an option of detloss." + function_ + ", got " + std::string(py::str(name)));
      }
    }
  }

 private:
  const std::string function_;
  const py::kwargs given_;
  std::set<std::string> known_;
};

}  // namespace detloss

#endif  // DETLOSS_PYTHON_BINDINGS_OPTION_READER_H_
