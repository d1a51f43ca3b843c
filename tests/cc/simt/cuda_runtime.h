// What kernels use of CUDA, for compilers of plain C++. simt.h tells what is emulated and what is not.
#ifndef DETLOSS_TESTS_CC_SIMT_CUDA_RUNTIME_H_
#define DETLOSS_TESTS_CC_SIMT_CUDA_RUNTIME_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "tests/cc/simt/simt.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
// One block runs at a time.
#define __shared__ static

struct CUstream_st;
using cudaStream_t = CUstream_st*;

enum cudaError_t { cudaSuccess = 0 };
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "no error"; }
inline cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t = nullptr) {
  std::memset(memory, value, bytes);
  return cudaSuccess;
}

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  unsigned x, y, z;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __syncthreads() { simt::Barrier("__syncthreads"); }
inline int __syncthreads_count(int predicate) { return simt::Barrier("__syncthreads_count", predicate != 0); }
inline int __syncthreads_or(int predicate) { return simt::Barrier("__syncthreads_or", predicate != 0) > 0; }
inline int __syncthreads_and(int predicate) { return simt::Barrier("__syncthreads_and", predicate == 0) == 0; }

namespace simt {

inline int Lane() { return static_cast<int>(threadIdx.x % warpSize); }

// First lane of the caller's group of `width` lanes.
inline int FirstLane(int width) {
  if (width < 1 || width > warpSize || (width & (width - 1)) != 0) {
    Fail("a shuffle's width must be a power of two up to 32, got " + std::to_string(width));
  }
  return Lane() & ~(width - 1);
}

template <class T>
T Shuffle(const char* operation, unsigned mask, T value, int source_lane) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "CUDA shuffles words of 4 and 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = Exchange(operation, mask, bits, source_lane).value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

inline unsigned Vote(const char* operation, unsigned mask, int predicate) {
  return Exchange(operation, mask, predicate != 0, Lane()).predicates;
}

}  // namespace simt

inline void __syncwarp(unsigned mask = 0xffffffffu) { simt::Vote("__syncwarp", mask, 0); }
inline unsigned __ballot_sync(unsigned mask, int predicate) { return simt::Vote("__ballot_sync", mask, predicate); }
inline int __any_sync(unsigned mask, int predicate) { return simt::Vote("__any_sync", mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return simt::Vote("__all_sync", mask, predicate) == mask; }

// Lanes whose source lies outside their group keep their own value.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize) {
  return simt::Shuffle("__shfl_sync", mask, value, simt::FirstLane(width) + (source & (width - 1)));
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
  const int lane = simt::Lane(), source = lane - static_cast<int>(delta);
  return simt::Shuffle("__shfl_up_sync", mask, value, source < simt::FirstLane(width) ? lane : source);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
  const int lane = simt::Lane(), source = lane + static_cast<int>(delta);
  return simt::Shuffle("__shfl_down_sync", mask, value, source < simt::FirstLane(width) + width ? source : lane);
}
// Groups before its own are open to a lane.
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = warpSize) {
  const int lane = simt::Lane(), source = lane ^ (lanes & (warpSize - 1));
  return simt::Shuffle("__shfl_xor_sync", mask, value, source < simt::FirstLane(width) + width ? source : lane);
}

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x)); }

namespace simt {

// Replaces the value by `next(value)`; returns the value before. Nothing runs between.
template <class T, class F>
T Atomically(T* address, F next) {
  static_assert(std::is_same_v<T, int> || std::is_same_v<T, unsigned> || std::is_same_v<T, unsigned long long>,
                "CUDA has integer atomics for int, unsigned and unsigned long long");
  const T before = *address;
  *address = next(before);
  return before;
}

// Converts arguments to the type of the memory, as overloads do.
template <class T>
using Same = std::common_type_t<T>;

}  // namespace simt

template <class T>
T atomicAdd(T* address, simt::Same<T> value) {
  using U = std::make_unsigned_t<T>;  // wraps
  return simt::Atomically(address, [&](T x) { return static_cast<T>(static_cast<U>(x) + static_cast<U>(value)); });
}
template <class T>
T atomicOr(T* address, simt::Same<T> value) {
  return simt::Atomically(address, [&](T x) { return x | value; });
}
template <class T>
T atomicMax(T* address, simt::Same<T> value) {
  return simt::Atomically(address, [&](T x) { return x < value ? value : x; });
}
template <class T>
T atomicMin(T* address, simt::Same<T> value) {
  return simt::Atomically(address, [&](T x) { return value < x ? value : x; });
}

template <class T>
T __ldg(const T* address) {
  return *address;
}
template <class T>
T __ldcg(const T* address) {
  return *address;
}
template <class T>
T __ldcs(const T* address) {
  return *address;
}
template <class T>
void __stcs(T* address, simt::Same<T> value) {
  *address = value;
}

#endif  // DETLOSS_TESTS_CC_SIMT_CUDA_RUNTIME_H_
