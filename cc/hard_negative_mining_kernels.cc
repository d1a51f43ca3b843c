// Compiled once per CPU tier, with DETLOSS_TIER naming it: see cpu_tier.h.
#include "cc/hard_negative_mining_kernels.h"

#include "cc/platform.h"

namespace detloss {
namespace DETLOSS_TIER {
namespace {

// Keys with a rare property are looked for this many at a time.
constexpr int kGroup = 16;

template <class Key>
void CountDigit(const Key* keys, int64_t count, KeyDigit<Key> digit, int32_t* histogram) {
  const auto add = [&](int64_t i) {
    if ((keys[i] & digit.mask) == digit.prefix) ++histogram[(keys[i] >> digit.shift) & (kDigitBins - 1)];
  };
  int64_t i = 0;
  for (; i + kGroup <= count; i += kGroup) {
    bool any = false;
    for (int lane = 0; lane < kGroup; ++lane) any |= (keys[i + lane] & digit.mask) == digit.prefix;
    if (!any) continue;
    for (int lane = 0; lane < kGroup; ++lane) add(i + lane);
  }
  for (; i < count; ++i) add(i);
}

template <class Key>
int64_t FindNth(const Key* keys, int64_t count, Key key, int64_t n) {
  int64_t i = 0;
  for (; i + kGroup <= count; i += kGroup) {
    int found = 0;
    for (int lane = 0; lane < kGroup; ++lane) found += keys[i + lane] == key;
    if (found >= n) break;
    n -= found;
  }
  for (; i < count; ++i) {
    if (keys[i] == key && --n == 0) return i;
  }
  return count - 1;
}

}  // namespace

const MiningKernels<uint32_t> kMiningKernels32 = {CountDigit<uint32_t>, FindNth<uint32_t>};
const MiningKernels<uint64_t> kMiningKernels64 = {CountDigit<uint64_t>, FindNth<uint64_t>};

}  // namespace DETLOSS_TIER
}  // namespace detloss
