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

// Infinite logits share the probability or have none of it.
template <class Run>
void CheckInfiniteLogits(const Run& run) {
  uint64_t seed = 3000;
  for (const SsdLossOptions& choices : AllChoices()) {
    if (!choices.from_logits) continue;
    SsdLossOptions options = choices;
    options.mining.neg_pos_ratio = 2;
    SsdCaseShape shape;
    shape.classes = ++seed % 3 == 0 ? 2 : seed % 3 == 1 ? 5 : 21;
    shape.infinite_logits = true;
    shape.nan_predictions = seed % 4 == 0;
    const NamedLayout layout = LayoutsOf(shape.classes)[seed % 4];
    ForEachDtype([&](auto zero) { CheckRandomCase<decltype(zero)>(options, layout, shape, seed, run); });
  }
}

// Numbers that a dtype holds to the last bit stay as far apart when the same is added to all of them.
template <class Run>
void CheckOffsetsOfLogits(const Run& run) {
  for (RankBy rank_by : kAllRankings) {
    for (int64_t classes : {2, 21}) {
      SsdLossOptions options;
      options.from_logits = true;
      options.rank_by = rank_by;
      SsdCaseShape shape;
      shape.classes = classes;
      shape.infinite_logits = true;
      const NamedLayout layout = LayoutsOf(classes)[0];
      SsdCase<float> given = MakeSsdCase<float>(options, layout, shape, static_cast<uint64_t>(classes));
      const auto for_each_logit = [&](const auto& change) {
        for (size_t i = 0; i < given.y_pred.size(); ++i) {
          if (static_cast<int64_t>(i) % layout.width < classes) given.y_pred[i] = change(given.y_pred[i]);
        }
      };
      for_each_logit([](float x) { return std::isfinite(x) ? std::round(16 * x) / 16 : x; });
      const SsdCase<float> without = given;
      const SsdRun<float> want = run(given);
      for (float offset : {100.0f, -100.0f, 1e4f, 1e6f, -1e6f}) {
        const check::Context context(check::Show(classes) + " classes, offset " + check::Show(offset));
        given = without;
        for_each_logit([&](float x) { return x + offset; });
        CheckSameRun(run(given), want);
      }
    }
  }
}

// NaN is left to NaN predictions: whatever overflows is infinite, and what has no weight is nothing.
template <class Run>
void CheckNoOwnNan(const Run& run) {
  Random random(11);
  const auto any = [&](std::initializer_list<double> values) {
    return values.begin()[random.Below(static_cast<int64_t>(values.size()))];
  };
  for (int i = 0; i < 60; ++i) {
    const SsdLossOptions choices = AllChoices()[random.Below(36)];
    const int64_t classes = 2 + random.Below(20), boxes = 1 + random.Below(20), images = 2;
    ForEachDtype([&](auto zero) {
      using T = decltype(zero);
      const NamedLayout layout = LayoutsOf(classes)[random.Below(4)];
      SsdCase<T> given = {choices, {images, boxes, layout.width}, {}, {}, {}};
      given.options.layout = layout.layout;
      given.options.alpha = static_cast<float>(any({0, 1, 1e-40, 1e30}));
      given.options.mining.neg_pos_ratio = static_cast<float>(any({0, 1, 3, 1e30}));
      given.options.mining.n_neg_min = random.Below(3);
      for (int64_t k = 0; k < images * boxes * layout.width; ++k) {
        given.y_true.push_back(static_cast<Compute<T>>(any({0, 0, 0, 0, 1, 1, 1e-40, 0.5, 1e6})));
        given.y_pred.push_back(FromDouble<T>(
            any({0, 1, random.Normal(), -random.Normal(), 1e4, -1e4, 3e38, -3e38, HUGE_VAL, -HUGE_VAL, 1e-40, 0.5})));
      }
      for (int64_t image = 0; image < images; ++image) {
        given.loss_gradient.push_back(static_cast<Compute<T>>(any({0, 1, -1, 1e-40, 1e30})));
      }
      const SsdRun<T> got = run(given);
      const check::Context context("case " + check::Show(i) + ", from_logits " + check::Show(choices.from_logits) +
                                   ", rank_by " + check::Show(static_cast<int>(choices.rank_by)) + ", classes " +
                                   check::Show(classes) + ", alpha " + check::Show(given.options.alpha));
      for (const auto* part : {&got.loss, &got.positive, &got.negative, &got.localization}) {
        for (Compute<T> x : *part) CHECK(!std::isnan(x));
      }
      for (T x : got.gradient) CHECK(!std::isnan(ToDouble(x)));
    });
  }
}

// What has no weight is not looked at.
template <class Run>
void CheckWeightsOfZero(const Run& run) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  ForEachDtype([&](auto zero) {
    using T = decltype(zero);
    for (bool from_logits : {false, true}) {
      SsdLossOptions options;
      options.from_logits = from_logits;
      options.alpha = 0;
      SsdCase<T> given = MakeSsdCase<T>(options, LayoutsOf(5)[0], {}, 5);
      const SsdRun<T> want = run(given);
      SsdCase<T> other = given;
      for (size_t i = 0; i < other.y_pred.size(); ++i) {
        const double far[] = {3e38, HUGE_VAL, -HUGE_VAL, nan};
        if (i % 17 >= 5) other.y_pred[i] = FromDouble<T>(far[i % 4]);
      }
      CheckSameRun(run(other), want);
      for (Compute<T> x : want.localization) CHECK_EQUAL(x, Compute<T>(0));
      // An image without a weight.
      other.options.alpha = 1;
      other.loss_gradient.assign(other.loss_gradient.size(), 0);
      for (T x : run(other).gradient) CHECK_EQUAL(ToDouble(x), 0.0);
    }
  });
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
