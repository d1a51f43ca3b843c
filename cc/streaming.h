// Reads ahead of the hardware, and stores past the cache.
#ifndef DETLOSS_CC_STREAMING_H_
#define DETLOSS_CC_STREAMING_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cc/platform.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace detloss {

constexpr size_t kCacheLine = 64;

// Rows are asked for so far ahead, one at a time: with a burst of requests the processor waits for the first ones.
constexpr int64_t kRowsAhead = 24;

// Gradients this large do not stay in the cache until somebody reads them.
constexpr int64_t kStreamedGradientBytes = 8 << 20;

// Rows of a gradient are built in so much of the first-level cache and streamed out from there.
constexpr int64_t kStreamBytes = 8192;

// Asks for every line of a range, which may lie beyond its array.
DETLOSS_SHARED void PrefetchLines(const void* from, size_t bytes) {
  const char* const begin = static_cast<const char*>(from);
  const size_t offset = reinterpret_cast<uintptr_t>(from) % kCacheLine;
  for (size_t i = 0; i < offset + bytes; i += kCacheLine) __builtin_prefetch(begin - offset + i);
}

// For results larger than the cache: a plain store first reads the line that it overwrites. Both pointers are aligned
// to a cache line, `bytes` is a multiple of it.
DETLOSS_SHARED void StreamLines(const char* from, size_t bytes, char* to) {
#if defined(__AVX512F__)
  for (size_t i = 0; i < bytes; i += 64) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to + i), _mm512_load_si512(from + i));
  }
#elif defined(__AVX__)
  for (size_t i = 0; i < bytes; i += 32) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to + i),
                        _mm256_load_si256(reinterpret_cast<const __m256i*>(from + i)));
  }
#elif defined(__SSE2__)
  for (size_t i = 0; i < bytes; i += 16) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + i), _mm_load_si128(reinterpret_cast<const __m128i*>(from + i)));
  }
#else
  memcpy(to, from, bytes);
#endif
}

// Rows of T that are streamed at a time: as many as fill whole cache lines, whatever their width. 0 if no buffer holds
// that many.
template <class T>
DETLOSS_SHARED int64_t RowsPerStream(int64_t columns) {
  constexpr int64_t kRowsPerLine = kCacheLine / sizeof(T);
  return kStreamBytes / (kRowsPerLine * columns * static_cast<int64_t>(sizeof(T))) * kRowsPerLine;
}

DETLOSS_SHARED bool IsWorthStreaming(const void* gradient, int64_t bytes) {
  return bytes >= kStreamedGradientBytes && reinterpret_cast<uintptr_t>(gradient) % kCacheLine == 0;
}

// Rows of a gradient that make a task. Tasks begin on a cache line, whatever the row's width.
DETLOSS_SHARED int64_t GradientRowsPerTask(int64_t row_bytes) {
  constexpr int64_t kBytesPerTask = 256 << 10, kLine = kCacheLine;
  const int64_t rows = kBytesPerTask / row_bytes / kLine * kLine;
  return rows > kLine ? rows : kLine;
}

// Orders the streamed lines before whatever tells another thread that they are there.
DETLOSS_SHARED void FinishStreaming() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

}  // namespace detloss

#endif  // DETLOSS_CC_STREAMING_H_
