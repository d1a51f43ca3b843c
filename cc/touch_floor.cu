#include "cc/block_reduce.cuh"
#include "cc/launch.h"
#include "cc/touch_floor.h"

namespace detloss {
namespace {

constexpr int kThreads = 256;
// What a thread has in flight at once.
constexpr int kWordsPerThread = 4;
constexpr int64_t kWordsPerBlock = kThreads * kWordsPerThread;
constexpr int64_t kWordBytes = sizeof(uint4);

// The words of 16 bytes that rows of one tensor touch.
struct TouchedWords {
  const char* data;
  const char* end;  // of the last row's touched bytes
  int64_t row_bytes;
  int64_t touched_bytes;
  unsigned words_per_row;  // at most, wherever a row starts
  int64_t words;
};

TouchedWords WordsOf(const TouchedRows& touched, int64_t rows) {
  TouchedWords words = {};
  if (rows == 0 || touched.touched_bytes == 0) return words;
  words.data = static_cast<const char*>(touched.data);
  // Rows that are touched from end to end are one long row.
  const bool dense = touched.touched_bytes == touched.row_bytes;
  words.row_bytes = dense ? rows * touched.row_bytes : touched.row_bytes;
  words.touched_bytes = dense ? words.row_bytes : touched.touched_bytes;
  words.words_per_row = static_cast<unsigned>((words.touched_bytes + 2 * (kWordBytes - 1)) / kWordBytes);
  words.words = (dense ? 1 : rows) * static_cast<int64_t>(words.words_per_row);
  words.end = words.data + (dense ? 0 : rows - 1) * words.row_bytes + words.touched_bytes;
  return words;
}

// A word that holds touched bytes of its row, or null.
__device__ const char* WordAt(const TouchedWords& words, int64_t index) {
  if (index >= words.words) return nullptr;
  const int64_t row =
      index < 0x100000000 ? static_cast<unsigned>(index) / words.words_per_row : index / words.words_per_row;
  const char* const begin = words.data + row * words.row_bytes;
  const char* const word = begin - reinterpret_cast<uintptr_t>(begin) % kWordBytes +
                           (index - row * static_cast<int64_t>(words.words_per_row)) * kWordBytes;
  return word < begin + words.touched_bytes ? word : nullptr;
}

// Of a word at either end of the tensor, beyond which the memory may be somebody else's.
__device__ unsigned ReadInside(const TouchedWords& words, const char* word) {
  unsigned bits = 0;
  for (const char* byte = word; byte < word + kWordBytes; ++byte) {
    if (byte >= words.data && byte < words.end) bits |= static_cast<unsigned char>(*byte);
  }
  return bits;
}

__global__ void __launch_bounds__(kThreads)
    ReadRows(TouchedWords labels, TouchedWords predictions, int64_t label_blocks, uint32_t* seen) {
  const bool first = blockIdx.x < label_blocks;
  const TouchedWords words = first ? labels : predictions;
  const int64_t begin = (blockIdx.x - (first ? 0 : label_blocks)) * kWordsPerBlock + threadIdx.x;
  unsigned any = 0;
  const uint4* whole[kWordsPerThread];
#pragma unroll
  for (int i = 0; i < kWordsPerThread; ++i) {
    const char* word = WordAt(words, begin + i * kThreads);
    const bool inside = word >= words.data && word + kWordBytes <= words.end;
    if (word != nullptr && !inside) any |= ReadInside(words, word);
    whole[i] = reinterpret_cast<const uint4*>(inside ? word : nullptr);
  }
  // All loads before the first use.
  uint4 bits[kWordsPerThread];
#pragma unroll
  for (int i = 0; i < kWordsPerThread; ++i) bits[i] = whole[i] == nullptr ? make_uint4(0, 0, 0, 0) : *whole[i];
#pragma unroll
  for (int i = 0; i < kWordsPerThread; ++i) any |= bits[i].x | bits[i].y | bits[i].z | bits[i].w;
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) any |= __shfl_xor_sync(kAllLanes, any, lanes);
  // Once the bits are there, nothing is written any more.
  if (threadIdx.x % kWarp == 0 && (any & ~*static_cast<volatile uint32_t*>(seen)) != 0) atomicOr(seen, any);
}

// How far the next multiple of `period` is.
__device__ int64_t ToMultiple(int64_t begin, int64_t period) {
  const bool fits = begin < 0x100000000 && period < 0x100000000;
  const int64_t since =
      fits ? static_cast<unsigned>(begin) % static_cast<unsigned>(period) : static_cast<int64_t>(begin % period);
  return since == 0 ? 0 : period - since;
}

// Four bytes: zeros, but for a 1 from `first` on every `period` bytes.
__device__ unsigned FourBytes(int64_t first, int64_t period) {
  unsigned bytes = 0;
  for (int64_t at = first; at < 4; at += period) bytes |= at < 0 ? 0u : 1u << (8 * at);
  return bytes;
}

// Zeros, but for a 1 every `period` bytes; ones only if it is 0.
__global__ void __launch_bounds__(kThreads) WriteRows(char* gradient, int64_t bytes, int64_t period) {
  int64_t begin = (blockIdx.x * kWordsPerBlock + threadIdx.x) * kWordBytes;
  for (int i = 0; i < kWordsPerThread; ++i, begin += kThreads * kWordBytes) {
    if (begin >= bytes) return;
    const int64_t first = period == 0 ? 0 : ToMultiple(begin, period), every = period == 0 ? 1 : period;
    if (begin + kWordBytes <= bytes) {
      *reinterpret_cast<uint4*>(gradient + begin) =
          make_uint4(FourBytes(first, every), FourBytes(first - 4, every), FourBytes(first - 8, every),
                     FourBytes(first - 12, every));
    } else {
      for (int64_t at = begin; at < bytes; ++at) gradient[at] = (at - begin - first) % every == 0 ? 1 : 0;
    }
  }
}

int64_t BlocksOf(int64_t words) { return (words + kWordsPerBlock - 1) / kWordsPerBlock; }

}  // namespace

Status TouchForward(const TouchedRows& labels, const TouchedRows& predictions, int64_t rows, uint32_t* seen,
                    DeviceStream stream) {
  const TouchedWords label_words = WordsOf(labels, rows), prediction_words = WordsOf(predictions, rows);
  const int64_t label_blocks = BlocksOf(label_words.words);
  return Launch("touch_floor forward", ReadRows, label_blocks + BlocksOf(prediction_words.words), kThreads, stream,
                label_words, prediction_words, label_blocks, seen);
}

Status TouchBackward(void* gradient, int64_t row_bytes, int64_t rows, int64_t nonzero_every, DeviceStream stream) {
  const int64_t bytes = rows * row_bytes;
  return Launch("touch_floor backward", WriteRows, BlocksOf((bytes + kWordBytes - 1) / kWordBytes), kThreads, stream,
                static_cast<char*>(gradient), bytes, nonzero_every * row_bytes);
}

}  // namespace detloss
