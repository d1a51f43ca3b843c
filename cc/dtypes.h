// Element types of predictions, and what each computes in.
#ifndef DETLOSS_CC_DTYPES_H_
#define DETLOSS_CC_DTYPES_H_

#include <cstdint>
#include <cstring>

#include "cc/platform.h"

namespace detloss {

// IEEE binary16 and bfloat16 as bits. Their conversions are written out, so that every compiler and device rounds
// alike.
struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

// What labels, losses and arithmetic use: float, or double for double predictions.
template <class T>
struct ComputeType {
  using type = float;
};
template <>
struct ComputeType<double> {
  using type = double;
};
template <class T>
using Compute = typename ComputeType<T>::type;

// Unsigned integer as wide as the floating-point type.
template <class L>
struct BitsType;
template <>
struct BitsType<float> {
  using type = uint32_t;
};
template <>
struct BitsType<double> {
  using type = uint64_t;
};
template <class L>
using Bits = typename BitsType<L>::type;

template <class L>
struct SignedBitsType;
template <>
struct SignedBitsType<float> {
  using type = int32_t;
};
template <class L>
using SignedBits = typename SignedBitsType<L>::type;

template <class To, class From>
DETLOSS_SHARED To BitCast(From from) {
  static_assert(sizeof(To) == sizeof(From), "BitCast keeps the size");
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}

DETLOSS_SHARED float ToCompute(float x) { return x; }
DETLOSS_SHARED double ToCompute(double x) { return x; }
DETLOSS_SHARED float ToCompute(BFloat16 x) { return BitCast<float>(static_cast<uint32_t>(x.bits) << 16); }
DETLOSS_SHARED float ToCompute(Half x) {
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(x.bits & 0x7fffu) << 13;
  // Moves the exponent from bias 15 to bias 127 by an exact product, which normalises subnormals on the way.
  const float finite = BitCast<float>(magnitude) * BitCast<float>(0x77800000u);
  const uint32_t bits = (x.bits & 0x7c00u) == 0x7c00u ? magnitude | 0x7f800000u : BitCast<uint32_t>(finite);
  return BitCast<float>(bits | sign);
}

DETLOSS_SHARED void Store(float x, float* to) { *to = x; }
DETLOSS_SHARED void Store(double x, double* to) { *to = x; }
DETLOSS_SHARED void Store(float x, BFloat16* to) {
  const uint32_t bits = BitCast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;  // to nearest, ties to even
  to->bits = static_cast<uint16_t>(x == x ? rounded : (bits >> 16) | 0x40u);
}
DETLOSS_SHARED void Store(float x, Half* to) {
  const uint32_t bits = BitCast<uint32_t>(x);
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u;  // NaN
  } else if (magnitude >= 0x477ff000u) {
    half = 0x7c00u;  // rounds to 65536 or more
  } else if (magnitude < 0x38800000u) {
    // Below the smallest normal half: adding 0.5 leaves the rounded subnormal in the low bits.
    half = BitCast<uint32_t>(BitCast<float>(magnitude) + 0.5f) - 0x3f000000u;
  } else {
    half = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;  // to nearest, ties to even
  }
  to->bits = static_cast<uint16_t>(half | ((bits >> 16) & 0x8000u));
}

}  // namespace detloss

#endif  // DETLOSS_CC_DTYPES_H_
