#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "cc/thread_pool.h"
#include "cc/yolo_ignore_mask.h"
#include "tests/cc/check.h"
#include "tests/cc/dtype_values.h"
#include "tests/cc/yolo_ignore_mask_cases.h"

namespace detloss {
namespace {

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
  const check::Context context(Describe(options, shape));
  const MaskCase<T> given = MakeMaskCase<T>(options, shape, seed);
  const MaskRun<T> got = RunMask(given, executor);
  CHECK_EQUAL(got.status.message(), "");
  CHECK_BITS_EQUAL(got.mask, PlainMask(given));
}

MaskRun<float> RunSerially(const MaskCase<float>& given) {
  SerialExecutor serial;
  return RunMask(given, serial);
}

}  // namespace

TEST(TheMaskAgreesWithPlainLoops) {
  SerialExecutor serial;
  ForEachMaskShape([&](const IgnoreOptions& options, const IgnoreMaskShape& shape, uint64_t seed) {
    ForEachDtype([&](auto zero) { CheckCase<decltype(zero)>(options, shape, seed, serial); });
  });
}

TEST(TheMaskDoesNotDependOnThreads) {
  for (int threads : {1, 2, 7}) {
    const check::Context context(check::Show(threads) + " threads");
    ThreadPool pool(threads);
    ForEachDtype([&](auto zero) { CheckCase<decltype(zero)>({}, {5, 3000, 20}, 7, pool); });
  }
}

TEST(TheThresholdItselfIsIgnoredUnlessOnlyAboveIs) { CheckKnownMasks(MasksAtThresholds(), RunSerially); }

TEST(PaddingAndNanReachNothing) { CheckKnownMasks(MasksOfPaddingAndNan(), RunSerially); }

// The test without a division lets nothing pass that a division decides.
TEST(ThresholdsBesideAnOverlapAreDecidedByTheQuotient) { CheckKnownMasks(MasksBesideThresholds(), RunSerially); }

TEST(WrongThresholdsAreRefused) { CheckWrongThresholdsAreRefused(RunSerially); }

}  // namespace detloss
