// Hard negative mining by sorting: the oracle of the radix select.
#ifndef DETLOSS_TESTS_CC_PLAIN_HARD_NEGATIVE_MINING_H_
#define DETLOSS_TESTS_CC_PLAIN_HARD_NEGATIVE_MINING_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "cc/hard_negative_mining.h"

namespace detloss {

// Boxes that are mined together, by flat index, and how many of them are kept.
struct MiningGroup {
  int64_t first, last;  // last: one behind
  int64_t k;
};

// NaN above all numbers.
inline bool RanksAbove(double a, double b) { return a > b || (std::isnan(a) && !std::isnan(b)); }

// In float. None where the ratio is 0, be the positives infinite.
inline float PlainWanted(const MiningOptions& options, float positives) {
  return options.neg_pos_ratio == 0 ? 0 : options.neg_pos_ratio * positives;
}

inline int64_t PlainNegativesToKeep(const MiningOptions& options, double n_positive, const double* keys,
                                    int64_t count) {
  const int64_t candidates = std::count_if(keys, keys + count, [](double key) { return key != 0; });
  const float wanted = std::floor(PlainWanted(options, std::floor(static_cast<float>(n_positive))));
  return static_cast<int64_t>(
      std::min(std::max<double>(wanted, static_cast<double>(options.n_neg_min)), static_cast<double>(candidates)));
}

inline int64_t PlainNegativesToKeepUniformly(const MiningOptions& options, const std::vector<double>& n_positive,
                                             int64_t boxes) {
  double k = HUGE_VAL;
  for (double positives : n_positive) {
    const float wanted = std::min(PlainWanted(options, static_cast<float>(positives)),
                                  static_cast<float>(boxes) - static_cast<float>(positives));
    if (wanted > 0) k = std::min<double>(k, wanted);
  }
  if (k == HUGE_VAL) k = static_cast<double>(options.n_neg_min);
  return static_cast<int64_t>(std::min(std::floor(k), static_cast<double>(boxes)));
}

// `keys` are `[images, boxes]`; those of boxes that take no part must be zero.
inline std::vector<MiningGroup> PlainMiningGroups(const MiningOptions& options, int64_t boxes,
                                                  const std::vector<double>& keys,
                                                  const std::vector<double>& n_positive) {
  const int64_t images = static_cast<int64_t>(n_positive.size());
  if (options.scope == MiningScope::kBatch) {
    const double positives = std::accumulate(n_positive.begin(), n_positive.end(), 0.0);
    return {{0, images * boxes, PlainNegativesToKeep(options, positives, keys.data(), images * boxes)}};
  }
  std::vector<MiningGroup> groups;
  for (int64_t image = 0; image < images; ++image) {
    const int64_t k = options.scope == MiningScope::kImage
                          ? PlainNegativesToKeep(options, n_positive[image], keys.data() + image * boxes, boxes)
                          : PlainNegativesToKeepUniformly(options, n_positive, boxes);
    groups.push_back({image * boxes, (image + 1) * boxes, k});
  }
  return groups;
}

// The boxes of the group that may take part, best first.
inline std::vector<int64_t> PlainRanking(const MiningGroup& group, const std::vector<double>& keys,
                                         const std::vector<uint8_t>& takes_part) {
  std::vector<int64_t> ranking;
  for (int64_t box = group.first; box < group.last; ++box) {
    if (takes_part[box]) ranking.push_back(box);
  }
  std::stable_sort(ranking.begin(), ranking.end(), [&](int64_t a, int64_t b) { return RanksAbove(keys[a], keys[b]); });
  return ranking;
}

inline std::vector<uint8_t> PlainHardNegatives(const std::vector<MiningGroup>& groups, const std::vector<double>& keys,
                                               const std::vector<uint8_t>& takes_part) {
  std::vector<uint8_t> kept(keys.size(), 0);
  for (const MiningGroup& group : groups) {
    const std::vector<int64_t> ranking = PlainRanking(group, keys, takes_part);
    const int64_t count = std::min(group.k, static_cast<int64_t>(ranking.size()));
    for (int64_t i = 0; i < count; ++i) kept[ranking[i]] = 1;
  }
  return kept;
}

}  // namespace detloss

#endif  // DETLOSS_TESTS_CC_PLAIN_HARD_NEGATIVE_MINING_H_
