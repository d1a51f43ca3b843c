// Boxes for the ignore mask: random ones, and some whose masks are known.
#ifndef DETLOSS_TESTS_CC_YOLO_IGNORE_MASK_CASES_H_
#define DETLOSS_TESTS_CC_YOLO_IGNORE_MASK_CASES_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "cc/yolo_ignore_mask.h"
#include "tests/cc/check.h"
#include "tests/cc/dtype_values.h"
#include "tests/cc/guarded_buffer.h"
#include "tests/cc/random.h"

namespace detloss {

template <class T>
struct MaskCase {
  IgnoreOptions options;
  IgnoreMaskShape shape;
  std::vector<T> boxes;                // [images, boxes, 4]
  std::vector<Compute<T>> true_boxes;  // [images, true_boxes, 4]
};

template <class T>
struct MaskRun {
  Status status;
  std::vector<uint8_t> mask;
};

// `call(mask)` is to fill the mask.
template <class T, class F>
MaskRun<T> RunMaskBy(const MaskCase<T>& given, const F& call) {
  const GuardedBuffer<bool> mask(given.shape.images * given.shape.boxes, 3);
  const Status status = call(mask.data());
  MaskRun<T> run = {status, {}};
  if (!status.ok()) return run;
  for (int64_t i = 0; i < given.shape.images * given.shape.boxes; ++i) run.mask.push_back(mask.data()[i]);
  return run;
}

template <class T>
MaskRun<T> RunMask(const MaskCase<T>& given, Executor& executor) {
  const GuardedBuffer<char> workspace(static_cast<int64_t>(YoloIgnoreMaskWorkspaceBytes<T>(given.shape)));
  return RunMaskBy(given, [&](bool* mask) {
    return YoloIgnoreMask<T>(given.options, given.shape, given.boxes.data(), given.true_boxes.data(), mask,
                             workspace.data(), executor);
  });
}

// Sides are multiples of 1/64, which every dtype holds; then products and sums are exact, too.
inline double Side(Random* random, int64_t low, int64_t high) {
  return static_cast<double>(low + random->Below(high - low)) / 64;
}

// Some boxes are not finite, some true boxes are padding.
template <class T>
MaskCase<T> MakeMaskCase(const IgnoreOptions& options, const IgnoreMaskShape& shape, uint64_t seed) {
  MaskCase<T> made = {options, shape, {}, {}};
  Random random(seed);
  const auto draw = [&](double* box, bool is_true) {
    for (int i = 0; i < 2; ++i) box[i] = Side(&random, 0, 65);
    for (int i = 2; i < 4; ++i) box[i] = 2 * Side(&random, 1, 24);
    if (!random.Chance(0.1)) return;
    constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
    constexpr double kBad[] = {kNan, HUGE_VAL, -HUGE_VAL};
    if (is_true && random.Chance(0.5)) {
      box[2 + random.Below(2)] = random.Chance(0.5) ? 0 : -0.5;
    } else {
      box[random.Below(4)] = is_true ? kBad[random.Below(3)] : kNan;
    }
  };
  double box[4];
  for (int64_t i = 0; i < shape.images * shape.boxes; ++i) {
    draw(box, false);
    for (double x : box) made.boxes.push_back(FromDouble<T>(x));
  }
  for (int64_t i = 0; i < shape.images * shape.true_boxes; ++i) {
    draw(box, true);
    for (double x : box) made.true_boxes.push_back(static_cast<Compute<T>>(x));
  }
  return made;
}

inline std::string Describe(const IgnoreOptions& options, const IgnoreMaskShape& shape) {
  return "thresh " + check::Show(options.thresh) + ", above " + check::Show(options.above) + ", " +
         check::Show(shape.images) + " images of " + check::Show(shape.boxes) + " boxes and " +
         check::Show(shape.true_boxes) + " true boxes";
}

// Calls `test(options, shape, seed)`. The CPU takes boxes 512 at a time, in vectors of up to sixteen.
template <class F>
void ForEachMaskShape(const F& test) {
  uint64_t seed = 0;
  for (int64_t images : {0, 1, 3}) {
    for (int64_t boxes : {0, 1, 15, 16, 17, 511, 512, 513, 1030}) {
      for (int64_t true_boxes : {0, 1, 2, 9}) {
        for (float thresh : {0.5f, 0.3f, 0.0f, 0.75f, 1.0f, 2.0f}) {
          for (bool above : {false, true}) {
            test(IgnoreOptions{thresh, above}, IgnoreMaskShape{images, boxes, true_boxes}, ++seed);
          }
        }
      }
    }
  }
}

inline MaskCase<float> SmallCase(const IgnoreOptions& options, std::vector<float> boxes,
                                 std::vector<float> true_boxes) {
  const int64_t count = static_cast<int64_t>(boxes.size()) / 4,
                true_count = static_cast<int64_t>(true_boxes.size()) / 4;
  return {options, {1, count, true_count}, std::move(boxes), std::move(true_boxes)};
}

struct KnownMask {
  MaskCase<float> given;
  std::vector<uint8_t> mask;
};

// The threshold itself is ignored unless only what is above is.
inline std::vector<KnownMask> MasksAtThresholds() {
  // Overlaps of 1/3, exactly 1/2, 1.
  const std::vector<float> boxes = {0.5f, 0.5f, 0.5f, 0.5f, 0.25f, 0.5f, 0.25f, 0.5f, 0.25f, 0.5f, 0.5f, 0.5f};
  const std::vector<float> truth = {0.25f, 0.5f, 0.5f, 0.5f};
  const auto known = [&](float thresh, bool above, std::vector<uint8_t> mask) {
    return KnownMask{SmallCase({thresh, above}, boxes, truth), std::move(mask)};
  };
  return {
      known(0.5f, false, {0, 1, 1}),
      known(0.5f, true, {0, 0, 1}),
      known(std::nextafter(0.5f, 0.0f), true, {0, 1, 1}),
      known(std::nextafter(0.5f, 1.0f), false, {0, 0, 1}),
      known(1.0f / 3, false, {1, 1, 1}),
      known(1, false, {0, 0, 1}),
      known(1, true, {0, 0, 0}),
      known(0, true, {1, 1, 1}),
  };
}

// Padding and NaN reach nothing.
inline std::vector<KnownMask> MasksOfPaddingAndNan() {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = HUGE_VALF;
  const std::vector<float> box = {0.5f, 0.5f, 0.5f, 0.5f};
  std::vector<KnownMask> masks;
  for (bool above : {false, true}) {
    for (const std::vector<float>& padding : std::vector<std::vector<float>>{{0, 0, 0, 0},
                                                                             {0.5f, 0.5f, 0.5f, 0},
                                                                             {0.5f, 0.5f, -0.5f, 0.5f},
                                                                             {0.5f, 0.5f, nan, 0.5f},
                                                                             {nan, 0.5f, 0.5f, 0.5f},
                                                                             {0.5f, 0.5f, 0.5f, infinity},
                                                                             {0.5f, -infinity, 0.5f, 0.5f}}) {
      masks.push_back({SmallCase({0, above}, box, padding), {0}});
    }
    for (size_t column = 0; column < 4; ++column) {
      std::vector<float> spoilt = box;
      spoilt[column] = nan;
      masks.push_back({SmallCase({0, above}, spoilt, box), {0}});
    }
    // No true box.
    masks.push_back({SmallCase({0, above}, box, {}), {0}});
  }
  return masks;
}

// Random pairs at the threshold of their overlap and beside it, where the quotient decides.
inline std::vector<KnownMask> MasksBesideThresholds() {
  Random random(3);
  std::vector<KnownMask> masks;
  for (int i = 0; i < 2000; ++i) {
    std::vector<float> box, truth;
    for (int k = 0; k < 4; ++k) {
      box.push_back(static_cast<float>(k < 2 ? Side(&random, 24, 40) : Side(&random, 16, 48)));
      truth.push_back(static_cast<float>(k < 2 ? Side(&random, 24, 40) : Side(&random, 16, 48)));
    }
    double shared = 1;
    for (int axis = 0; axis < 2; ++axis) {
      shared *= std::max(0.0f, std::min(box[axis] + box[2 + axis] / 2, truth[axis] + truth[2 + axis] / 2) -
                                   std::max(box[axis] - box[2 + axis] / 2, truth[axis] - truth[2 + axis] / 2));
    }
    if (shared == 0) continue;
    const float iou = static_cast<float>(shared) / (box[2] * box[3] + truth[2] * truth[3] - static_cast<float>(shared));
    masks.push_back({SmallCase({iou, false}, box, truth), {1}});
    masks.push_back({SmallCase({iou, true}, box, truth), {0}});
    masks.push_back({SmallCase({std::nextafter(iou, 2.0f), false}, box, truth), {0}});
    masks.push_back({SmallCase({std::nextafter(iou, 0.0f), true}, box, truth), {1}});
  }
  return masks;
}

// `run(given)` answers a MaskRun.
template <class F>
void CheckKnownMasks(const std::vector<KnownMask>& masks, const F& run) {
  for (size_t i = 0; i < masks.size(); ++i) {
    const check::Context context("case " + check::Show(i) + ", thresh " + check::Show(masks[i].given.options.thresh) +
                                 ", above " + check::Show(masks[i].given.options.above));
    CHECK_BITS_EQUAL(run(masks[i].given).mask, masks[i].mask);
  }
}

template <class F>
void CheckWrongThresholdsAreRefused(const F& run) {
  const std::string message = "ignore_thresh: expected a finite number of at least 0, got ";
  const auto refusal = [&](float thresh) {
    return run(SmallCase({thresh, false}, {0, 0, 1, 1}, {0, 0, 1, 1})).status.message();
  };
  CHECK_EQUAL(refusal(-0.5f), message + "-0.5");
  CHECK_EQUAL(refusal(HUGE_VALF), message + "inf");
  CHECK_EQUAL(refusal(std::numeric_limits<float>::quiet_NaN()), message + "nan");
  CHECK_EQUAL(refusal(0), "");
}

}  // namespace detloss

#endif  // DETLOSS_TESTS_CC_YOLO_IGNORE_MASK_CASES_H_
