#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "cc/thread_pool.h"
#include "cc/yolov3_classes.h"
#include "cc/yolov3_loss.h"
#include "tests/cc/check.h"
#include "tests/cc/dtype_values.h"
#include "tests/cc/yolov3_cases.h"
#include "tests/cc/yolov3_checks.h"

#if defined(__x86_64__)
#include "tests/cc/flush_to_zero.h"
#endif

namespace detloss {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct RunSerially {
  template <class T>
  YoloRun<T> operator()(const YoloCase<T>& given) const {
    SerialExecutor serial;
    return RunYoloV3Loss(given, serial);
  }
};

}  // namespace

TEST(AgreesWithPlainLoopsForAllOptions) { CheckAllOptions(RunSerially()); }

// Classes are taken sixteen at a time.
TEST(AgreesWithPlainLoopsForAnyNumberOfClasses) {
  for (int64_t classes = 1; classes <= 81; ++classes) CheckNumberOfClasses(classes, RunSerially());
}

TEST(AgreesWithPlainLoopsForAnyShape) { CheckAllShapes(RunSerially()); }

TEST(AgreesWithPlainLoopsForAnyShareOfObjects) { CheckAllSharesOfObjects(RunSerially()); }

TEST(AgreesWithPlainLoopsForInfiniteLogits) { CheckInfiniteLogits(RunSerially()); }

TEST(BitsDoNotDependOnTheOffsetOfClassLogits) { CheckOffsetsOfClassLogits(RunSerially()); }

TEST(NanIsLeftToNanLogits) { CheckNoOwnNan(RunSerially()); }

TEST(WhatHasNoWeightIsNotLookedAt) { CheckWeightsOfZero(RunSerially()); }

TEST(BitsDoNotDependOnThreads) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    YoloCaseShape shape;
    shape.images = 3;
    shape.scales = {{13, 13}, {26, 26}};
    shape.objects = 0.02;
    shape.nan_predictions = seed == 4;
    const YoloV3LossOptions options = SomeYoloOptions(seed * 11, &shape);
    const check::Context context(Describe(options, shape, seed));
    ForEachDtype([&](auto zero) {
      const auto given = MakeYoloCase<decltype(zero)>(options, shape, seed);
      SerialExecutor serial;
      const auto want = RunYoloV3Loss(given, serial);
      for (int threads : {1, 2, 7}) {
        const check::Context number(check::Show(threads) + " threads");
        ThreadPool pool(threads);
        CheckSameRun(RunYoloV3Loss(given, pool), want);
      }
    });
  }
}

// Gradients of 8 MB or more are streamed past the cache where they begin on a cache line.
TEST(AStreamedGradientHasTheBitsOfAPlainOne) {
  ThreadPool pool(2);
  uint64_t seed = 0;
  for (int64_t classes : {20, 80, 600}) {  // the last one's groups of rows exceed the buffer: nothing is streamed
    ForEachDtype([&](auto zero) {
      using T = decltype(zero);
      YoloCaseShape shape;
      shape.classes = classes;
      const int64_t row_bytes = (5 + classes) * static_cast<int64_t>(sizeof(T)) * shape.images * shape.anchors;
      shape.scales = {{2, 3}, {(int64_t{8} << 20) / row_bytes / 50 + 1, 51}};
      shape.objects = 0.01;
      YoloV3LossOptions options;
      options.cell.class_focal = ++seed % 2 == 0;
      const YoloCase<T> given = MakeYoloCase<T>(options, shape, seed);
      CheckSameRun(RunYoloV3Loss(given, pool), RunYoloV3Loss(given, pool, 1));
    });
  }
}

namespace {

// Those without any.
void GiveRowsAClass(YoloCase<double>* given) {
  if (given->options.cell.corner_targets) return;
  const size_t columns = 5 + static_cast<size_t>(given->shape.classes);
  for (std::vector<double>& labels : given->y_true) {
    for (size_t row = 0; row < labels.size(); row += columns) {
      const auto classes = labels.begin() + static_cast<int64_t>(row) + 5;
      if (std::all_of(classes, classes + given->shape.classes, [](double x) { return x == 0; })) *classes = 1;
    }
  }
}

}  // namespace

TEST(TheGradientAgreesWithFiniteDifferences) {
  constexpr double kStep = 1e-6;
  SerialExecutor serial;
  uint64_t seed = 0;
  for (YoloV3LossOptions options : AllYoloChoices()) {
    // The softmax has TensorFlow's gradient, which is the loss's own where labels add up to one; so has CIoU, whose
    // alpha is held.
    if (options.cell.overlap == Overlap::kCiou) continue;
    YoloCaseShape shape;
    shape.scales = {{2, 2}, {1, 3}};
    shape.images = 1;
    shape.objects = 0.3;
    shape.extreme_logits = false;
    shape.whole_classes = true;
    VaryYoloNumbers(++seed, shape, &options);
    if (options.cell.class_loss == ClassLoss::kSoftmax) options.cell.label_smoothing = 0;
    YoloCase<double> given = MakeYoloCase<double>(options, shape, seed);
    given.loss_gradient = {0.75};
    if (options.cell.class_loss == ClassLoss::kSoftmax) GiveRowsAClass(&given);
    const check::Context context(Describe(options, shape, seed));
    const YoloRun<double> run = RunYoloV3Loss(given, serial);
    for (size_t scale = 0; scale < given.y_pred.size(); ++scale) {
      for (size_t i = 0; i < given.y_pred[scale].size(); ++i) {
        double& logit = given.y_pred[scale][i];
        const double x = logit;
        if (std::isnan(x)) continue;
        const auto moved = [&](double by) {
          logit = x + by;
          const YoloRun<double> other = RunYoloV3Loss(given, serial);
          logit = x;
          CHECK_BITS_EQUAL(other.selection[scale], run.selection[scale]);
          return 0.75 * other.loss[0];
        };
        const double slope = (moved(kStep) - moved(-kStep)) / (2 * kStep);
        CHECK_NEAR(run.gradient[scale][i], slope, 1e-6 * (1 + std::fabs(slope)));
      }
    }
  }
}

namespace {

// One image, one scale of one row of `width` cells, one anchor of half the input's width and height, two classes.
YoloCase<float> SmallCase(const YoloV3LossOptions& options, std::vector<float> y_true, std::vector<float> y_pred) {
  const int64_t width = static_cast<int64_t>(y_pred.size()) / 7;
  YoloCase<float> made = {options, {1, 1, 2, {{1, width}}}, {std::move(y_true)}, {std::move(y_pred)}, {1}};
  made.options.anchors = {0.5f, 0.5f};
  made.options.strides = {0};
  return made;
}

void CheckFloats(const std::vector<float>& got, const std::vector<double>& want) {
  CHECK_EQUAL(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) CHECK_NEAR(got[i], want[i], 1e-6 * std::fabs(want[i]) + 1e-7);
}

}  // namespace

TEST(AnExampleByHand) {
  SerialExecutor serial;
  YoloV3LossOptions options;
  options.cell.object_weight = 2;
  options.cell.no_object_weight = 3;
  const double ln2 = std::log(2.0), e = std::exp(1.0);
  const YoloCase<float> given = SmallCase(options,
                                          {
                                              0.25f, 0.5f, 0.5f, 0.5f, 1, 0, 1,  //
                                              0, 0, 0, 0, 0, 0, 0,               //
                                          },
                                          {
                                              0, 0, 1, 0, 0, 0, 1,  //
                                              0, 0, 0, 0, 0, 9, 9,  //
                                          });
  const YoloRun<float> got = RunYoloV3Loss(given, serial);
  const double weight = 1.75, p = 1 / (1 + std::exp(-1.0));
  CheckFloats(got.xy, {weight * 2 * ln2});
  CheckFloats(got.wh, {weight * 0.5});
  CheckFloats(got.box, {weight * (2 * ln2 + 0.5)});
  CheckFloats(got.object, {2 * ln2});
  CheckFloats(got.no_object, {3 * ln2});
  CheckFloats(got.class_term, {ln2 + std::log(1 + 1 / e)});
  CheckFloats(got.loss, {weight * (2 * ln2 + 0.5) + 5 * ln2 + ln2 + std::log(1 + 1 / e)});
  CHECK_BITS_EQUAL(got.selection[0], (std::vector<uint8_t>{kYoloObject, 0}));
  CheckFloats(got.objectness_gradient[0], {-1, 1.5});
  CheckFloats(got.gradient[0], {
                                   0, 0, weight, 0, -1, 0.5, p - 1,  //
                                   0, 0, 0, 0, 1.5, 0, 0,            //
                               });
}

TEST(SelectionNamesObjectsIgnoredAndInvalidRows) {
  SerialExecutor serial;
  const float nan = static_cast<float>(kNan);
  YoloV3LossOptions options;
  options.ignore.thresh = 1.0f / 3;
  YoloCase<float> given = SmallCase(options,
                                    {
                                        0.375f, 0.5f, 0.5f, 0.5f, 1, 1, 0,  // its own prediction is the box
                                        0,      0,    0,    0,    0, 0, 0,  // a quarter further: overlap 1/3
                                        0,      0,    0,    0,    0, 0, 0,  // two quarters: overlap 0
                                        nan,    0,    0,    0,    0, 0, 0,  // invalid
                                    },
                                    std::vector<float>(4 * 7, 0));
  given.y_true[0][0] = 0.125f;
  const auto check_selection = [&](const std::vector<uint8_t>& want) {
    const YoloRun<float> got = RunYoloV3Loss(given, serial);
    CHECK_BITS_EQUAL(got.selection[0], want);
  };
  check_selection({kYoloObject | kYoloIgnored, kYoloIgnored, 0, kYoloInvalid});
  given.options.ignore.thresh = std::nextafter(1.0f / 3, 1.0f);
  check_selection({kYoloObject | kYoloIgnored, 0, 0, kYoloInvalid});
  given.y_true[0] = {0.25f, 0.5f, 0.5f, 0.5f, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  given.options.ignore = {0.6f, false};  // 3/8 of 5/8
  check_selection({kYoloObject | kYoloIgnored, kYoloIgnored, 0, 0});
  given.options.cell.objectness_focal = true;  // asks for no mask
  check_selection({kYoloObject, 0, 0, 0});
}

// A scale of one cell with the true box, and one whose cell predicts it.
TEST(TheIgnoreScopeIsTheScaleOrTheImage) {
  SerialExecutor serial;
  for (IgnoreScope scope : {IgnoreScope::kScale, IgnoreScope::kImage}) {
    YoloCase<float> given;
    given.options.ignore_scope = scope;
    given.options.anchors = {0.5f, 0.5f, 0.5f, 0.5f};
    given.options.strides = {0, 0};
    given.shape = {2, 1, 1, {{1, 1}, {1, 1}}};
    given.y_true = {{0.5f, 0.5f, 0.5f, 0.5f, 1, 1, 0, 0, 0, 0, 0, 0}, std::vector<float>(12, 0)};
    given.y_pred = {std::vector<float>(12, 0), std::vector<float>(12, 0)};
    given.loss_gradient = {1, 1};
    const YoloRun<float> got = RunYoloV3Loss(given, serial);
    CHECK_BITS_EQUAL(got.selection[0], (std::vector<uint8_t>{kYoloObject | kYoloIgnored, 0}));
    const uint8_t other = scope == IgnoreScope::kImage ? kYoloIgnored : 0;
    CHECK_BITS_EQUAL(got.selection[1], (std::vector<uint8_t>{other, 0}));
  }
}

TEST(NanAmongTheFiveLogitsOfAValidRowIsNeverHidden) {
  SerialExecutor serial;
  const float nan = static_cast<float>(kNan);
  for (const YoloV3LossOptions& options : AllYoloChoices()) {
    if (options.cell.corner_targets) continue;
    const YoloCase<float> given =
        SmallCase(options, {0.25f, 0.5f, 0.5f, 0.5f, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0},
                  std::vector<float>(21, 0.5f));
    CHECK(std::isfinite(RunYoloV3Loss(given, serial).loss[0]));
    for (size_t column = 0; column < 21; ++column) {
      const check::Context context("column " + check::Show(column) + ", " + Describe(options, YoloCaseShape(), 0));
      YoloCase<float> spoilt = given;
      spoilt.y_pred[0][column] = nan;
      const YoloRun<float> got = RunYoloV3Loss(spoilt, serial);
      const bool is_class = column % 7 >= 5;
      const bool class_counts = options.cell.class_loss != ClassLoss::kNone && (column < 7 || options.cell.class_focal);
      const bool matters = column < 14 && (!is_class || class_counts);
      CHECK_EQUAL(std::isnan(got.loss[0]), matters);
      CHECK_EQUAL(std::isnan(got.no_object[0]), matters && !is_class);
      CHECK_EQUAL(std::isnan(got.class_term[0]), matters && is_class);
      if (!matters) {
        for (float slope : got.gradient[0]) CHECK(std::isfinite(slope));
      }
    }
  }
}

// A softmax then has TensorFlow's gradient p - y; which class a normalized sigmoid is about the label does not say.
TEST(ARowWithoutAnyClassIsNoClass) {
  const float logits[] = {0, std::log(3.0f), -1e4f}, weights[] = {2, 3, 4}, labels[] = {0, 0, 0};
  for (bool weighted : {false, true}) {
    YoloCellOptions options;
    options.class_weights = weighted ? weights : nullptr;
    const ClassLabels<float> row(options, labels);
    options.class_loss = ClassLoss::kSoftmax;
    std::vector<float> gradient(3, 0);
    CHECK_EQUAL(ClassLossOf(options, row, logits, 3), 0.0f);
    ClassGradient(options, row, logits, 3, 2.0f, gradient.data());
    CheckFloats(gradient, {0.5, 1.5, 0});
    options.class_loss = ClassLoss::kNormalizedSigmoid;
    gradient.assign(3, 0);
    CHECK_EQUAL(ClassLossOf(options, row, logits, 3), 0.0f);
    ClassGradient(options, row, logits, 3, 2.0f, gradient.data());
    CheckFloats(gradient, {0, 0, 0});
  }
}

// The cross-entropies of a label beyond 1 fall without end; their weight as background is negative.
TEST(AnObjectnessBeyondOneIsAWeight) {
  YoloCellOptions options;
  const double softplus = std::log1p(std::exp(0.5)), p = 1 / (1 + std::exp(-0.5));
  for (bool counts : {false, true}) {
    const ObjectnessTerm<float> term = ObjectnessTermOf(options, 0.5f, 2.0f, counts);
    CHECK_NEAR(term.object, 2 * (softplus - 1), 1e-6);
    CHECK_NEAR(term.no_object, counts ? -(softplus - 1) : 0, 1e-6);
    CHECK_NEAR(term.gradient, counts ? p - 2 : 2 * (p - 2), 1e-6);
  }
  for (bool focal : {false, true}) {
    options.objectness_focal = focal;
    for (float logit : {HUGE_VALF, -HUGE_VALF, 3e38f, -3e38f}) {
      for (float objectness : {1.5f, 2.0f, 1e6f}) {
        const ObjectnessTerm<float> term = ObjectnessTermOf(options, logit, objectness, true);
        CHECK(!std::isnan(term.object) && !std::isnan(term.no_object) && !std::isnan(term.gradient));
      }
    }
  }
}

// A box that is not a number overlaps nothing.
TEST(ANanBoxIsNotIgnored) {
  SerialExecutor serial;
  YoloV3LossOptions options;
  options.ignore.thresh = 0;
  for (size_t column = 0; column < 4; ++column) {
    const check::Context context("column " + check::Show(column));
    YoloCase<float> given =
        SmallCase(options, {0.25f, 0.5f, 0.5f, 0.5f, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0}, std::vector<float>(14, 0));
    given.y_pred[0][7 + column] = static_cast<float>(kNan);
    const YoloRun<float> got = RunYoloV3Loss(given, serial);
    CHECK_BITS_EQUAL(got.selection[0], (std::vector<uint8_t>{kYoloObject | kYoloIgnored, 0}));
  }
}

TEST(LargeLogitsGiveFiniteLossesAndGradients) {
  SerialExecutor serial;
  for (const YoloV3LossOptions& options : AllYoloChoices()) {
    if (options.cell.corner_targets) continue;
    for (int i = 0; i < 64; ++i) {
      std::vector<float> logits(14, 0.5f);
      const float sizes[] = {-1e4f, 1e4f, 100, -100};
      for (int k = 0; k < 7; ++k) logits[k] = logits[7 + k] = sizes[(i >> (k % 3 * 2)) % 4];
      const YoloCase<float> given =
          SmallCase(options, {0.25f, 0.5f, 0.5f, 0.25f, 0.5f, 0, 1, 0, 0, 0, 0, 0, 0, 0}, logits);
      const check::Context context("logits " + check::Show(i) + ", " + Describe(options, YoloCaseShape(), 0));
      const YoloRun<float> got = RunYoloV3Loss(given, serial);
      CHECK(std::isfinite(got.loss[0]));
      for (float slope : got.gradient[0]) CHECK(std::isfinite(slope));
    }
  }
}

// The gradient of a row that does not count is zero, whatever that of the loss is.
TEST(RowsThatDoNotCountHaveNoGradient) {
  SerialExecutor serial;
  const float nan = static_cast<float>(kNan);
  YoloV3LossOptions options;
  YoloCase<float> given =
      SmallCase(options, {0.25f, 0.5f, 0.5f, 0.5f, 1, 0, 1, 0, 0, 0, 0, 2, 0, 0}, std::vector<float>(14, nan));
  std::fill_n(given.y_pred[0].begin(), 7, 0.0f);
  given.loss_gradient = {HUGE_VALF};
  const YoloRun<float> got = RunYoloV3Loss(given, serial);
  CHECK(std::isfinite(got.loss[0]));
  for (size_t i = 7; i < 14; ++i) CHECK_BITS_EQUAL(got.gradient[0][i], 0.0f);
}

#if defined(__x86_64__)
TEST(BitsDoNotDependOnTheCallersFloatMode) {
  SerialExecutor serial;
  for (const YoloV3LossOptions& options : AllYoloChoices()) {
    if (options.cell.corner_targets) continue;
    // Subnormal objectness, classes, sizes, weights and gradients.
    YoloCase<float> given = SmallCase(
        options, {0.25f, 0.5f, 1e-39f, 0.5f, 1e-40f, 0, 1, 0.75f, 0.5f, 0.5f, 0.5f, 1, 1e-40f, 1, 0, 0, 0, 0, 0, 0, 0},
        std::vector<float>(21, 0.5f));
    given.options.cell.no_object_weight = 1e-40f;
    given.options.cell.class_weight = 1e-39f;
    for (float loss_gradient : {1.0f, 1e-39f}) {
      given.loss_gradient = {loss_gradient};
      const YoloRun<float> want = RunYoloV3Loss(given, serial);
      const FlushToZero flush;
      CheckSameRun(RunYoloV3Loss(given, serial), want);
    }
  }
}
#endif

namespace {

// What either direction answers.
void CheckRefused(const YoloCase<float>& given, const std::string& message) {
  SerialExecutor serial;
  CHECK_EQUAL(RunYoloV3Loss(given, serial).status.message(), message);
  const std::vector<float> objectness(given.y_pred[0].size() / 7, 0);
  const std::vector<uint8_t> selection(objectness.size(), 0);
  const GuardedBuffer<float> gradient(static_cast<int64_t>(given.y_pred[0].size()));
  const Status status = YoloV3LossBackward<float>(given.options, given.shape, given.loss_gradient.data(),
                                                  PointersTo(given.y_true), PointersTo(given.y_pred),
                                                  {{objectness.data()}, {selection.data()}}, {gradient.data()}, serial);
  CHECK_EQUAL(status.message(), message);
}

}  // namespace

TEST(WrongOptionsAreRefused) {
  const YoloCase<float> good =
      SmallCase({}, {0.25f, 0.5f, 0.5f, 0.5f, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0}, std::vector<float>(14, 0));
  const auto check_refused = [&](const auto& change, const std::string& message) {
    YoloCase<float> bad = good;
    change(&bad.options);
    CheckRefused(bad, message);
  };
  using Options = YoloV3LossOptions;
  const float nan = static_cast<float>(kNan);
  check_refused([](Options*) {}, "");
  check_refused([](Options* options) { options->anchors.pop_back(); },
                "anchors: expected 2 numbers, width and height of every anchor of every scale, got 1");
  check_refused([](Options* options) { options->strides = {8, 8}; },
                "strides: expected 1 numbers, one per scale, got 2");
  check_refused([](Options* options) { options->grid_sense = {1, 1, 1}; },
                "grid_sense: expected 1 numbers, one per scale, got 3");
  check_refused([](Options* options) { options->class_weights = {1}; },
                "class_weights: expected 2 numbers, one per class, got 1");
  check_refused([](Options* options) { options->ignore.thresh = -0.5f; },
                "ignore_thresh: expected a finite number of at least 0, got -0.5");
  check_refused([](Options* options) { options->ignore.thresh = HUGE_VALF; },
                "ignore_thresh: expected a finite number of at least 0, got inf");
  const std::string smoothing = "label_smoothing: expected a number from 0 to below 1, got ";
  check_refused([](Options* options) { options->cell.label_smoothing = 1; }, smoothing + "1");
  check_refused([](Options* options) { options->cell.label_smoothing = -0.125f; }, smoothing + "-0.125");
  check_refused([&](Options* options) { options->cell.label_smoothing = nan; }, smoothing + "nan");
  check_refused([](Options* options) { options->cell.label_smoothing = std::nextafter(1.0f, 0.0f); }, "");
  const std::string weight = ": expected a finite number of at least 0, got ";
  check_refused([](Options* options) { options->cell.box_weight = -1; }, "box_weight" + weight + "-1");
  check_refused([](Options* options) { options->cell.object_weight = HUGE_VALF; }, "object_weight" + weight + "inf");
  check_refused([&](Options* options) { options->cell.no_object_weight = -nan; }, "no_object_weight" + weight + "nan");
  check_refused([](Options* options) { options->cell.class_weight = -2; }, "class_weight" + weight + "-2");
  check_refused([](Options* options) { options->class_weights = {1, -0.5f}; }, "class_weights" + weight + "-0.5");
  const std::string anchors = "anchors: expected finite numbers above 0 that are not subnormal, got ";
  check_refused([](Options* options) { options->anchors[1] = 0; }, anchors + "0");
  check_refused([](Options* options) { options->anchors[0] = HUGE_VALF; }, anchors + "inf");
  check_refused([](Options* options) { options->anchors[0] = 1e-40f; }, anchors + "9.99995e-41");
  const std::string sense = "grid_sense: expected a finite number of at least 1, got ";
  check_refused([](Options* options) { options->grid_sense = {0.5f}; }, sense + "0.5");
  check_refused([&](Options* options) { options->grid_sense = {nan}; }, sense + "nan");
  check_refused([](Options* options) { options->grid_sense = {HUGE_VALF}; }, sense + "inf");
  const std::string strides = "strides: expected integers from 0 to 1048576, got ";
  check_refused([](Options* options) { options->strides = {-1}; }, strides + "-1");
  check_refused([](Options* options) { options->strides = {1048577}; }, strides + "1048577");
  check_refused([](Options* options) { options->strides = {1048576}; }, "");
}

TEST(OptionsAreCheckedBeforeTheShapeIsKnown) {
  YoloV3LossOptions options;
  options.anchors = {1, 1, 1, 1};
  options.strides = {32, 16};
  options.class_weights = {1, 1, 1};
  CHECK_EQUAL(CheckYoloV3Options(options, size_t{2}).message(), "");
  CHECK_EQUAL(CheckYoloV3Options(options, size_t{1}).message(), "strides: expected 1 numbers, one per scale, got 2");
  options.class_weights[1] = -1;
  CHECK_EQUAL(CheckYoloV3Options(options, size_t{2}).message(),
              "class_weights: expected a finite number of at least 0, got -1");
}

TEST(ShapesTooLargeToCountAreRefused) {
  const int64_t large = int64_t{1} << 32;
  CHECK_EQUAL(CheckYoloV3Shape({0, 1, 1, {{8, 8}, {large, large / 2}}}).message(),
              "y_pred[1]: expected at most 2147483647 cells times anchors in a batch, got shape "
              "[0,4294967296,2147483648,1,6]");
  CHECK_EQUAL(CheckYoloV3Shape({-1, 3, large / 2, {{-1, 1000}}}).message(),
              "y_pred[0]: expected at most 1099511627776 numbers in a batch, got shape [?,?,1000,3,2147483653]");
  CHECK_EQUAL(CheckYoloV3Shape({-1, 3, -1, {{-1, -1}}}).message(), "");
}

TEST(InvalidTargetsAreNamedWhereTheyAreErrors) {
  ThreadPool pool(2);
  const auto check_named = [&](std::vector<float> label, bool corner, const std::string& rule,
                               const std::string& values) {
    YoloCase<float> given;
    given.options.invalid_targets = InvalidTargets::kError;
    given.options.cell.corner_targets = corner;
    given.options.anchors.assign(12, 0.5f);
    given.options.strides = {0, 0};
    given.shape = {2, 3, 2, {{2, 2}, {15, 20}}};
    const size_t columns = label.size();
    given.y_true = {std::vector<float>(2 * 12 * columns, 0), std::vector<float>(2 * 900 * columns, 0)};
    given.y_pred = {std::vector<float>(2 * 12 * 7, 0), std::vector<float>(2 * 900 * 7, 0)};
    given.loss_gradient = {1, 1};
    CHECK_EQUAL(RunYoloV3Loss(given, pool).status.message(), "");
    const auto set = [&](size_t scale, int64_t image, int64_t y, int64_t x, int64_t anchor) {
      const auto& cells = given.shape.scales[scale];
      const int64_t row = ((image * cells.height + y) * cells.width + x) * 3 + anchor;
      std::copy(label.begin(), label.end(), given.y_true[scale].begin() + row * static_cast<int64_t>(columns));
    };
    const std::string found = ", got [" + values + "] in image ";
    const std::string text = "y_true: expected " + rule + " (invalid_targets=\"error\")" + found;
    set(1, 1, 14, 19, 2);  // the last row of all
    CHECK_EQUAL(RunYoloV3Loss(given, pool).status.message(), text + "1, scale 1, cell (14, 19), anchor 2");
    set(1, 1, 9, 7, 1);  // in the image's second block
    CHECK_EQUAL(RunYoloV3Loss(given, pool).status.message(), text + "1, scale 1, cell (9, 7), anchor 1");
    set(1, 0, 0, 19, 0);
    CHECK_EQUAL(RunYoloV3Loss(given, pool).status.message(), text + "0, scale 1, cell (0, 19), anchor 0");
    set(0, 1, 1, 0, 2);
    CHECK_EQUAL(RunYoloV3Loss(given, pool).status.message(), text + "1, scale 0, cell (1, 0), anchor 2");
    given.options.invalid_targets = InvalidTargets::kIgnore;
    const YoloRun<float> ignored = RunYoloV3Loss(given, pool);
    CHECK(ignored.status.ok());
    CHECK_EQUAL(ignored.status.message(),
                "y_true: 4 invalid label(s) of this batch are left out of the loss. The first: expected " + rule +
                    found +
                    "1, scale 0, cell (1, 0), anchor 2. detloss.check_targets lists them all. This is said once per "
                    "process, and not with invalid_targets=\"silent\".");
    CHECK_BITS_EQUAL(ignored.num_invalid, (std::vector<int32_t>{1, 3}));
    given.options.invalid_targets = InvalidTargets::kSilent;
    const YoloRun<float> silent = RunYoloV3Loss(given, pool);
    CHECK_EQUAL(silent.status.message(), "");
    CHECK_BITS_EQUAL(silent.num_invalid, (std::vector<int32_t>{1, 3}));
  };
  const float nan = static_cast<float>(kNan);
  const std::string finite = "box and objectness finite, objectness from 0 to 1e+06";
  check_named({nan, 0, 0, 0, 0, 0, 0}, false, finite, "nan, 0, 0, 0, 0, 0, 0");
  check_named({0.5f, 0.5f, 0.5f, 0.5f, -1.5f, 0, 1}, false, finite, "0.5, 0.5, 0.5, 0.5, -1.5, 0, 1");
  check_named({0.5f, 0.5f, 0.5f, 0.5f, 1e38f, 0, 1}, false, finite, "0.5, 0.5, 0.5, 0.5, 1e+38, 0, 1");
  check_named({0.5f, 0.5f, 0.5f, HUGE_VALF, 1, 0, 1}, false, finite, "0.5, 0.5, 0.5, inf, 1, 0, 1");
  check_named({0.5f, 0.5f, 0.5f, 0, 1, 0, 1}, false, "width and height above 0", "0.5, 0.5, 0.5, 0, 1, 0, 1");
  const std::string coordinates = "coordinates from -1e+06 to 1e+06";
  check_named({0.5f, 0.5f, 2e6f, 1, 0.25f, 0, 1}, false, coordinates, "0.5, 0.5, 2e+06, 1, 0.25, 0, 1");
  check_named({0.5f, -2e6f, 0.5f, 0.5f, 1, 0, 1}, false, coordinates, "0.5, -2e+06, 0.5, 0.5, 1, 0, 1");
  const std::string classes = "class scores from 0 to 1e+06";
  check_named({0.5f, 0.5f, 0.5f, 0.5f, 1, 0, -1}, false, classes, "0.5, 0.5, 0.5, 0.5, 1, 0, -1");
  check_named({0.5f, 0.5f, 0.5f, 0.5f, 1, nan, 1}, false, classes, "0.5, 0.5, 0.5, 0.5, 1, nan, 1");
  check_named({0.5f, 0.25f, 0.25f, 0.5f, 1, 0}, true, "width and height above 0", "0.5, 0.25, 0.25, 0.5, 1, 0");
  check_named({0.25f, 0.25f, 0.5f, 0.5f, 1, 2}, true, "a class index from 0 to 1", "0.25, 0.25, 0.5, 0.5, 1, 2");
  check_named({0.25f, 0.25f, 0.5f, 0.5f, 1, -1}, true, "a class index from 0 to 1", "0.25, 0.25, 0.5, 0.5, 1, -1");
}

// Elsewhere, invalid labels of other kinds are left out.
TEST(OnlyClassesOutOfRangeAreErrorsOnRequest) {
  ThreadPool pool(2);
  YoloCase<float> given;
  given.options.invalid_targets = InvalidTargets::kClassError;
  given.options.cell.corner_targets = true;
  given.options.anchors.assign(2, 0.5f);
  given.options.strides = {0};
  given.shape = {2, 1, 3, {{30, 30}}};
  given.y_true = {std::vector<float>(2 * 900 * 6, 0)};
  given.y_pred = {std::vector<float>(2 * 900 * 8, 0)};
  given.loss_gradient = {1, 1};
  const auto set = [&](int64_t row, const std::vector<float>& label) {
    std::copy(label.begin(), label.end(), given.y_true[0].begin() + row * 6);
  };
  set(1, {0.5f, 0.25f, 0.25f, 0.5f, 1, 0});   // swapped corners
  set(5, {0.25f, 0.25f, 0.5f, 0.5f, 0, 67});  // no object
  const YoloRun<float> got = RunYoloV3Loss(given, pool);
  CHECK(got.status.ok());
  CHECK_EQUAL(got.status.message().substr(0, 28), "y_true: 1 invalid label(s) o");
  set(900 + 600, {0.25f, 0.25f, 0.5f, 0.5f, 1, 3});
  const std::string rule = "y_true: expected a class index from 0 to 2 (invalid_targets=\"class_error\"), got ";
  CHECK_EQUAL(RunYoloV3Loss(given, pool).status.message(),
              rule + "[0.25, 0.25, 0.5, 0.5, 1, 3] in image 1, scale 0, cell (20, 0), anchor 0");
  set(2, {0.25f, 0.25f, 0.25f, 0.5f, 0.5f, -1});
  CHECK_EQUAL(RunYoloV3Loss(given, pool).status.message(),
              rule + "[0.25, 0.25, 0.25, 0.5, 0.5, -1] in image 0, scale 0, cell (0, 2), anchor 0");
}

// Labels of cells without an object may hold any finite box and any classes.
TEST(BoxesAndClassesOfOtherRowsAreNoError) {
  SerialExecutor serial;
  YoloV3LossOptions options;
  options.invalid_targets = InvalidTargets::kError;
  const float nan = static_cast<float>(kNan);
  const YoloRun<float> got =
      RunYoloV3Loss(SmallCase(options, {-3, 1e38f, 1e38f, 3e38f, 0, nan, nan, 3e38f, 3e38f, -3e38f, 0, -0.0f, nan, -1},
                              {0, 0, 0, 0, 0, nan, nan, 0, 0, 0, 0, 0, nan, nan}),
                    serial);
  CHECK_EQUAL(got.status.message(), "");
  CHECK_BITS_EQUAL(got.num_invalid, (std::vector<int32_t>{0}));
  CHECK_BITS_EQUAL(got.selection[0], (std::vector<uint8_t>{0, 0}));
  CheckFloats(got.loss, {2 * std::log(2.0)});
}

}  // namespace detloss
