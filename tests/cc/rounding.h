// What rounding may do to results that are compared with those of plain loops in double.
#ifndef DETLOSS_TESTS_CC_ROUNDING_H_
#define DETLOSS_TESTS_CC_ROUNDING_H_

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "cc/dtypes.h"
#include "tests/cc/check.h"
#include "tests/cc/dtype_values.h"

namespace detloss {

// A value, and the sum of the magnitudes that it was added up from: what its rounding errors are in proportion to.
struct Total {
  double value = 0;
  double magnitude = 0;

  void Add(double term) { *this += Total{term, std::fabs(term)}; }
  void operator+=(const Total& other) {
    value += other.value;
    magnitude += other.magnitude;
  }
};
// Nothing for a factor of 0, whatever the total is.
inline Total operator*(double factor, const Total& total) {
  if (factor == 0) return {};
  return {factor * total.value, std::fabs(factor) * total.magnitude};
}

// Relative to the magnitudes that were added up. Half precision computes in float, too.
template <class T>
constexpr double Tolerance() {
  return sizeof(Compute<T>) == sizeof(double) ? 1e-13 : 4e-6;
}

template <class T>
void CheckTotals(const std::vector<Compute<T>>& got, const std::vector<Total>& want) {
  CHECK_EQUAL(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) CHECK_NEAR(got[i], want[i].value, Tolerance<T>() * want[i].magnitude);
}

// Between what the wanted value rounds to when it is off by the tolerance to either side. Exponentials below the normal
// numbers are zero.
template <class T>
void CheckGradient(const std::vector<T>& got, const std::vector<Total>& want) {
  CHECK_EQUAL(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    const double value = ToDouble(got[i]),
                 error = Tolerance<T>() * want[i].magnitude + std::numeric_limits<Compute<T>>::min();
    if (std::isnan(want[i].value)) {
      CHECK(std::isnan(value));
    } else if (!(value >= ToDouble(FromDouble<T>(want[i].value - error)) &&
                 value <= ToDouble(FromDouble<T>(want[i].value + error)))) {
      const check::Context context("element " + check::Show(i));
      CHECK_NEAR(value, want[i].value, error);
    }
  }
}

}  // namespace detloss

#endif  // DETLOSS_TESTS_CC_ROUNDING_H_
