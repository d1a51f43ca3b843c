#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "cc/thread_pool.h"
#include "cc/yolo_ignore_mask.h"
#include "tests/cc/check.h"
#include "tests/cc/dtype_values.h"
#include "tests/cc/guarded_buffer.h"
#include "tests/cc/random.h"

namespace detloss {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

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

template <class T>
MaskRun<T> RunMask(const MaskCase<T>& given, Executor& executor) {
  const GuardedBuffer<bool> mask(given.shape.images * given.shape.boxes, 3);
  const GuardedBuffer<char> workspace(static_cast<int64_t>(YoloIgnoreMaskWorkspaceBytes<T>(given.shape)));
  const Status status = YoloIgnoreMask<T>(given.options, given.shape, given.boxes.data(), given.true_boxes.data(),
                                          mask.data(), workspace.data(), executor);
  MaskRun<T> run = {status, {}};
  if (!status.ok()) return run;
  for (int64_t i = 0; i < given.shape.images * given.shape.boxes; ++i) run.mask.push_back(mask.data()[i]);
  return run;
}

// Sides are multiples of 1/64, which every dtype holds; then products and sums are exact, too.
double Side(Random* random, int64_t low, int64_t high) {
  return static_cast<double>(low + random->Below(high - low)) / 64;
}

template <class T>
MaskCase<T> MakeCase(const IgnoreOptions& options, const IgnoreMaskShape& shape, uint64_t seed) {
  MaskCase<T> made = {options, shape, {}, {}};
  Random random(seed);
  const auto draw = [&](double* box, bool is_true) {
    for (int i = 0; i < 2; ++i) box[i] = Side(&random, 0, 65);
    for (int i = 2; i < 4; ++i) box[i] = 2 * Side(&random, 1, 24);
    if (!random.Chance(0.1)) return;
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

// Areas are exact, so that only the division rounds, in the type that is computed in.
template <class T>
std::vector<uint8_t> PlainMask(const MaskCase<T>& given) {
  using L = Compute<T>;
  std::vector<uint8_t> mask;
  for (int64_t i = 0; i < given.shape.images * given.shape.boxes; ++i) {
    double box[4];
    for (int k = 0; k < 4; ++k) box[k] = ToDouble(given.boxes[4 * i + k]);
    bool ignored = false;
    const int64_t image = i / given.shape.boxes;
    for (int64_t j = image * given.shape.true_boxes; j < (image + 1) * given.shape.true_boxes; ++j) {
      const L* truth = given.true_boxes.data() + 4 * j;
      bool counts = truth[2] > 0 && truth[3] > 0;
      double shared = 1;
      for (int axis = 0; axis < 2; ++axis) {
        counts = counts && std::isfinite(truth[axis]) && std::isfinite(truth[2 + axis]);
        counts = counts && !std::isnan(box[axis]) && !std::isnan(box[2 + axis]);
        const double end =
            std::min(box[axis] + box[2 + axis] / 2, static_cast<double>(truth[axis]) + truth[2 + axis] / 2);
        const double begin =
            std::max(box[axis] - box[2 + axis] / 2, static_cast<double>(truth[axis]) - truth[2 + axis] / 2);
        shared *= std::max(0.0, end - begin);
      }
      if (!counts) continue;
      const double areas = box[2] * box[3] + static_cast<double>(truth[2]) * truth[3];
      const L iou = static_cast<L>(shared) / static_cast<L>(areas - shared);
      ignored |= given.options.above ? iou > given.options.thresh : iou >= given.options.thresh;
    }
    mask.push_back(ignored);
  }
  return mask;
}

template <class T>
void CheckCase(const IgnoreOptions& options, const IgnoreMaskShape& shape, uint64_t seed, Executor& executor) {
  const check::Context context("thresh " + check::Show(options.thresh) + ", above " + check::Show(options.above) +
                               ", " + check::Show(shape.images) + " images of " + check::Show(shape.boxes) +
                               " boxes and " + check::Show(shape.true_boxes) + " true boxes");
  const MaskCase<T> given = MakeCase<T>(options, shape, seed);
  const MaskRun<T> got = RunMask(given, executor);
  CHECK_EQUAL(got.status.message(), "");
  CHECK_BITS_EQUAL(got.mask, PlainMask(given));
}

MaskCase<float> SmallCase(const IgnoreOptions& options, std::vector<float> boxes, std::vector<float> true_boxes) {
  const int64_t count = static_cast<int64_t>(boxes.size()) / 4,
                true_count = static_cast<int64_t>(true_boxes.size()) / 4;
  return {options, {1, count, true_count}, std::move(boxes), std::move(true_boxes)};
}

}  // namespace

// Boxes are taken 512 at a time, in vectors of up to sixteen.
TEST(TheMaskAgreesWithPlainLoops) {
  SerialExecutor serial;
  uint64_t seed = 0;
  for (int64_t images : {0, 1, 3}) {
    for (int64_t boxes : {0, 1, 15, 16, 17, 511, 512, 513, 1030}) {
      for (int64_t true_boxes : {0, 1, 2, 9}) {
        for (float thresh : {0.5f, 0.3f, 0.0f, 0.75f, 1.0f, 2.0f}) {
          for (bool above : {false, true}) {
            ++seed;
            ForEachDtype([&](auto zero) {
              CheckCase<decltype(zero)>({thresh, above}, {images, boxes, true_boxes}, seed, serial);
            });
          }
        }
      }
    }
  }
}

TEST(TheMaskDoesNotDependOnThreads) {
  for (int threads : {1, 2, 7}) {
    const check::Context context(check::Show(threads) + " threads");
    ThreadPool pool(threads);
    ForEachDtype([&](auto zero) { CheckCase<decltype(zero)>({}, {5, 3000, 20}, 7, pool); });
  }
}

TEST(TheThresholdItselfIsIgnoredUnlessOnlyAboveIs) {
  SerialExecutor serial;
  // Overlaps of 1/3, exactly 1/2, 1.
  const std::vector<float> boxes = {0.5f, 0.5f, 0.5f, 0.5f, 0.25f, 0.5f, 0.25f, 0.5f, 0.25f, 0.5f, 0.5f, 0.5f};
  const std::vector<float> truth = {0.25f, 0.5f, 0.5f, 0.5f};
  const auto mask = [&](float thresh, bool above) {
    return RunMask(SmallCase({thresh, above}, boxes, truth), serial).mask;
  };
  CHECK_BITS_EQUAL(mask(0.5f, false), (std::vector<uint8_t>{0, 1, 1}));
  CHECK_BITS_EQUAL(mask(0.5f, true), (std::vector<uint8_t>{0, 0, 1}));
  CHECK_BITS_EQUAL(mask(std::nextafter(0.5f, 0.0f), true), (std::vector<uint8_t>{0, 1, 1}));
  CHECK_BITS_EQUAL(mask(std::nextafter(0.5f, 1.0f), false), (std::vector<uint8_t>{0, 0, 1}));
  CHECK_BITS_EQUAL(mask(1.0f / 3, false), (std::vector<uint8_t>{1, 1, 1}));
  CHECK_BITS_EQUAL(mask(1, false), (std::vector<uint8_t>{0, 0, 1}));
  CHECK_BITS_EQUAL(mask(1, true), (std::vector<uint8_t>{0, 0, 0}));
  CHECK_BITS_EQUAL(mask(0, true), (std::vector<uint8_t>{1, 1, 1}));
}

TEST(PaddingAndNanReachNothing) {
  SerialExecutor serial;
  const float nan = static_cast<float>(kNan), infinity = HUGE_VALF;
  const std::vector<float> box = {0.5f, 0.5f, 0.5f, 0.5f};
  for (bool above : {false, true}) {
    for (const std::vector<float>& padding : std::vector<std::vector<float>>{{0, 0, 0, 0},
                                                                             {0.5f, 0.5f, 0.5f, 0},
                                                                             {0.5f, 0.5f, -0.5f, 0.5f},
                                                                             {0.5f, 0.5f, nan, 0.5f},
                                                                             {nan, 0.5f, 0.5f, 0.5f},
                                                                             {0.5f, 0.5f, 0.5f, infinity},
                                                                             {0.5f, -infinity, 0.5f, 0.5f}}) {
      CHECK_BITS_EQUAL(RunMask(SmallCase({0, above}, box, padding), serial).mask, (std::vector<uint8_t>{0}));
    }
    for (size_t column = 0; column < 4; ++column) {
      std::vector<float> spoilt = box;
      spoilt[column] = nan;
      CHECK_BITS_EQUAL(RunMask(SmallCase({0, above}, spoilt, box), serial).mask, (std::vector<uint8_t>{0}));
    }
    // No true box.
    CHECK_BITS_EQUAL(RunMask(SmallCase({0, above}, box, {}), serial).mask, (std::vector<uint8_t>{0}));
  }
}

// The test without a division lets nothing pass that a division decides.
TEST(ThresholdsBesideAnOverlapAreDecidedByTheQuotient) {
  Random random(3);
  SerialExecutor serial;
  for (int i = 0; i < 2000; ++i) {
    std::vector<float> box, truth;
    for (int k = 0; k < 4; ++k) {
      box.push_back(static_cast<float>(k < 2 ? Side(&random, 24, 40) : Side(&random, 16, 48)));
      truth.push_back(static_cast<float>(k < 2 ? Side(&random, 24, 40) : Side(&random, 16, 48)));
    }
    MaskCase<float> given = SmallCase({}, box, truth);
    double shared = 1;
    for (int axis = 0; axis < 2; ++axis) {
      shared *= std::max(0.0f, std::min(box[axis] + box[2 + axis] / 2, truth[axis] + truth[2 + axis] / 2) -
                                   std::max(box[axis] - box[2 + axis] / 2, truth[axis] - truth[2 + axis] / 2));
    }
    if (shared == 0) continue;
    const float iou = static_cast<float>(shared) / (box[2] * box[3] + truth[2] * truth[3] - static_cast<float>(shared));
    const auto is_ignored = [&](float thresh, bool above) {
      given.options = {thresh, above};
      return RunMask(given, serial).mask[0] != 0;
    };
    CHECK(is_ignored(iou, false));
    CHECK(!is_ignored(iou, true));
    CHECK(!is_ignored(std::nextafter(iou, 2.0f), false));
    CHECK(is_ignored(std::nextafter(iou, 0.0f), true));
  }
}

TEST(WrongThresholdsAreRefused) {
  SerialExecutor serial;
  const std::string message = "ignore_thresh: expected a finite number of at least 0, got ";
  const auto refusal = [&](float thresh) {
    return RunMask(SmallCase({thresh, false}, {0, 0, 1, 1}, {0, 0, 1, 1}), serial).status.message();
  };
  CHECK_EQUAL(refusal(-0.5f), message + "-0.500000");
  CHECK_EQUAL(refusal(HUGE_VALF), message + "inf");
  CHECK_EQUAL(refusal(static_cast<float>(kNan)), message + "nan");
  CHECK_EQUAL(refusal(0), "");
}

}  // namespace detloss
