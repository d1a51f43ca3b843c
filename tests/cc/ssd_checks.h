// What the SSD loss has to agree with plain loops on, wherever it runs.
#ifndef DETLOSS_TESTS_CC_SSD_CHECKS_H_
#define DETLOSS_TESTS_CC_SSD_CHECKS_H_

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "cc/ssd_loss.h"
#include "tests/cc/check.h"
#include "tests/cc/dtype_values.h"
#include "tests/cc/plain_ssd_loss.h"
#include "tests/cc/rounding.h"
#include "tests/cc/ssd_cases.h"

namespace detloss {

constexpr MiningScope kAllScopes[] = {MiningScope::kBatch, MiningScope::kImage, MiningScope::kImageUniform};
constexpr RankBy kAllRankings[] = {RankBy::kLoss, RankBy::kForeground};
constexpr Normalizer kAllNormalizers[] = {Normalizer::kBatch, Normalizer::kImage, Normalizer::kImageSelected};

template <class T>
PlainSsdLoss PlainOf(const SsdCase<T>& given) {
  SsdLossOptions options = given.options;
  CHECK(ResolveLayout(given.options.layout, given.shape.width, &options.layout).ok());
  return ComputePlainSsdLoss<T>(options, given.shape, given.y_true, given.y_pred, given.loss_gradient);
}

template <class T>
void CheckAgainstPlain(const SsdRun<T>& got, const PlainSsdLoss& want) {
  CHECK(got.status.ok());
  CHECK_BITS_EQUAL(got.selection, want.selection);
  CHECK_BITS_EQUAL(got.num_invalid, want.num_invalid);
  CHECK_BITS_EQUAL(got.n_pos, std::vector<Compute<T>>(want.n_pos.begin(), want.n_pos.end()));
  CHECK_BITS_EQUAL(got.n_kept, std::vector<Compute<T>>(want.n_kept.begin(), want.n_kept.end()));
  CheckTotals<T>(got.loss, want.loss);
  for (size_t image = 0; image < want.loss.size(); ++image) {
    const double components = static_cast<double>(got.positive[image]) + got.negative[image] + got.localization[image];
    CHECK_NEAR(components, want.loss[image].value, Tolerance<T>() * want.loss[image].magnitude);
    if (std::isnan(want.loss[image].value)) continue;  // which component says so is not laid down
    CHECK_NEAR(got.positive[image], want.positive[image].value, Tolerance<T>() * want.positive[image].magnitude);
    CHECK_NEAR(got.negative[image], want.negative[image].value, Tolerance<T>() * want.negative[image].magnitude);
    CHECK_NEAR(got.localization[image], want.localization[image].value,
               Tolerance<T>() * want.localization[image].magnitude);
  }
  CheckGradient(got.gradient, want.gradient);
}

// `run(given)` against plain loops. Takes the first case from `seed` on whose selection does not depend on rounding.
template <class T, class Run>
void CheckRandomCase(const SsdLossOptions& options, const NamedLayout& layout, const SsdCaseShape& shape, uint64_t seed,
                     const Run& run) {
  const check::Context context(
      "layout " + std::string(layout.name) + ", scope " + check::Show(static_cast<int>(options.mining.scope)) +
      ", ratio " + check::Show(options.mining.neg_pos_ratio) + ", n_neg_min " + check::Show(options.mining.n_neg_min) +
      ", rank_by " + check::Show(static_cast<int>(options.rank_by)) + ", normalizer " +
      check::Show(static_cast<int>(options.normalizer)) + ", alpha " + check::Show(options.alpha) + ", from_logits " +
      check::Show(options.from_logits));
  const check::Context sizes(check::Show(shape.images) + " images of " + check::Show(shape.boxes) + " boxes, " +
                             check::Show(shape.classes) + " classes, nan_predictions " +
                             check::Show(shape.nan_predictions) + ", seed " + check::Show(seed));
  constexpr int kAttempts = 50;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const SsdCase<T> given = MakeSsdCase<T>(options, layout, shape, seed * kAttempts + attempt);
    const PlainSsdLoss want = PlainOf(given);
    if (!IsSeparated(want, Tolerance<T>())) continue;
    CheckAgainstPlain<T>(run(given), want);
    return;
  }
  CHECK(!"a case whose selection does not depend on rounding");
}

// Every combination of what is chosen by name.
inline std::vector<SsdLossOptions> AllChoices() {
  std::vector<SsdLossOptions> all;
  SsdLossOptions options;
  for (MiningScope scope : kAllScopes) {
    options.mining.scope = scope;
    for (RankBy rank_by : kAllRankings) {
      options.rank_by = rank_by;
      for (Normalizer normalizer : kAllNormalizers) {
        options.normalizer = normalizer;
        for (bool from_logits : {false, true}) {
          options.from_logits = from_logits;
          all.push_back(options);
        }
      }
    }
  }
  return all;
}

// The budget and the weights, varied along.
inline SsdLossOptions VariedOptions(uint64_t seed) {
  constexpr float kRatios[] = {3, 1, 0.5f, 0, 1000};
  constexpr int64_t kLeast[] = {0, 5, 0, 1000};
  constexpr float kAlphas[] = {1, 0.5f, 0, 2};
  SsdLossOptions options;
  options.mining.neg_pos_ratio = kRatios[seed % 5];
  options.mining.n_neg_min = kLeast[seed % 4];
  options.alpha = kAlphas[seed / 4 % 4];
  return options;
}

// Every option in every layout.
template <class Run>
void CheckAllOptions(const Run& run) {
  uint64_t seed = 0;
  for (const SsdLossOptions& choices : AllChoices()) {
    for (const NamedLayout& layout : LayoutsOf(5)) {
      for (bool nan_predictions : {false, false, true}) {
        SsdLossOptions options = VariedOptions(++seed);
        options.mining.scope = choices.mining.scope;
        options.rank_by = choices.rank_by;
        options.normalizer = choices.normalizer;
        options.from_logits = choices.from_logits;
        SsdCaseShape shape;
        shape.nan_predictions = nan_predictions;
        ForEachDtype([&](auto zero) { CheckRandomCase<decltype(zero)>(options, layout, shape, seed, run); });
      }
    }
  }
}

template <class Run>
void CheckNumberOfClasses(int64_t classes, const Run& run) {
  for (bool from_logits : {false, true}) {
    SsdLossOptions options = VariedOptions(static_cast<uint64_t>(classes));
    options.rank_by = kAllRankings[classes % 2];
    options.from_logits = from_logits;
    SsdCaseShape shape;
    shape.images = 2;
    shape.classes = classes;
    ForEachDtype([&](auto zero) {
      const NamedLayout layout = LayoutsOf(classes)[classes % 4];
      CheckRandomCase<decltype(zero)>(options, layout, shape, static_cast<uint64_t>(classes), run);
    });
  }
}

template <class Run>
void CheckNumberOfBoxes(int64_t images, int64_t boxes, const Run& run) {
  for (bool from_logits : {false, true}) {
    const uint64_t seed = static_cast<uint64_t>(images * 10000 + boxes);
    SsdLossOptions options = VariedOptions(seed);
    options.mining.scope = kAllScopes[seed % 3];
    options.normalizer = kAllNormalizers[seed / 3 % 3];
    options.from_logits = from_logits;
    SsdCaseShape shape;
    shape.images = images;
    shape.boxes = boxes;
    ForEachDtype([&](auto zero) { CheckRandomCase<decltype(zero)>(options, LayoutsOf(5)[0], shape, seed, run); });
  }
}

}  // namespace detloss

#endif  // DETLOSS_TESTS_CC_SSD_CHECKS_H_
