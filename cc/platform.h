// Spellings that let host and device share one source.
#ifndef DETLOSS_CC_PLATFORM_H_
#define DETLOSS_CC_PLATFORM_H_

// Shared maths has internal linkage and is always inlined: the CPU kernels are compiled once per instruction set, and a
// symbol that the linker merges across them could bring AVX-512 code to a machine without it.
#if defined(__CUDACC__)
#define DETLOSS_INLINE __host__ __device__ __forceinline__
#define DETLOSS_SHARED static DETLOSS_INLINE
#else
#define DETLOSS_INLINE inline __attribute__((always_inline))
#if defined(__SANITIZE_ADDRESS__)
// Inlined everywhere, instrumented code takes minutes to compile.
#define DETLOSS_SHARED static inline
#else
#define DETLOSS_SHARED static DETLOSS_INLINE
#endif
#endif

#endif  // DETLOSS_CC_PLATFORM_H_
