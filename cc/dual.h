// Dual numbers: a value with its derivatives with respect to a box's x, y, w and h. They write the gradient of the
// overlap losses, which only the few cells with an object have. Shared by host and device.
#ifndef DETLOSS_CC_DUAL_H_
#define DETLOSS_CC_DUAL_H_

#include <math.h>

#include "cc/math.h"
#include "cc/platform.h"

namespace detloss {

template <class L>
struct Dual {
  L value;
  L gradient[4];
};

template <class L>
DETLOSS_SHARED Dual<L> Constant(L value) {
  return {value, {0, 0, 0, 0}};
}

template <class L>
DETLOSS_SHARED Dual<L> Variable(L value, int index) {
  Dual<L> dual = Constant(value);
  dual.gradient[index] = 1;
  return dual;
}

// f(a) with derivative `slope` there.
template <class L>
DETLOSS_SHARED Dual<L> Apply(const Dual<L>& a, L value, L slope) {
  Dual<L> result = Constant(value);
  for (int i = 0; i < 4; ++i) result.gradient[i] = slope * a.gradient[i];
  return result;
}

// f(a, b) with its two partial derivatives there.
template <class L>
DETLOSS_SHARED Dual<L> Apply(const Dual<L>& a, const Dual<L>& b, L value, L slope_a, L slope_b) {
  Dual<L> result = Constant(value);
  for (int i = 0; i < 4; ++i) result.gradient[i] = slope_a * a.gradient[i] + slope_b * b.gradient[i];
  return result;
}

template <class L>
DETLOSS_SHARED Dual<L> operator+(const Dual<L>& a, const Dual<L>& b) {
  return Apply(a, b, a.value + b.value, L(1), L(1));
}
template <class L>
DETLOSS_SHARED Dual<L> operator-(const Dual<L>& a, const Dual<L>& b) {
  return Apply(a, b, a.value - b.value, L(1), L(-1));
}
template <class L>
DETLOSS_SHARED Dual<L> operator*(const Dual<L>& a, const Dual<L>& b) {
  return Apply(a, b, a.value * b.value, b.value, a.value);
}
template <class L>
DETLOSS_SHARED Dual<L> operator/(const Dual<L>& a, const Dual<L>& b) {
  return Apply(a, b, a.value / b.value, 1 / b.value, -a.value / (b.value * b.value));
}
template <class L>
DETLOSS_SHARED Dual<L> operator+(const Dual<L>& a, L b) {
  return Apply(a, a.value + b, L(1));
}
template <class L>
DETLOSS_SHARED Dual<L> operator*(const Dual<L>& a, L b) {
  return Apply(a, a.value * b, b);
}

// Where both are equal the constant is taken: the gradient is 0 there, as the originals have it.
template <class L>
DETLOSS_SHARED Dual<L> Smaller(const Dual<L>& a, L constant) {
  return a.value < constant ? a : Constant(constant);
}
template <class L>
DETLOSS_SHARED Dual<L> Larger(const Dual<L>& a, L constant) {
  return a.value > constant ? a : Constant(constant);
}

template <class L>
DETLOSS_SHARED Dual<L> Square(const Dual<L>& a) {
  return Apply(a, a.value * a.value, 2 * a.value);
}
template <class L>
DETLOSS_SHARED Dual<L> Magnitude(const Dual<L>& a) {
  return Apply(a, a.value < 0 ? -a.value : a.value, a.value < 0 ? L(-1) : a.value > 0 ? L(1) : L(0));
}
// With derivative 0 at 0.
template <class L>
DETLOSS_SHARED Dual<L> SquareRoot(const Dual<L>& a) {
  const L root = sqrt(a.value);
  return Apply(a, root, root > 0 ? 1 / (2 * root) : L(0));
}
// Of an argument that is not above 0.
template <class L>
DETLOSS_SHARED Dual<L> Exponential(const Dual<L>& a) {
  const L e = Exp(a.value);
  return Apply(a, e, e);
}

}  // namespace detloss

#endif  // DETLOSS_CC_DUAL_H_
