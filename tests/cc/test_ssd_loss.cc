#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "cc/ssd_loss.h"
#include "cc/thread_pool.h"
#include "tests/cc/check.h"
#include "tests/cc/dtype_values.h"
#include "tests/cc/ssd_cases.h"
#include "tests/cc/ssd_checks.h"

#if defined(__x86_64__)
#include "tests/cc/flush_to_zero.h"
#endif

namespace detloss {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct RunSerially {
  template <class T>
  SsdRun<T> operator()(const SsdCase<T>& given) const {
    SerialExecutor serial;
    return RunSsdLoss(given, serial);
  }
};

}  // namespace

TEST(AgreesWithPlainLoopsForAllOptions) { CheckAllOptions(RunSerially()); }

// Classes are taken sixteen at a time.
TEST(AgreesWithPlainLoopsForAnyNumberOfClasses) {
  for (int64_t classes = 2; classes <= 100; ++classes) CheckNumberOfClasses(classes, RunSerially());
}

// Boxes are taken 1024 at a time.
TEST(AgreesWithPlainLoopsForAnyNumberOfBoxes) {
  for (int64_t images : {0, 1, 3}) {
    for (int64_t boxes : {0, 1, 7, 1023, 1024, 1025, 2049, 8732}) CheckNumberOfBoxes(images, boxes, RunSerially());
  }
}

TEST(AgreesWithPlainLoopsForManyImagesOfFewBoxes) {
  for (MiningScope scope : kAllScopes) {
    SsdLossOptions options;
    options.mining.scope = scope;
    SsdCaseShape shape;
    shape.images = 3000;
    shape.boxes = 3;
    ForEachDtype(
        [&](auto zero) { CheckRandomCase<decltype(zero)>(options, LayoutsOf(5)[1], shape, 1, RunSerially()); });
  }
}

TEST(AgreesWithPlainLoopsForInfiniteLogits) { CheckInfiniteLogits(RunSerially()); }

TEST(BitsDoNotDependOnTheOffsetOfLogits) { CheckOffsetsOfLogits(RunSerially()); }

TEST(NanIsLeftToNanPredictions) { CheckNoOwnNan(RunSerially()); }

TEST(WhatHasNoWeightIsNotLookedAt) { CheckWeightsOfZero(RunSerially()); }

TEST(AgreesWithPlainLoopsWithoutTies) {
  for (bool from_logits : {false, true}) {
    for (MiningScope scope : kAllScopes) {
      SsdLossOptions options;
      options.mining.scope = scope;
      options.from_logits = from_logits;
      SsdCaseShape shape;
      shape.boxes = 2000;
      shape.classes = 21;
      shape.distinct_rows = 100000;
      CheckRandomCase<double>(options, LayoutsOf(21)[0], shape, 7, RunSerially());
    }
  }
}

namespace {

// Two classes, no unused columns.
SsdCase<float> SmallCase(const SsdLossOptions& options, std::vector<float> y_true, std::vector<float> y_pred) {
  constexpr int64_t kWidth = 6;
  SsdCase<float> made = {options, {1, static_cast<int64_t>(y_true.size()) / kWidth, kWidth}, {}, {}, {1}};
  made.options.layout = LayoutsOf(2)[2].layout;
  made.y_true = std::move(y_true);
  made.y_pred = std::move(y_pred);
  return made;
}

void CheckFloats(const std::vector<float>& got, const std::vector<double>& want) {
  CHECK_EQUAL(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) CHECK_NEAR(got[i], want[i], 1e-6 * std::fabs(want[i]) + 1e-7);
}

}  // namespace

TEST(AnExampleByHandFromProbabilities) {
  SsdLossOptions options;
  options.mining.neg_pos_ratio = 2;
  options.alpha = 2;
  const SsdCase<float> given = SmallCase(options,
                                         {
                                             0, 1, 0, 0, 0, 0,  //
                                             1, 0, 9, 9, 9, 9,  //
                                             1, 0, 9, 9, 9, 9,  //
                                             1, 0, 9, 9, 9, 9,  //
                                         },
                                         {
                                             0.5f,   0.5f,   0.5f, 2, 0, -1,  //
                                             0.25f,  0.75f,  0,    0, 0, 0,   //
                                             0.5f,   0.5f,   0,    0, 0, 0,   //
                                             0.125f, 0.875f, 0,    0, 0, 0,   //
                                         });
  SerialExecutor serial;
  const SsdRun<float> got = RunSsdLoss(given, serial);
  const double ln2 = std::log(2.0);
  CheckFloats(got.positive, {ln2});
  CheckFloats(got.negative, {2 * ln2 + 3 * ln2});
  CheckFloats(got.localization, {2 * (0.125 + 1.5 + 0 + 0.5)});
  CheckFloats(got.loss, {6 * ln2 + 4.25});
  CHECK_BITS_EQUAL(got.selection, (std::vector<uint8_t>{kSsdPositive, kSsdKept, 0, kSsdKept}));
  CheckFloats(got.gradient, {
                                0,  -2, 1, 2, 0, -2,  //
                                -4, 0,  0, 0, 0, 0,   //
                                0,  0,  0, 0, 0, 0,   //
                                -8, 0,  0, 0, 0, 0,   //
                            });
}

TEST(AnExampleByHandFromLogits) {
  SsdLossOptions options;
  options.mining.neg_pos_ratio = 1;
  options.from_logits = true;
  const float ln3 = std::log(3.0f);
  const SsdCase<float> given = SmallCase(options,
                                         {
                                             1, 0, 9, 9, 9, 9,  //
                                             0, 1, 0, 0, 0, 0,  //
                                             1, 0, 9, 9, 9, 9,  //
                                         },
                                         {
                                             5, 5, 0, 0, 0, 0,        //
                                             0, ln3, 0, 0, 0, 0,      //
                                             7, 7 + ln3, 0, 0, 0, 0,  //
                                         });
  SerialExecutor serial;
  const SsdRun<float> got = RunSsdLoss(given, serial);
  CheckFloats(got.positive, {std::log(4.0 / 3)});
  CheckFloats(got.negative, {std::log(4.0)});
  CHECK_BITS_EQUAL(got.selection, (std::vector<uint8_t>{0, kSsdPositive, kSsdKept}));
  CheckFloats(got.gradient, {
                                0, 0, 0, 0, 0, 0,         //
                                0.25, -0.25, 0, 0, 0, 0,  //
                                -0.75, 0.75, 0, 0, 0, 0,  //
                            });
}

TEST(TheGradientAgreesWithFiniteDifferences) {
  constexpr double kStep = 1e-6;
  SerialExecutor serial;
  for (RankBy rank_by : kAllRankings) {
    for (bool from_logits : {false, true}) {
      SsdLossOptions options;
      options.rank_by = rank_by;
      options.from_logits = from_logits;
      options.alpha = 0.7f;
      SsdCaseShape shape;
      shape.boxes = 12;
      SsdCase<double> given;
      uint64_t seed = 0;
      do {
        given = MakeSsdCase<double>(options, LayoutsOf(5)[1], shape, ++seed);
      } while (!IsSeparated(PlainOf(given), 1e-4));
      const SsdRun<double> run = RunSsdLoss(given, serial);
      const auto weighted_loss = [&] {
        const SsdRun<double> moved = RunSsdLoss(given, serial);
        double sum = 0;
        for (size_t image = 0; image < moved.loss.size(); ++image)
          sum += given.loss_gradient[image] * moved.loss[image];
        return sum;
      };
      for (size_t i = 0; i < given.y_pred.size(); ++i) {
        const double x = given.y_pred[i];
        if (!std::isfinite(x) || (!from_logits && std::fabs(x) < 1e-3)) continue;
        given.y_pred[i] = x + kStep;
        const double above = weighted_loss();
        given.y_pred[i] = x - kStep;
        const double slope = (above - weighted_loss()) / (2 * kStep);
        given.y_pred[i] = x;
        CHECK_NEAR(run.gradient[i], slope, 1e-6 * (1 + std::fabs(slope)));
      }
    }
  }
}

TEST(ANanCrossEntropyIsNeverHidden) {
  SerialExecutor serial;
  for (bool from_logits : {false, true}) {
    SsdLossOptions options;
    options.from_logits = from_logits;
    options.mining.neg_pos_ratio = 0;  // keeps none
    SsdCase<float> given = SmallCase(options, {1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
                                     {0.5f, 0.5f, 0, 0, 0, 0, 0.5f, 0.5f, 0, 0, 0, 0, 0.5f, 0.5f, 0, 0, 0, 0});
    CHECK(std::isfinite(RunSsdLoss(given, serial).loss[0]));
    for (size_t column : {0, 7}) {  // of a candidate, of a positive
      SsdCase<float> spoilt = given;
      spoilt.y_pred[column] = static_cast<float>(kNan);
      CHECK(std::isnan(RunSsdLoss(spoilt, serial).loss[0]));
    }
    given.y_pred[12] = given.y_pred[13] = given.y_pred[14] = static_cast<float>(kNan);  // of a neutral box
    CHECK(std::isfinite(RunSsdLoss(given, serial).loss[0]));
  }
}

TEST(ANanKeyRanksFirst) {
  SerialExecutor serial;
  SsdLossOptions options;
  options.rank_by = RankBy::kForeground;
  options.mining = {MiningScope::kBatch, 0, 1};
  const SsdCase<float> given = SmallCase(options, {1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0},
                                         {0.5f, 0.5f, 0, 0, 0, 0, 0.5f, static_cast<float>(kNan), 0, 0, 0, 0});
  const SsdRun<float> got = RunSsdLoss(given, serial);
  CHECK_BITS_EQUAL(got.selection, (std::vector<uint8_t>{0, kSsdKept}));
  CHECK(std::isnan(got.loss[0]));
}

// Every image keeps as many boxes, those that take no part among them.
TEST(AKeptNeutralBoxAddsNothingWhateverIsPredicted) {
  SerialExecutor serial;
  for (bool from_logits : {false, true}) {
    SsdLossOptions options;
    options.from_logits = from_logits;
    options.mining = {MiningScope::kImageUniform, 3, 2};
    const float nan = static_cast<float>(kNan);
    const SsdRun<float> got = RunSsdLoss(SmallCase(options, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
                                                   {nan, nan, 0, 0, 0, 0, HUGE_VALF, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}),
                                         serial);
    CHECK_BITS_EQUAL(got.selection, (std::vector<uint8_t>{kSsdKept, kSsdKept, 0}));
    CheckFloats(got.loss, {0});
    CheckFloats(got.gradient, std::vector<double>(18, 0));
  }
}

// Also where fewer boxes are left than are to be kept.
TEST(AnInvalidBoxIsNeverKept) {
  SerialExecutor serial;
  SsdLossOptions options;
  options.mining = {MiningScope::kImageUniform, 3, 3};
  const SsdRun<float> got =
      RunSsdLoss(SmallCase(options, {1, 0, 0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0},
                           {0.5f, 0.5f, 0, 0, 0, 0, 0.5f, 0.5f, 0, 0, 0, 0, 0.5f, 0.5f, 0, 0, 0, 0}),
                 serial);
  CHECK_BITS_EQUAL(got.selection, (std::vector<uint8_t>{kSsdKept, kSsdInvalid, kSsdKept}));
  CheckFloats(got.n_kept, {2});
  CheckFloats(got.negative, {2 * std::log(2.0)});
  CHECK_EQUAL(got.num_invalid[0], 1);
}

TEST(LargeLogitsGiveFiniteLossesAndGradients) {
  SerialExecutor serial;
  SsdLossOptions options;
  options.from_logits = true;
  const SsdRun<float> got = RunSsdLoss(SmallCase(options, {0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0},
                                                 {1e4f, -1e4f, 1e4f, -1e4f, 0, 0,  //
                                                  -1e4f, 1e4f, 0, 0, 0, 0,         //
                                                  -1e4f, 1e4f, 0, 0, 0, 0}),
                                       serial);
  CheckFloats(got.positive, {2e4 / 2});
  CheckFloats(got.negative, {2e4 / 2});
  CheckFloats(got.localization, {(2e4 - 1) / 2});
  CheckFloats(got.gradient, {0.5, -0.5, 0.5, -0.5, 0, 0, -0.5, 0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
}

// The sum of exponentials is 1 and a little: the largest logit must not be added to its logarithm.
TEST(SmallCrossEntropiesAreNotRoundedAway) {
  SerialExecutor serial;
  SsdLossOptions options;
  options.from_logits = true;
  options.mining.neg_pos_ratio = 1;
  for (double distance : {14.0, 12.0, 9.0, 5.0}) {
    for (float largest : {0.0f, 16.0f, 1000.0f, -1000.0f}) {
      const float other = largest - static_cast<float>(distance);
      const SsdRun<float> got = RunSsdLoss(SmallCase(options,
                                                     {
                                                         0, 1, 0, 0, 0, 0,  //
                                                         1, 0, 0, 0, 0, 0,  //
                                                     },
                                                     {
                                                         other, largest, 0, 0, 0, 0,  //
                                                         largest, other, 0, 0, 0, 0,  //
                                                     }),
                                           serial);
      const double want = std::log1p(std::exp(-distance));
      CHECK_NEAR(got.positive[0], want, 1.2e-7);
      CHECK_NEAR(got.negative[0], want, 1.2e-7);
      CHECK_EQUAL(got.n_kept[0], 1.0f);
      CHECK_NEAR(got.gradient[0], 1 - 1 / (1 + std::exp(-distance)), 1e-6 * std::exp(-distance));
    }
  }
}

TEST(ALargestLogitThatIsInfiniteHasTheProbability) {
  SerialExecutor serial;
  SsdLossOptions options;
  options.from_logits = true;
  const float inf = HUGE_VALF, nan = static_cast<float>(kNan);
  const auto check_row = [&](float background, float foreground, double loss, double slope) {
    const check::Context context("logits " + check::Show(background) + ", " + check::Show(foreground));
    const SsdRun<float> got =
        RunSsdLoss(SmallCase(options, {0, 1, 0, 0, 0, 0}, {background, foreground, 0, 0, 0, 0}), serial);
    CHECK_NEAR(got.loss[0], loss, 1e-6);
    CHECK_NEAR(got.gradient[0], slope, 0);
    CHECK_NEAR(got.gradient[1], -slope, 0);
  };
  check_row(0, inf, 0, 0);
  check_row(-inf, 0, 0, 0);
  check_row(-inf, inf, 0, 0);
  check_row(inf, 0, HUGE_VAL, 1);
  check_row(inf, -inf, HUGE_VAL, 1);
  check_row(0, -inf, HUGE_VAL, 1);
  check_row(inf, inf, std::log(2.0), 0.5);
  check_row(-inf, -inf, std::log(2.0), 0.5);
  check_row(nan, inf, kNan, kNan);
  check_row(inf, nan, kNan, kNan);
  check_row(-inf, nan, kNan, kNan);
}

TEST(AMinusInfiniteLogitOfALabelIsAnInfiniteLoss) {
  SerialExecutor serial;
  SsdLossOptions options;
  options.from_logits = true;
  const SsdRun<float> got = RunSsdLoss(SmallCase(options, {0, 1, 0, 0, 0, 0}, {0, -HUGE_VALF, 0, 0, 0, 0}), serial);
  CHECK_EQUAL(got.loss[0], HUGE_VALF);
  CheckFloats(got.gradient, {1, -1, 0, 0, 0, 0});
}

TEST(BitsDoNotDependOnThreads) {
  for (bool from_logits : {false, true}) {
    for (MiningScope scope : kAllScopes) {
      SsdLossOptions options;
      options.from_logits = from_logits;
      options.mining.scope = scope;
      SsdCaseShape shape;
      shape.images = 5;
      shape.boxes = 8732;
      shape.distinct_rows = 3000;
      shape.nan_predictions = from_logits;
      ForEachDtype([&](auto zero) {
        const auto given = MakeSsdCase<decltype(zero)>(options, LayoutsOf(5)[0], shape, 11);
        SerialExecutor serial;
        const auto want = RunSsdLoss(given, serial);
        for (int threads : {1, 2, 7}) {
          const check::Context context(check::Show(threads) + " threads");
          ThreadPool pool(threads);
          CheckSameRun(RunSsdLoss(given, pool), want);
        }
      });
    }
  }
}

// A gradient of 8 MB or more is streamed past the cache if it begins on a cache line.
TEST(AStreamedGradientHasTheBitsOfAPlainOne) {
  ThreadPool pool(2);
  for (bool from_logits : {false, true}) {
    for (int64_t classes : {21, 188}) {  // the latter's groups of rows exceed the buffer, so that nothing is streamed
      ForEachDtype([&](auto zero) {
        using T = decltype(zero);
        SsdLossOptions options;
        options.from_logits = from_logits;
        SsdCaseShape shape;
        shape.classes = classes;
        shape.distinct_rows = 400;
        const NamedLayout layout = LayoutsOf(classes)[0];
        shape.boxes = (int64_t{8} << 20) / (layout.width * static_cast<int64_t>(sizeof(T))) / shape.images + 17;
        const SsdCase<T> given = MakeSsdCase<T>(options, layout, shape, 13);
        CheckSameRun(RunSsdLoss(given, pool), RunSsdLoss(given, pool, 1));
      });
    }
  }
}

TEST(AStreamedGradientAgreesWithPlainLoops) {
  ThreadPool pool(2);
  SsdLossOptions options;
  options.mining.scope = MiningScope::kImage;
  SsdCaseShape shape;
  shape.images = 8;
  shape.boxes = 8732;
  shape.classes = 21;
  SsdCase<float> given;
  PlainSsdLoss want;
  uint64_t seed = 0;
  do {
    given = MakeSsdCase<float>(options, LayoutsOf(21)[0], shape, ++seed);
    want = PlainOf(given);
  } while (!IsSeparated(want, Tolerance<float>()));
  CheckAgainstPlain<float>(RunSsdLoss(given, pool), want);
}

#if defined(__x86_64__)
TEST(BitsDoNotDependOnTheCallersFloatMode) {
  SerialExecutor serial;
  for (Normalizer normalizer : kAllNormalizers) {
    SsdLossOptions options;
    options.normalizer = normalizer;
    options.alpha = 1e-40f;
    // Subnormal labels, offsets, losses and gradients.
    SsdCase<float> given = SmallCase(options, {1, 0, 0, 0, 0, 0, 0, 1e-40f, 0, 0, 0, 0, 0, 1, 1e-39f, 0, 0, 0},
                                     {0.5f, 0.5f, 0, 0, 0, 0, 0.5f, 0.5f, 0, 0, 0, 0, 0.5f, 1, 2, 1e-20f, 0, 0});
    for (float loss_gradient : {1.0f, 1e-39f}) {
      given.loss_gradient = {loss_gradient};
      const SsdRun<float> want = RunSsdLoss(given, serial);
      const FlushToZero flush;
      CheckSameRun(RunSsdLoss(given, serial), want);
    }
    // A count of positives that is subnormal itself.
    given.options.mining = {MiningScope::kImageUniform, 3, 1};
    given.y_true[13] = 0;
    const SsdRun<float> want = RunSsdLoss(given, serial);
    const FlushToZero flush;
    CheckSameRun(RunSsdLoss(given, serial), want);
  }
}
#endif

namespace {

// What either direction answers.
void CheckRefused(const SsdCase<float>& given, const std::string& message) {
  SerialExecutor serial;
  CHECK_EQUAL(RunSsdLoss(given, serial).status.message(), message);
  const std::vector<float> counts(given.shape.images, 1);
  const std::vector<uint8_t> selection(given.shape.images * given.shape.boxes, 0);
  const GuardedBuffer<float> gradient(static_cast<int64_t>(given.y_pred.size()));
  const GuardedBuffer<char> workspace(static_cast<int64_t>(SsdLossGradWorkspaceBytes<float>(given.shape)));
  const Status status = SsdLossBackward<float>(
      given.options, given.shape, given.loss_gradient.data(), given.y_true.data(), given.y_pred.data(),
      {counts.data(), counts.data(), selection.data()}, gradient.data(), workspace.data(), serial);
  CHECK_EQUAL(status.message(), message);
}

}  // namespace

TEST(WrongOptionsAreRefused) {
  const SsdCase<float> good = SmallCase({}, {1, 0, 0, 0, 0, 0}, {0.5f, 0.5f, 0, 0, 0, 0});
  const auto check_refused = [&](const auto& change, const std::string& message) {
    SsdCase<float> bad = good;
    change(&bad.options);
    CheckRefused(bad, message);
  };
  const std::string alpha = "alpha: expected a finite number of at least 0, got ";
  const std::string shape = ": y_true and y_pred have shape [1,1,6]";
  check_refused([](SsdLossOptions*) {}, "");
  check_refused([](SsdLossOptions* options) { options->alpha = -1; }, alpha + "-1");
  check_refused([](SsdLossOptions* options) { options->alpha = HUGE_VALF; }, alpha + "inf");
  check_refused([](SsdLossOptions* options) { options->alpha = static_cast<float>(kNan); }, alpha + "nan");
  check_refused([](SsdLossOptions* options) { options->mining.neg_pos_ratio = -0.5f; },
                "neg_pos_ratio: expected a finite number of at least 0, got -0.5");
  check_refused([](SsdLossOptions* options) { options->mining.n_neg_min = -1; },
                "n_neg_min: expected at least 0, got -1");
  check_refused([](SsdLossOptions* options) { options->layout.num_classes = 1; },
                "layout: expected at least 2 classes (background and one more), got 1 in rows of 6 columns" + shape);
  check_refused([](SsdLossOptions* options) { options->layout.box_column = 3; },
                "layout: expected box_column to name 4 columns within a row of 6, got first column 3" + shape);
}

TEST(OptionsAreCheckedBeforeTheShapeIsKnown) {
  SsdLossOptions options;
  CHECK_EQUAL(CheckSsdOptions(options).message(), "");
  options.layout.num_classes = 1;
  CHECK_EQUAL(CheckSsdOptions(options).message(),
              "layout: expected at least 2 classes (background and one more), got 1");
  options.alpha = HUGE_VALF;
  CHECK_EQUAL(CheckSsdOptions(options).message(), "alpha: expected a finite number of at least 0, got inf");
}

TEST(ShapesTooLargeToCountAreRefused) {
  const int64_t most = std::numeric_limits<int64_t>::max();
  CHECK_EQUAL(CheckSsdShape({0, most, 33}).message(),
              "y_pred: expected at most 2147483647 boxes in a batch, got shape [0,9223372036854775807,33]");
  CHECK_EQUAL(CheckSsdShape({-1, 1000, most}).message(),
              "y_pred: expected at most 1099511627776 numbers in a batch, got shape [?,1000,9223372036854775807]");
  CHECK_EQUAL(CheckSsdShape({32, 8732, 33}).message(), "");
  CHECK_EQUAL(CheckSsdShape({-1, -1, -1}).message(), "");
}

TEST(InvalidTargetsAreNamedWhereTheyAreErrors) {
  const NamedLayout layout = LayoutsOf(3)[3];  // classes last, flag in column 7
  const int64_t class_column = 9, box_column = 2, flag_column = 7;
  const int64_t images = 2, boxes = 2000;
  SsdCase<float> good = {{}, {images, boxes, layout.width}, {}, {}, {1, 1}};
  good.options.layout = layout.layout;
  good.options.invalid_targets = InvalidTargets::kError;
  good.y_true.assign(images * boxes * layout.width, 0);
  good.y_pred.assign(images * boxes * layout.width, 0.5f);
  ThreadPool pool(2);
  CHECK_EQUAL(RunSsdLoss(good, pool).status.message(), "");
  const auto set = [&](SsdCase<float>* given, int64_t image, int64_t box, int64_t column, double value) {
    given->y_true[(image * boxes + box) * layout.width + column] = static_cast<float>(value);
  };
  const auto check_named = [&](int64_t image, int64_t box, int64_t column, double value, const std::string& what) {
    SsdCase<float> bad = good;
    set(&bad, image, box, flag_column, 1);
    set(&bad, image, box, column, value);
    // Later ones are not what is named.
    set(&bad, 1, 1999, class_column, -7);
    const std::string rule = "expected classes from 0 to 1e+06 and offsets of positives from -1e+06 to 1e+06";
    const std::string found = "got " + what + " in image " + check::Show(image) + ", box " + check::Show(box);
    CHECK_EQUAL(RunSsdLoss(bad, pool).status.message(), "y_true: " + rule + " (invalid_targets=\"error\"), " + found);
    bad.options.invalid_targets = InvalidTargets::kIgnore;
    const SsdRun<float> ignored = RunSsdLoss(bad, pool);
    CHECK(ignored.status.ok());
    CHECK_EQUAL(ignored.status.message(),
                "y_true: 2 invalid label(s) of this batch are left out of the loss. The first: " + rule + ", " + found +
                    ". detloss.check_targets lists them all. This is said once per process, and not with "
                    "invalid_targets=\"silent\".");
    bad.options.invalid_targets = InvalidTargets::kSilent;
    CHECK_EQUAL(RunSsdLoss(bad, pool).status.message(), "");
    CHECK_EQUAL(ignored.num_invalid[0] + ignored.num_invalid[1], 2);
  };
  check_named(0, 0, class_column, kNan, "class 0 = nan");
  check_named(0, 3, class_column + 2, -0.25, "class 2 = -0.25");
  check_named(1, 1024, class_column + 1, HUGE_VAL, "class 1 = inf");
  check_named(1, 1500, flag_column, -1, "positive flag 0 = -1");
  check_named(1, 1998, box_column + 3, -HUGE_VAL, "offset 3 = -inf");
  check_named(0, 1023, box_column, kNan, "offset 0 = nan");
  check_named(0, 7, class_column + 1, 1e38, "class 1 = 1e+38");
  check_named(0, 8, box_column + 1, -2e6, "offset 1 = -2e+06");
}

TEST(RowsWithoutTheUnusedColumnsAreNotTakenForFewerClasses) {
  SerialExecutor serial;
  const int64_t classes = 17, boxes = 20, width = classes + 4;  // taken for 9 classes and 12 columns
  SsdCase<float> given = {{}, {1, boxes, width}, {}, {}, {1}};
  given.y_true.assign(boxes * width, 0);
  given.y_pred.assign(boxes * width, 1.0f / 17);
  for (int64_t box = 0; box < boxes; ++box) given.y_true[box * width] = 1;
  CHECK_EQUAL(RunSsdLoss(given, serial).status.message(), "");
  for (const int64_t box : {3, 10, 11}) {  // the first within the nine classes
    given.y_true[box * width] = 0;
    given.y_true[box * width + 5 + box] = 1;
    given.y_true[box * width + classes] = -0.25f;
  }
  const SsdRun<float> got = RunSsdLoss(given, serial);
  CHECK(got.status.ok());
  CHECK_EQUAL(got.status.message(),
              "y_true: rows of 21 columns were taken for 9 classes and 12 more columns, but 2 boxes of this batch have "
              "a label behind these classes and none in them. Pass num_classes, which counts the background, or a "
              "layout. This is said once per process, and not with invalid_targets=\"silent\".");
  given.options.layout.num_classes = classes;
  given.options.layout.box_column = classes;
  CHECK_EQUAL(RunSsdLoss(given, serial).status.message(), "");
}

// Neutral boxes as ssd_keras encodes them: prior box and variances, or nothing, behind the offsets.
TEST(NeutralBoxesAreNoLabelsBehindTheClasses) {
  SerialExecutor serial;
  const int64_t width = 9 + 12;
  SsdCase<float> given = {{}, {1, 3, width}, std::vector<float>(3 * width, 0), {}, {1}};
  given.y_pred.assign(3 * width, 1.0f / 9);
  const float prior[] = {0, 0, 0, 0, 0.5f, 0.5f, 1, 1, 0.1f, 0.1f, 0.2f, 0.2f};
  std::copy(prior, prior + 12, given.y_true.begin() + 9);
  CHECK_EQUAL(RunSsdLoss(given, serial).status.message(), "");
}

// Labels of boxes that are no positives may hold anything as offsets.
TEST(OffsetsOfOtherBoxesAreNoError) {
  SerialExecutor serial;
  SsdLossOptions options;
  options.invalid_targets = InvalidTargets::kError;
  const float nan = static_cast<float>(kNan);
  const SsdRun<float> got =
      RunSsdLoss(SmallCase(options, {1, 0, nan, nan, nan, nan}, {0.5f, 0.5f, nan, nan, nan, nan}), serial);
  CHECK_EQUAL(got.status.message(), "");
  CHECK_EQUAL(got.num_invalid[0], 0);
}

}  // namespace detloss
