// The CUDA kernel, emulated (tests/cc/simt), against the CPU's.
#include <cstdint>

#include "cc/yolo_ignore_mask.h"
#include "tests/cc/check.h"
#include "tests/cc/dtype_values.h"
#include "tests/cc/random.h"
#include "tests/cc/yolo_ignore_mask_cases.h"

namespace detloss {
namespace {

template <class T>
MaskRun<T> RunOnDevice(const MaskCase<T>& given) {
  return RunMaskBy(given, [&](bool* mask) {
    return YoloIgnoreMask<T>(given.options, given.shape, given.boxes.data(), given.true_boxes.data(), mask, nullptr);
  });
}

template <class T>
void CheckCase(const IgnoreOptions& options, const IgnoreMaskShape& shape, uint64_t seed) {
  const check::Context context(Describe(options, shape));
  SerialExecutor serial;
  const MaskCase<T> given = MakeMaskCase<T>(options, shape, seed);
  const MaskRun<T> got = RunOnDevice(given);
  CHECK_EQUAL(got.status.message(), "");
  CHECK_BITS_EQUAL(got.mask, RunMask(given, serial).mask);
}

}  // namespace

TEST(TheMaskIsTheCpus) {
  ForEachMaskShape([&](const IgnoreOptions& options, const IgnoreMaskShape& shape, uint64_t seed) {
    ForEachDtype([&](auto zero) { CheckCase<decltype(zero)>(options, shape, seed); });
  });
}

// The kernel takes boxes and true boxes 256 at a time.
TEST(TheMaskIsTheCpusWhereTrueBoxesFillBlocks) {
  for (int64_t boxes : {1, 255, 256, 257, 700}) {
    for (int64_t true_boxes : {255, 256, 257, 700}) {
      ForEachDtype([&](auto zero) { CheckCase<decltype(zero)>({0.7f}, {2, boxes, true_boxes}, boxes + true_boxes); });
    }
  }
}

TEST(TheMaskIsTheCpusForRandomShapes) {
  Random random(5);
  for (int i = 0; i < 100; ++i) {
    const IgnoreOptions options = {static_cast<float>(random.Uniform()), random.Chance(0.5)};
    const IgnoreMaskShape shape = {random.Below(4), random.Below(3000), random.Below(40)};
    ForEachDtype([&](auto zero) { CheckCase<decltype(zero)>(options, shape, random.Next()); });
  }
}

TEST(TheThresholdItselfIsIgnoredUnlessOnlyAboveIs) { CheckKnownMasks(MasksAtThresholds(), RunOnDevice<float>); }

TEST(PaddingAndNanReachNothing) { CheckKnownMasks(MasksOfPaddingAndNan(), RunOnDevice<float>); }

TEST(ThresholdsBesideAnOverlapAreDecidedByTheQuotient) { CheckKnownMasks(MasksBesideThresholds(), RunOnDevice<float>); }

TEST(WrongThresholdsAreRefused) { CheckWrongThresholdsAreRefused(RunOnDevice<float>); }

}  // namespace detloss
