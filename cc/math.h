// Elementwise maths that host and device share bit for bit in float: own exp and log, explicit fused multiply-adds.
#ifndef DETLOSS_CC_MATH_H_
#define DETLOSS_CC_MATH_H_

#include <float.h>
#include <math.h>

#include <cstdint>

#include "cc/dtypes.h"
#include "cc/platform.h"

#if !defined(__CUDACC__)
#include "cc/lanes.h"
#endif

namespace detloss {

DETLOSS_SHARED float Fma(float a, float b, float c) { return fmaf(a, b, c); }

// A constant as a value of type V, which is float or a vector of floats.
template <class V>
DETLOSS_SHARED V Splat(float x) {
  return V{} + x;
}

// e^x within 1.5 ulp; 0 below -87, where the result would leave the normal numbers. x is at most 88; NaN stays NaN.
template <class V>
DETLOSS_SHARED V ExpOf(V x) {
  const V clamped = x < -87.0f ? Splat<V>(-87.0f) : x;
  const V round = Splat<V>(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer, which the low bits then hold
  const V shifted = Fma(clamped, Splat<V>(1.44269504088896341f), round);
  const V n = shifted - round;
  // ln 2 in two parts keeps the reduced argument exact to 2^-45.
  V r = Fma(n, Splat<V>(-0.693145751953125f), clamped);
  r = Fma(n, Splat<V>(-1.42860682030941723212e-6f), r);
  V p = Splat<V>(1.9875691500e-4f);
  p = Fma(p, r, Splat<V>(1.3981999507e-3f));
  p = Fma(p, r, Splat<V>(8.3334519073e-3f));
  p = Fma(p, r, Splat<V>(4.1665795894e-2f));
  p = Fma(p, r, Splat<V>(1.6666665459e-1f));
  p = Fma(p, r, Splat<V>(5.0000001201e-1f));
  p = Fma(p, r * r, r) + 1.0f;
  const V power = BitCast<V>((BitCast<Bits<V>>(shifted) << 23) + 0x3f800000u);
  return x < -87.0f ? Splat<V>(0.0f) : p * power;
}
DETLOSS_SHARED float Exp(float x) { return ExpOf(x); }
DETLOSS_SHARED double Exp(double x) { return exp(x); }
#if !defined(__CUDACC__)
DETLOSS_SHARED Vector<float> Exp(Vector<float> x) { return ExpOf(x); }
DETLOSS_SHARED Vector<double> Exp(Vector<double> x) {
  for (size_t i = 0; i < sizeof(x) / sizeof(double); ++i) x[i] = exp(x[i]);
  return x;
}
#endif

DETLOSS_SHARED float ToFloat(int32_t x) { return static_cast<float>(x); }

// ln x within 1.5 ulp for normal x > 0; +inf and NaN come back as they are.
template <class V>
DETLOSS_SHARED V LogOf(V x) {
  // x = 2^e * m with m in [sqrt(1/2), sqrt(2)).
  const Bits<V> offset = BitCast<Bits<V>>(x) - 0x3f3504f3u;
  const V e = ToFloat(BitCast<SignedBits<V>>(offset) >> 23);
  const V f = BitCast<V>((offset & 0x7fffffu) + 0x3f3504f3u) - 1.0f;
  V p = Splat<V>(7.0376836292e-2f);
  p = Fma(p, f, Splat<V>(-1.1514610310e-1f));
  p = Fma(p, f, Splat<V>(1.1676998740e-1f));
  p = Fma(p, f, Splat<V>(-1.2420140846e-1f));
  p = Fma(p, f, Splat<V>(1.4249322787e-1f));
  p = Fma(p, f, Splat<V>(-1.6668057665e-1f));
  p = Fma(p, f, Splat<V>(2.0000714765e-1f));
  p = Fma(p, f, Splat<V>(-2.4999993993e-1f));
  p = Fma(p, f, Splat<V>(3.3333331174e-1f));
  const V f2 = f * f;
  V log = p * f * f2;
  log = Fma(e, Splat<V>(-2.12194440e-4f), log);
  log = Fma(f2, Splat<V>(-0.5f), log) + f;
  log = Fma(e, Splat<V>(0.693359375f), log);
  return x < HUGE_VALF ? log : x;
}
DETLOSS_SHARED float Log(float x) { return LogOf(x); }
DETLOSS_SHARED double Log(double x) { return log(x); }
#if !defined(__CUDACC__)
DETLOSS_SHARED Vector<float> Log(Vector<float> x) { return LogOf(x); }
DETLOSS_SHARED Vector<double> Log(Vector<double> x) {
  for (size_t i = 0; i < sizeof(x) / sizeof(double); ++i) x[i] = log(x[i]);
  return x;
}
#endif

// ln(1 + x) for x from 0 to 1, with a relative error of 3 ulp: 2 artanh(x / (2 + x)), as its series.
template <class V>
DETLOSS_SHARED V Log1pOf(V x) {
  const V s = x / (x + 2.0f);
  const V s2 = s * s;
  V p = Splat<V>(1.0f / 15);
  p = Fma(p, s2, Splat<V>(1.0f / 13));
  p = Fma(p, s2, Splat<V>(1.0f / 11));
  p = Fma(p, s2, Splat<V>(1.0f / 9));
  p = Fma(p, s2, Splat<V>(1.0f / 7));
  p = Fma(p, s2, Splat<V>(1.0f / 5));
  p = Fma(p, s2, Splat<V>(1.0f / 3));
  p = Fma(p * s2, s, s);
  return p + p;
}
DETLOSS_SHARED float Log1p(float x) { return Log1pOf(x); }
DETLOSS_SHARED double Log1p(double x) { return log1p(x); }
#if !defined(__CUDACC__)
DETLOSS_SHARED Vector<float> Log1p(Vector<float> x) { return Log1pOf(x); }
DETLOSS_SHARED Vector<double> Log1p(Vector<double> x) {
  for (size_t i = 0; i < sizeof(x) / sizeof(double); ++i) x[i] = log1p(x[i]);
  return x;
}
#endif

template <class L>
DETLOSS_SHARED bool IsNan(L x) {
  return x != x;
}

template <class L>
DETLOSS_SHARED bool IsFinite(L x) {
  return x - x == 0;
}

// Infinities become the largest number of their sign; NaN stays.
template <class V>
DETLOSS_SHARED V Within(V x, V largest) {
  return x > largest ? largest : x < -largest ? -largest : x;
}
DETLOSS_SHARED float ToFinite(float x) { return Within(x, FLT_MAX); }
DETLOSS_SHARED double ToFinite(double x) { return Within(x, DBL_MAX); }
#if !defined(__CUDACC__)
DETLOSS_SHARED Vector<float> ToFinite(Vector<float> x) { return Within(x, Splat<Vector<float>>(FLT_MAX)); }
DETLOSS_SHARED Vector<double> ToFinite(Vector<double> x) { return Within(x, Vector<double>{} + DBL_MAX); }
#endif

// The product of what a term counts and the term, which is not looked at where it counts nothing: 0 where either is 0,
// be the other infinite, and for a weight of 0 also where the term is NaN.
template <class V>
DETLOSS_SHARED V Weighted(V weight, V term) {
  const V product = weight * term;
  return ((weight == 0) | (term == 0)) ? V{} : product;
}

// Unsigned integer that orders like the float: -0 equals +0, NaN comes above everything.
template <class L>
DETLOSS_SHARED Bits<L> OrderedKey(L x) {
  constexpr Bits<L> kSign = Bits<L>(1) << (8 * sizeof(L) - 1);
  if (x == 0) return kSign;
  if (IsNan(x)) return ~Bits<L>(0);
  const Bits<L> bits = BitCast<Bits<L>>(x);
  return bits & kSign ? ~bits : bits | kSign;
}

}  // namespace detloss

#endif  // DETLOSS_CC_MATH_H_
