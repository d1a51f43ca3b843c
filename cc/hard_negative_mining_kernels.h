// Loops of hard negative mining, compiled once per CPU tier.
#ifndef DETLOSS_CC_HARD_NEGATIVE_MINING_KERNELS_H_
#define DETLOSS_CC_HARD_NEGATIVE_MINING_KERNELS_H_

#include <cstdint>

#include "cc/cpu_tier.h"

namespace detloss {

// A radix select looks at this many bits of the keys at a time.
constexpr int kDigitBits = 11;
constexpr int kDigitBins = 1 << kDigitBits;
// Keys are counted into so many histograms in turn: many have the same digit, and an increment waits for the one before
// it to the same bin.
constexpr int kHistograms = 4;

template <class Key>
struct MiningKernels {
  // Counts the digits that begin at bit `shift` into `histograms[kHistograms][kDigitBins]`, and sums them into the
  // first.
  void (*count_digit)(const Key* keys, int64_t count, int shift, int32_t* histograms);
  // Copies the keys with that digit, in order; returns how many. `to` may be `keys`.
  int64_t (*take_digit)(const Key* keys, int64_t count, int shift, Key digit, Key* to);
  // Index of the n-th key (from 1) that equals `key`.
  int64_t (*find_nth)(const Key* keys, int64_t count, Key key, int64_t n);
};

DETLOSS_DECLARE_PER_TIER(const MiningKernels<uint32_t> kMiningKernels32)
DETLOSS_DECLARE_PER_TIER(const MiningKernels<uint64_t> kMiningKernels64)

}  // namespace detloss

#endif  // DETLOSS_CC_HARD_NEGATIVE_MINING_KERNELS_H_
