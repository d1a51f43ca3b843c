// What the YOLOv3 loss has to agree with plain loops on, wherever it runs.
#ifndef DETLOSS_TESTS_CC_YOLOV3_CHECKS_H_
#define DETLOSS_TESTS_CC_YOLOV3_CHECKS_H_

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "cc/yolov3_loss.h"
#include "tests/cc/check.h"
#include "tests/cc/dtype_values.h"
#include "tests/cc/plain_yolov3_loss.h"
#include "tests/cc/rounding.h"
#include "tests/cc/yolov3_cases.h"

namespace detloss {

template <class T>
PlainYoloV3Loss PlainOf(const YoloCase<T>& given) {
  return ComputePlainYoloV3Loss<T>(given.options, given.shape, given.y_true, given.y_pred, given.loss_gradient);
}

template <class T>
void CheckAgainstPlain(const YoloRun<T>& got, const PlainYoloV3Loss& want) {
  CHECK(got.status.ok());
  if (!got.status.ok()) return;
  CHECK_BITS_EQUAL(got.num_invalid, want.num_invalid);
  CheckTotals<T>(got.loss, want.loss);
  CheckTotals<T>(got.box, want.box);
  CheckTotals<T>(got.xy, want.xy);
  CheckTotals<T>(got.wh, want.wh);
  CheckTotals<T>(got.no_object, want.no_object);
  CheckTotals<T>(got.object, want.object);
  CheckTotals<T>(got.class_term, want.class_term);
  for (size_t scale = 0; scale < want.selection.size(); ++scale) {
    const check::Context context("scale " + check::Show(scale));
    CHECK_BITS_EQUAL(got.selection[scale], want.selection[scale]);
    CheckGradient(got.objectness_gradient[scale], want.objectness_gradient[scale]);
    CheckGradient(got.gradient[scale], want.gradient[scale]);
  }
}

inline std::string Describe(const YoloV3LossOptions& options, const YoloCaseShape& shape, uint64_t seed) {
  const YoloCellOptions& cell = options.cell;
  std::string text = "box_loss " + check::Show(static_cast<int>(cell.box_loss)) + ", overlap " +
                     check::Show(static_cast<int>(cell.overlap)) + ", class_loss " +
                     check::Show(static_cast<int>(cell.class_loss)) + ", class_focal " + check::Show(cell.class_focal) +
                     ", objectness_focal " + check::Show(cell.objectness_focal) + ", corner " +
                     check::Show(cell.corner_targets) + ", smoothing " + check::Show(cell.label_smoothing) +
                     ", thresh " + check::Show(options.ignore.thresh) + ", above " + check::Show(options.ignore.above) +
                     ", " + check::Show(shape.images) + " images, " + check::Show(shape.anchors) + " anchors, " +
                     check::Show(shape.classes) + " classes, scales";
  for (const YoloScaleShape& scale : shape.scales) {
    text += " " + check::Show(scale.height) + "x" + check::Show(scale.width);
  }
  return text + ", nan_predictions " + check::Show(shape.nan_predictions) + ", seed " + check::Show(seed);
}

// `run(given)` against plain loops. Takes the first case from `seed` on whose ignored rows do not depend on rounding.
template <class T, class Run>
void CheckRandomCase(const YoloV3LossOptions& options, const YoloCaseShape& shape, uint64_t seed, const Run& run) {
  const check::Context context(Describe(options, shape, seed));
  constexpr int kAttempts = 50;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const YoloCase<T> given = MakeYoloCase<T>(options, shape, seed * kAttempts + attempt);
    const PlainYoloV3Loss want = PlainOf(given);
    if (!want.is_separated) continue;
    CheckAgainstPlain<T>(run(given), want);
    return;
  }
  CHECK(!"a case whose ignored rows do not depend on rounding");
}

// Choices and numbers that differ from seed to seed.
inline YoloV3LossOptions SomeYoloOptions(uint64_t seed, YoloCaseShape* shape) {
  const std::vector<YoloV3LossOptions> all = AllYoloChoices();
  YoloV3LossOptions options = all[seed * 37 % all.size()];
  shape->whole_classes = options.cell.class_loss == ClassLoss::kNormalizedSigmoid;
  VaryYoloNumbers(seed, *shape, &options);
  return options;
}

// Every option.
template <class Run>
void CheckAllOptions(const Run& run) {
  uint64_t seed = 0;
  for (const YoloV3LossOptions& choices : AllYoloChoices()) {
    for (bool nan_predictions : {false, false, true}) {
      YoloCaseShape shape;
      shape.nan_predictions = nan_predictions;
      shape.whole_classes = choices.cell.class_loss == ClassLoss::kNormalizedSigmoid;
      YoloV3LossOptions options = choices;
      VaryYoloNumbers(++seed, shape, &options);
      ForEachDtype([&](auto zero) { CheckRandomCase<decltype(zero)>(options, shape, seed, run); });
    }
  }
}

// What is lost for an infinite logit is infinite, or nothing.
template <class Run>
void CheckInfiniteLogits(const Run& run) {
  uint64_t seed = 3000;
  for (const YoloV3LossOptions& choices : AllYoloChoices()) {
    YoloCaseShape shape;
    shape.classes = ++seed % 2 == 0 ? 3 : 20;
    shape.infinite_logits = true;
    shape.whole_classes = choices.cell.class_loss == ClassLoss::kNormalizedSigmoid;
    YoloV3LossOptions options = choices;
    VaryYoloNumbers(seed, shape, &options);
    ForEachDtype([&](auto zero) { CheckRandomCase<decltype(zero)>(options, shape, seed, run); });
  }
}

// Class logits that a dtype holds to the last bit stay as far apart when the same is added to all of a row.
template <class Run>
void CheckOffsetsOfClassLogits(const Run& run) {
  for (bool focal : {false, true}) {
    for (int64_t classes : {2, 20}) {
      YoloV3LossOptions options;
      options.cell.class_loss = ClassLoss::kSoftmax;
      options.cell.class_focal = focal;
      options.cell.label_smoothing = 0.125f;
      YoloCaseShape shape;
      shape.classes = classes;
      shape.infinite_logits = true;
      YoloCase<float> given = MakeYoloCase<float>(options, shape, static_cast<uint64_t>(classes));
      const auto for_each_logit = [&](const auto& change) {
        for (std::vector<float>& logits : given.y_pred) {
          for (size_t i = 0; i < logits.size(); ++i) {
            if (static_cast<int64_t>(i) % (5 + classes) >= 5) logits[i] = change(logits[i]);
          }
        }
      };
      for_each_logit([](float x) { return std::isfinite(x) ? std::round(16 * x) / 16 : x; });
      const YoloCase<float> without = given;
      const YoloRun<float> want = run(given);
      for (float offset : {100.0f, -100.0f, 1e4f, 1e6f, -1e6f}) {
        const check::Context context(check::Show(classes) + " classes, offset " + check::Show(offset));
        given = without;
        for_each_logit([&](float x) { return x + offset; });
        CheckSameRun(run(given), want);
      }
    }
  }
}

template <class T>
void CheckNoNan(const YoloRun<T>& got) {
  for (const auto* part : {&got.loss, &got.box, &got.xy, &got.wh, &got.object, &got.no_object, &got.class_term}) {
    for (Compute<T> x : *part) CHECK(!std::isnan(x));
  }
  for (const std::vector<T>& scale : got.gradient) {
    for (T x : scale) CHECK(!std::isnan(ToDouble(x)));
  }
}

// NaN is left to NaN logits: whatever overflows is infinite, and what has no weight is nothing.
template <class Run>
void CheckNoOwnNan(const Run& run) {
  Random random(11);
  const auto any = [&](std::initializer_list<double> values) {
    return values.begin()[random.Below(static_cast<int64_t>(values.size()))];
  };
  uint64_t seed = 4000;
  for (const YoloV3LossOptions& choices : AllYoloChoices()) {
    YoloV3LossOptions options = choices;
    YoloCaseShape shape;
    shape.classes = 1 + random.Below(20);
    shape.objects = 0.4;
    VaryYoloNumbers(++seed, shape, &options);
    const check::Context context(Describe(options, shape, seed));
    ForEachDtype([&](auto zero) {
      using T = decltype(zero);
      YoloCase<T> given = MakeYoloCase<T>(options, shape, seed);
      for (size_t scale = 0; scale < given.y_pred.size(); ++scale) {
        for (T& x : given.y_pred[scale]) {
          x = FromDouble<T>(any({0, random.Normal(), random.Normal(), 20, -20, 110, -110, 3e19, -3e19, 3e38, -3e38,
                                 HUGE_VAL, -HUGE_VAL}));
        }
        for (Compute<T>& x : given.y_true[scale]) {
          if (random.Chance(0.02)) x = static_cast<Compute<T>>(any({0, 1e-40, 1e-10, 0.5, 1, 2, 1e6}));
        }
      }
      for (Compute<T>& x : given.loss_gradient) x = static_cast<Compute<T>>(any({0, 1, -1, 1e-40, 1e30}));
      CheckNoNan(run(given));
    });
  }
}

// What has no weight is not looked at; NaN among the five logits of box and objectness is told by the loss alone.
template <class Run>
void CheckWeightsOfZero(const Run& run) {
  struct Part {
    float YoloCellOptions::* weight;
    std::vector<float> YoloRun<float>::* term;
    int first_column, last_column;
  };
  const Part kParts[] = {{&YoloCellOptions::box_weight, &YoloRun<float>::box, 0, 4},
                         {&YoloCellOptions::object_weight, &YoloRun<float>::object, 4, 5},
                         {&YoloCellOptions::no_object_weight, &YoloRun<float>::no_object, 4, 5},
                         {&YoloCellOptions::class_weight, &YoloRun<float>::class_term, 5, 100}};
  uint64_t seed = 0;
  for (const YoloV3LossOptions& choices : AllYoloChoices()) {
    const Part& part = kParts[++seed % 4];
    YoloV3LossOptions options = choices;
    options.ignore.thresh = 2;  // the boxes' places shall not matter
    options.cell.*part.weight = 0;
    YoloCaseShape shape;
    const check::Context context(Describe(options, shape, seed) + ", weight " + check::Show(seed % 4));
    YoloCase<float> given = MakeYoloCase<float>(options, shape, seed);
    const YoloRun<float> want = run(given);
    for (float x : want.*part.term) CHECK_EQUAL(x, 0.0f);
    if (part.first_column == 4) continue;  // the other weight of the objectness reads it
    const bool is_class = part.first_column == 5;
    for (float far : {3e19f, 3e38f, HUGE_VALF, -HUGE_VALF, std::numeric_limits<float>::quiet_NaN()}) {
      if (std::isnan(far) && !is_class) continue;
      for (std::vector<float>& logits : given.y_pred) {
        for (size_t i = 0; i < logits.size(); ++i) {
          const int column = static_cast<int>(i) % static_cast<int>(5 + shape.classes);
          if (column >= part.first_column && column < part.last_column) logits[i] = far;
        }
      }
      CheckSameRun(run(given), want);
    }
  }
  // Images without a weight.
  for (const YoloV3LossOptions& options : AllYoloChoices()) {
    YoloCase<float> given = MakeYoloCase<float>(options, YoloCaseShape(), ++seed);
    given.loss_gradient.assign(given.loss_gradient.size(), 0);
    Random random(seed);
    for (std::vector<float>& logits : given.y_pred) {
      for (float& x : logits) x = random.Chance(0.5) ? HUGE_VALF : random.Chance(0.5) ? -3e38f : std::nanf("");
    }
    for (const std::vector<float>& slopes : run(given).gradient) {
      for (float slope : slopes) CHECK_EQUAL(slope, 0.0f);
    }
  }
}

template <class Run>
void CheckNumberOfClasses(int64_t classes, const Run& run) {
  YoloCaseShape shape;
  shape.classes = classes;
  shape.scales = {{3, 3}};
  for (uint64_t i = 0; i < 4; ++i) {
    const uint64_t seed = static_cast<uint64_t>(classes) * 4 + i;
    const YoloV3LossOptions options = SomeYoloOptions(seed, &shape);
    ForEachDtype([&](auto zero) { CheckRandomCase<decltype(zero)>(options, shape, seed, run); });
  }
}

// Grids that fill blocks of rows, or do not.
template <class Run>
void CheckAllShapes(const Run& run) {
  const std::vector<std::vector<YoloScaleShape>> grids = {
      {{1, 1}},                      // a single cell
      {{1, 7}},                      //
      {{7, 1}, {1, 2}},              //
      {{16, 32}},                    // 512 rows, a block of the CPU's, with one anchor
      {{19, 27}},                    // one more
      {{7, 73}},                     // one less
      {{0, 3}, {2, 2}},              // nothing on a scale
      {{5, 5}, {10, 10}, {20, 20}},  //
      {{33, 31}},
  };
  uint64_t seed = 1000;
  for (const std::vector<YoloScaleShape>& scales : grids) {
    for (int64_t images : {0, 1, 3}) {
      for (int64_t anchors : {1, 3}) {
        YoloCaseShape shape;
        shape.images = images;
        shape.anchors = anchors;
        shape.classes = 3;
        shape.scales = scales;
        shape.objects = 0.02;
        const YoloV3LossOptions options = SomeYoloOptions(++seed, &shape);
        ForEachDtype([&](auto zero) { CheckRandomCase<decltype(zero)>(options, shape, seed, run); });
      }
    }
  }
}

template <class Run>
void CheckAllSharesOfObjects(const Run& run) {
  uint64_t seed = 2000;
  for (double objects : {0.0, 0.5, 1.0}) {
    for (double invalid : {0.0, 0.5, 1.0}) {
      for (int i = 0; i < 6; ++i) {
        YoloCaseShape shape;
        shape.objects = objects;
        shape.invalid = invalid;
        const YoloV3LossOptions options = SomeYoloOptions(++seed, &shape);
        ForEachDtype([&](auto zero) { CheckRandomCase<decltype(zero)>(options, shape, seed, run); });
      }
    }
  }
}

}  // namespace detloss

#endif  // DETLOSS_TESTS_CC_YOLOV3_CHECKS_H_
