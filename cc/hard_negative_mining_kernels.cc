// Compiled once per CPU tier, with DETLOSS_TIER naming it: see cpu_tier.h.
#include "cc/hard_negative_mining_kernels.h"

#include <cstring>

#include "cc/lanes.h"
#include "cc/platform.h"

namespace detloss {
namespace DETLOSS_TIER {
namespace {

template <class Key>
DETLOSS_SHARED Key Digit(Key key, int shift) {
  return (key >> shift) & (kDigitBins - 1);
}

template <class Key>
void CountDigit(const Key* keys, int64_t count, int shift, int32_t* histograms) {
  memset(histograms, 0, kHistograms * kDigitBins * sizeof(*histograms));
  int64_t i = 0;
  for (; i + kHistograms <= count; i += kHistograms) {
    for (int h = 0; h < kHistograms; ++h) ++histograms[h * kDigitBins + Digit(keys[i + h], shift)];
  }
  for (; i < count; ++i) ++histograms[Digit(keys[i], shift)];
  for (int h = 1; h < kHistograms; ++h) {
    for (int bin = 0; bin < kDigitBins; ++bin) histograms[bin] += histograms[h * kDigitBins + bin];
  }
}

template <class Key>
int64_t TakeDigit(const Key* keys, int64_t count, int shift, Key digit, Key* to) {
  const Key field = static_cast<Key>(kDigitBins - 1) << shift, wanted = digit << shift;
  int64_t taken = 0;
  // Written always and kept if it counts: a branch would be mispredicted.
  const auto take = [&](Key key) {
    to[taken] = key;
    taken += (key & field) == wanted;
  };
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    if (!AnyLane(keys + i, [&](Vector<Key> lanes) { return (lanes & field) == wanted; })) continue;
    for (int lane = 0; lane < kLanes; ++lane) take(keys[i + lane]);
  }
  for (; i < count; ++i) take(keys[i]);
  return taken;
}

template <class Key>
int64_t FindNth(const Key* keys, int64_t count, Key key, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    int found = 0;
    for (int lane = 0; lane < kLanes; ++lane) found += keys[i + lane] == key;
    if (found >= n) break;
    n -= found;
  }
  for (; i < count; ++i) {
    if (keys[i] == key && --n == 0) return i;
  }
  return count - 1;
}

}  // namespace

const MiningKernels<uint32_t> kMiningKernels32 = {CountDigit<uint32_t>, TakeDigit<uint32_t>, FindNth<uint32_t>};
const MiningKernels<uint64_t> kMiningKernels64 = {CountDigit<uint64_t>, TakeDigit<uint64_t>, FindNth<uint64_t>};

}  // namespace DETLOSS_TIER
}  // namespace detloss
