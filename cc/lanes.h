// Sixteen values at a time, in the compiler's own vector types: one source, and the same bits, for every vector width.
// Host only.
#ifndef DETLOSS_CC_LANES_H_
#define DETLOSS_CC_LANES_H_

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cc/dtypes.h"
#include "cc/platform.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace detloss {

// Vectors as wide as the instruction set: the compiler takes wider ones apart element by element.
#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class L, int kBytes = kVectorBytes>
struct VectorType {
  typedef L type __attribute__((vector_size(kBytes)));
};
template <class L, int kBytes = kVectorBytes>
using Vector = typename VectorType<L, kBytes>::type;

template <>
struct BitsType<Vector<float>> {
  using type = Vector<uint32_t>;
};
template <>
struct SignedBitsType<Vector<float>> {
  using type = Vector<int32_t>;
};

DETLOSS_SHARED Vector<float> Fma(Vector<float> a, Vector<float> b, Vector<float> c) {
#if defined(__AVX512F__)
  return BitCast<Vector<float>>(_mm512_fmadd_ps(BitCast<__m512>(a), BitCast<__m512>(b), BitCast<__m512>(c)));
#elif defined(__FMA__)
  return BitCast<Vector<float>>(_mm256_fmadd_ps(BitCast<__m256>(a), BitCast<__m256>(b), BitCast<__m256>(c)));
#else
  for (size_t i = 0; i < sizeof(a) / sizeof(float); ++i) a[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return a;
#endif
}

DETLOSS_SHARED Vector<float> ToFloat(Vector<int32_t> x) { return __builtin_convertvector(x, Vector<float>); }

// Whether no bit is set. Left to itself the compiler takes the vector apart.
DETLOSS_SHARED bool IsZero(Vector<uint32_t> x) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask(BitCast<__m512i>(x), BitCast<__m512i>(x)) == 0;
#elif defined(__AVX__)
  return _mm256_testz_si256(BitCast<__m256i>(x), BitCast<__m256i>(x));
#elif defined(__SSE2__)
  return _mm_movemask_epi8(_mm_cmpeq_epi32(BitCast<__m128i>(x), _mm_setzero_si128())) == 0xffff;
#else
  uint32_t any = 0;
  for (size_t i = 0; i < sizeof(x) / sizeof(any); ++i) any |= x[i];
  return any == 0;
#endif
}

constexpr int kLanes = 16;

template <class L>
struct Lanes {
  static constexpr int kVectors = kLanes * sizeof(L) / kVectorBytes;
  Vector<L> vectors[kVectors];
};

// Not by memcpy, which the compiler copies in pieces that the vector loads after it have to wait for.
template <class L>
DETLOSS_SHARED Vector<L> LoadVector(const L* from) {
  typedef L Unaligned __attribute__((vector_size(kVectorBytes), aligned(alignof(L)), may_alias));
  return *reinterpret_cast<const Unaligned*>(from);
}

template <class L>
DETLOSS_SHARED void StoreVector(Vector<L> vector, L* to) {
  typedef L Unaligned __attribute__((vector_size(kVectorBytes), aligned(alignof(L)), may_alias));
  *reinterpret_cast<Unaligned*>(to) = vector;
}

template <class T>
DETLOSS_SHARED Lanes<Compute<T>> LoadLanes(const T* from) {
  if constexpr (std::is_same_v<T, Compute<T>>) {
    constexpr int kPerVector = kVectorBytes / sizeof(T);
    Lanes<T> lanes;
    for (int i = 0; i < Lanes<T>::kVectors; ++i) lanes.vectors[i] = LoadVector(from + i * kPerVector);
    return lanes;
  } else {
    Compute<T> values[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) values[lane] = ToCompute(from[lane]);
    return LoadLanes(values);
  }
}

// Whether `test`, a comparison of a vector, holds for any of the sixteen values from here on.
template <class L, class F>
DETLOSS_SHARED bool AnyLane(const L* from, const F& test) {
  constexpr int kPerVector = kVectorBytes / sizeof(L);
  Vector<uint32_t> any = {};
  for (int lane = 0; lane < kLanes; lane += kPerVector) any |= BitCast<Vector<uint32_t>>(test(LoadVector(from + lane)));
  return !IsZero(any);
}

// Applies `f` to corresponding vectors.
template <class L, class F>
DETLOSS_SHARED Lanes<L> MapLanes(Lanes<L> a, const F& f) {
  for (Vector<L>& vector : a.vectors) vector = f(vector);
  return a;
}
template <class L, class F>
DETLOSS_SHARED Lanes<L> MapLanes(Lanes<L> a, const Lanes<L>& b, const F& f) {
  for (int i = 0; i < Lanes<L>::kVectors; ++i) a.vectors[i] = f(a.vectors[i], b.vectors[i]);
  return a;
}

// The lanes with those below `count` replaced by `value`.
template <class L>
DETLOSS_SHARED Lanes<L> ReplaceFirst(Lanes<L> lanes, int count, L value) {
  const L numbers[kLanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const L limit = static_cast<L>(count);
  return MapLanes(lanes, LoadLanes(numbers),
                  [&](Vector<L> lane, Vector<L> number) { return number < limit ? Vector<L>{} + value : lane; });
}

template <class L, int kBytes, class F>
DETLOSS_SHARED L ReduceVector(Vector<L, kBytes> vector, const F& combine) {
  if constexpr (kBytes == sizeof(L) * 2) {
    return combine(vector[0], vector[1]);
  } else if constexpr (kBytes == sizeof(L) * 4 && kBytes == 16) {
    return combine(combine(vector[0], vector[2]), combine(vector[1], vector[3]));
  } else {
    Vector<L, kBytes / 2> halves[2];
    memcpy(halves, &vector, sizeof(vector));
    return ReduceVector<L, kBytes / 2>(combine(halves[0], halves[1]), combine);
  }
}

// Combines the lanes in a fixed tree: l with l + 8, then with l + 4, l + 2 and l + 1.
template <class L, class F>
DETLOSS_SHARED L ReduceLanes(Lanes<L> lanes, const F& combine) {
  for (int count = Lanes<L>::kVectors / 2; count > 0; count /= 2) {
    for (int i = 0; i < count; ++i) lanes.vectors[i] = combine(lanes.vectors[i], lanes.vectors[i + count]);
  }
  return ReduceVector<L, kVectorBytes>(lanes.vectors[0], combine);
}

}  // namespace detloss

#endif  // DETLOSS_CC_LANES_H_
