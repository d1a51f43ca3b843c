// Loops of hard negative mining, compiled once per CPU tier.
#ifndef DETLOSS_CC_HARD_NEGATIVE_MINING_KERNELS_H_
#define DETLOSS_CC_HARD_NEGATIVE_MINING_KERNELS_H_

#include <cstdint>

#include "cc/cpu_tier.h"

namespace detloss {

constexpr int kDigitBits = 12;
constexpr int kDigitBins = 1 << kDigitBits;

// One digit of a radix select: of the keys whose bits above the digit equal `prefix`.
template <class Key>
struct KeyDigit {
  int shift;   // of the digit's lowest bit
  Key prefix;  // the bits above the digit, in place
  Key mask;    // which bits those are
};

template <class Key>
struct MiningKernels {
  // Adds the digits of the keys with the prefix to `histogram[kDigitBins]`.
  void (*count_digit)(const Key* keys, int64_t count, KeyDigit<Key> digit, int32_t* histogram);
  // Index of the n-th key (from 1) that equals `key`.
  int64_t (*find_nth)(const Key* keys, int64_t count, Key key, int64_t n);
};

DETLOSS_DECLARE_PER_TIER(const MiningKernels<uint32_t> kMiningKernels32)
DETLOSS_DECLARE_PER_TIER(const MiningKernels<uint64_t> kMiningKernels64)

}  // namespace detloss

#endif  // DETLOSS_CC_HARD_NEGATIVE_MINING_KERNELS_H_
