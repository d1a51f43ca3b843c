// What the YOLOv3 loss has to agree with plain loops on, wherever it runs.
#ifndef DETLOSS_TESTS_CC_YOLOV3_CHECKS_H_
#define DETLOSS_TESTS_CC_YOLOV3_CHECKS_H_

#include <cstdint>
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
