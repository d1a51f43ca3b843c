// What mining has to agree with sorting on, wherever it runs.
#ifndef DETLOSS_TESTS_CC_MINING_CHECKS_H_
#define DETLOSS_TESTS_CC_MINING_CHECKS_H_

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "cc/hard_negative_mining.h"
#include "tests/cc/check.h"
#include "tests/cc/dtype_values.h"
#include "tests/cc/plain_hard_negative_mining.h"
#include "tests/cc/random.h"

namespace detloss {

constexpr MiningScope kAllScopes[] = {MiningScope::kBatch, MiningScope::kImage, MiningScope::kImageUniform};
constexpr double kMiningNan = std::numeric_limits<double>::quiet_NaN();

template <class T>
struct MiningCase {
  int64_t images, boxes;
  std::vector<T> negative_loss;
  std::vector<Compute<T>> n_positive;
};

struct Mask {
  Status status;
  std::vector<uint8_t> kept;
};

// `mine(options, mining)` gives a Mask.
template <class T, class Mine>
void CheckAgainstPlain(const MiningOptions& options, const MiningCase<T>& mining, const Mine& mine) {
  std::vector<double> keys, n_positive(mining.n_positive.begin(), mining.n_positive.end());
  for (T loss : mining.negative_loss) keys.push_back(ToDouble(loss));
  const std::vector<uint8_t> everything(keys.size(), 1);
  const Mask got = mine(options, mining);
  CHECK_EQUAL(got.status.message(), "");
  CHECK_BITS_EQUAL(got.kept,
                   PlainHardNegatives(PlainMiningGroups(options, mining.boxes, keys, n_positive), keys, everything));
}

struct Distribution {
  const char* name;
  std::function<double(Random&)> draw;
};

inline const std::vector<Distribution>& Distributions() {
  static const std::vector<Distribution> distributions = {
      {"continuous", [](Random& random) { return random.Uniform(0, 20); }},
      {"many ties", [](Random& random) { return 0.25 * static_cast<double>(random.Below(5)); }},
      {"all equal", [](Random&) { return 1.5; }},
      {"all zero", [](Random& random) { return random.Chance(0.5) ? 0.0 : -0.0; }},
      {"mostly zero", [](Random& random) { return random.Chance(0.9) ? 0.0 : random.Uniform(); }},
      {"mostly negative", [](Random& random) { return random.Uniform(-3, 1); }},
      {"negative ties around zero",
       [](Random& random) { return random.Chance(0.2) ? -0.0 : 0.5 * static_cast<double>(random.Below(4) - 3); }},
      {"some NaN and infinity",
       [](Random& random) {
         const double extremes[] = {kMiningNan, -kMiningNan, HUGE_VAL, -HUGE_VAL, 0.0,
                                    1e-310,     1e-45,       -1e-40,   3e38,      1e300};
         return random.Chance(0.3) ? extremes[random.Below(10)] : random.Normal();
       }},
      {"all NaN", [](Random&) { return kMiningNan; }},
  };
  return distributions;
}

template <class T>
MiningCase<T> RandomCase(int64_t images, int64_t boxes, const Distribution& distribution, Random& random) {
  MiningCase<T> mining = {images, boxes, {}, {}};
  for (int64_t i = 0; i < images * boxes; ++i) mining.negative_loss.push_back(FromDouble<T>(distribution.draw(random)));
  for (int64_t image = 0; image < images; ++image) {
    const int64_t most = boxes / 3 + 1;
    const double counts[] = {0.0, static_cast<double>(random.Below(most)), random.Uniform(0, static_cast<double>(most)),
                             static_cast<double>(boxes)};
    mining.n_positive.push_back(static_cast<Compute<T>>(counts[random.Below(4)]));
  }
  return mining;
}

struct Budget {
  float neg_pos_ratio;
  int64_t n_neg_min;
};
constexpr Budget kBudgets[] = {
    {3, 0}, {0, 0}, {0, 7}, {0.37f, 1}, {1e30f, 0}, {0, std::numeric_limits<int64_t>::max()},
};

template <class T, class Mine>
void CheckAllBudgets(const MiningCase<T>& mining, const Mine& mine) {
  for (MiningScope scope : kAllScopes) {
    for (const Budget& budget : kBudgets) {
      const check::Context context("scope " + check::Show(static_cast<int>(scope)) + ", ratio " +
                                   check::Show(budget.neg_pos_ratio) + ", n_neg_min " + check::Show(budget.n_neg_min));
      CheckAgainstPlain({scope, budget.neg_pos_ratio, budget.n_neg_min}, mining, mine);
    }
  }
}

template <class Mine>
void CheckAllSizes(const std::vector<std::pair<int64_t, int64_t>>& sizes, const Mine& mine) {
  ForEachDtype([&](auto zero) {
    Random random(3);
    for (const auto& [images, boxes] : sizes) {
      for (const Distribution& distribution : Distributions()) {
        const check::Context context(check::Show(images) + " images of " + check::Show(boxes) + " boxes, " +
                                     distribution.name);
        CheckAllBudgets(RandomCase<decltype(zero)>(images, boxes, distribution, random), mine);
      }
    }
  });
}

}  // namespace detloss

#endif  // DETLOSS_TESTS_CC_MINING_CHECKS_H_
