// How many boxes hard negative mining keeps, and which. Shared by host and device.
#ifndef DETLOSS_CC_MINING_CUT_H_
#define DETLOSS_CC_MINING_CUT_H_

#include <math.h>

#include <cstdint>

#include "cc/platform.h"

namespace detloss {

enum class MiningScope {
  kBatch,         // the batch is mined as one
  kImage,         // every image by itself
  kImageUniform,  // every image keeps the same number, out of all its boxes
};

struct MiningOptions {
  MiningScope scope = MiningScope::kBatch;
  float neg_pos_ratio = 3;
  int64_t n_neg_min = 0;
};

// Key of a box that is never kept, below OrderedKey of every number.
template <class Key>
constexpr Key kNeverKept = 0;

// The result of mining a scope: boxes with a larger key are kept, and those with this key up to this flat index.
template <class Key>
struct MiningCut {
  Key key = ~Key(0);
  int64_t last_index = -1;

  DETLOSS_INLINE bool Keeps(Key candidate, int64_t flat_index) const {
    return candidate > key || (candidate == key && flat_index <= last_index);
  }
};

// Negatives to keep for so many positives, in float32 as in the originals. None without a ratio, be the positives
// beyond float32.
DETLOSS_SHARED float WantedByRatio(const MiningOptions& options, float positives) {
  return options.neg_pos_ratio == 0 ? 0 : options.neg_pos_ratio * positives;
}

// Bounded before it becomes an integer.
DETLOSS_SHARED int64_t FloorOf(float wanted, int64_t most) {
  return static_cast<double>(wanted) < static_cast<double>(most) ? static_cast<int64_t>(wanted) : most;
}

// k of a batch, or of an image by itself.
DETLOSS_SHARED int64_t NegativesToKeep(const MiningOptions& options, double n_positive, int64_t candidates) {
  const int64_t wanted = FloorOf(WantedByRatio(options, floorf(static_cast<float>(n_positive))), candidates);
  const int64_t at_least = wanted > options.n_neg_min ? wanted : options.n_neg_min;
  return at_least < candidates ? at_least : candidates;
}

// What an image asks for where all keep the same number: the smallest above 0 counts.
DETLOSS_SHARED float UniformlyWanted(const MiningOptions& options, int64_t boxes, double n_positive) {
  const float positives = static_cast<float>(n_positive);
  const float by_ratio = WantedByRatio(options, positives), left = static_cast<float>(boxes) - positives;
  return left < by_ratio ? left : by_ratio;
}

// k of every image; `fewest` is infinite where no image asks for any.
DETLOSS_SHARED int64_t UniformNegatives(const MiningOptions& options, int64_t boxes, float fewest) {
  if (fewest < HUGE_VALF) return FloorOf(fewest, boxes);
  return options.n_neg_min < boxes ? options.n_neg_min : boxes;
}

}  // namespace detloss

#endif  // DETLOSS_CC_MINING_CUT_H_
