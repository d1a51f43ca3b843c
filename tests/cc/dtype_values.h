// Tests over the four element types of predictions.
#ifndef DETLOSS_TESTS_CC_DTYPE_VALUES_H_
#define DETLOSS_TESTS_CC_DTYPE_VALUES_H_

#include <cmath>
#include <vector>

#include "cc/dtypes.h"
#include "tests/cc/check.h"

namespace detloss {

inline const char* DtypeName(float) { return "float"; }
inline const char* DtypeName(double) { return "double"; }
inline const char* DtypeName(Half) { return "half"; }
inline const char* DtypeName(BFloat16) { return "bfloat16"; }

// Calls `test(T())` for each type, named in failures.
template <class F>
void ForEachDtype(const F& test) {
  const auto run = [&](auto zero) {
    const check::Context context(DtypeName(zero));
    test(zero);
  };
  run(float());
  run(double());
  run(Half());
  run(BFloat16());
}

template <class T>
T FromDouble(double x) {
  T value;
  Store(static_cast<Compute<T>>(x), &value);
  return value;
}

template <class T>
double ToDouble(T value) {
  return static_cast<double>(ToCompute(value));
}

// One NaN for all, whose sign and payload the instruction sets choose differently.
template <class V>
void UnifyNans(std::vector<V>* values) {
  for (V& value : *values) {
    if (std::isnan(ToDouble(value))) value = FromDouble<V>(std::nan(""));
  }
}

}  // namespace detloss

#endif  // DETLOSS_TESTS_CC_DTYPE_VALUES_H_
