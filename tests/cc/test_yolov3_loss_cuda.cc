// The CUDA kernels, emulated (tests/cc/simt), against plain loops and against the CPU's.
#include <cstdint>
#include <string>
#include <vector>

#include "cc/yolov3_loss.h"
#include "tests/cc/check.h"
#include "tests/cc/dtype_values.h"
#include "tests/cc/yolov3_cases.h"
#include "tests/cc/yolov3_checks.h"

namespace detloss {
namespace {

template <class T>
YoloRun<T> RunOnDevice(const YoloCase<T>& given, int64_t gradient_offset = 0) {
  const GuardedBuffer<char> forward_workspace(
      static_cast<int64_t>(YoloV3LossDeviceWorkspaceBytes<T>(given.options, given.shape)));
  const GuardedBuffer<char> backward_workspace(
      static_cast<int64_t>(YoloV3LossGradDeviceWorkspaceBytes<T>(given.options, given.shape)));
  return RunYoloV3LossBy<T>(
      given, gradient_offset,
      [&](const auto& y_true, const auto& y_pred, const auto& outputs) {
        return YoloV3LossForward<T>(given.options, given.shape, y_true, y_pred, outputs, forward_workspace.data(),
                                    DeviceStream{nullptr});
      },
      [&](const auto& y_true, const auto& y_pred, const auto& residuals, const auto& gradient) {
        return YoloV3LossBackward<T>(given.options, given.shape, given.loss_gradient.data(), y_true, y_pred, residuals,
                                     gradient, backward_workspace.data(), nullptr);
      });
}

// What is selected is the same to the bit, whatever rounding does.
struct RunOnBoth {
  template <class T>
  YoloRun<T> operator()(const YoloCase<T>& given) const {
    SerialExecutor serial;
    const YoloRun<T> device = RunOnDevice(given), host = RunYoloV3Loss(given, serial);
    CHECK_EQUAL(device.selection.size(), host.selection.size());
    for (size_t scale = 0; scale < host.selection.size(); ++scale) {
      CHECK_BITS_EQUAL(device.selection[scale], host.selection[scale]);
    }
    CHECK_BITS_EQUAL(device.num_invalid, host.num_invalid);
    return device;
  }
};

}  // namespace

TEST(AgreesWithPlainLoopsForAllOptions) { CheckAllOptions(RunOnBoth()); }

// Classes are taken sixteen and thirty-two at a time, weights of classes 256 at a time.
TEST(AgreesWithPlainLoopsForAnyNumberOfClasses) {
  for (int64_t classes : {1, 2, 15, 16, 17, 31, 32, 33, 64, 80, 81, 256, 300}) {
    CheckNumberOfClasses(classes, RunOnBoth());
  }
}

TEST(AgreesWithPlainLoopsForAnyShape) { CheckAllShapes(RunOnBoth()); }

TEST(AgreesWithPlainLoopsForAnyShareOfObjects) { CheckAllSharesOfObjects(RunOnBoth()); }

TEST(AgreesWithPlainLoopsForInfiniteLogits) { CheckInfiniteLogits(RunOnBoth()); }

TEST(BitsDoNotDependOnTheOffsetOfClassLogits) { CheckOffsetsOfClassLogits(RunOnBoth()); }

TEST(NanIsLeftToNanLogits) { CheckNoOwnNan(RunOnBoth()); }

TEST(WhatHasNoWeightIsNotLookedAt) { CheckWeightsOfZero(RunOnBoth()); }

// True boxes are taken 256 at a time, from as many blocks of rows at a time.
TEST(AgreesWithTheCpuForManyTrueBoxes) {
  for (IgnoreScope scope : {IgnoreScope::kScale, IgnoreScope::kImage}) {
    YoloCaseShape shape;
    shape.images = 1;
    shape.anchors = 3;
    shape.classes = 1;
    shape.scales = {{4, 4}, {152, 152}};  // 271 blocks
    shape.objects = 0.02;
    YoloV3LossOptions options;
    options.ignore_scope = scope;
    options.ignore.thresh = 0.6f;
    VaryYoloNumbers(2, shape, &options);
    const YoloCase<float> given = MakeYoloCase<float>(options, shape, 4);
    RunOnBoth()(given);
  }
}

TEST(AGradientThatBeginsAnywhereHasTheSameBits) {
  YoloCaseShape shape;
  shape.scales = {{13, 13}, {5, 7}};
  const YoloV3LossOptions options = SomeYoloOptions(3, &shape);
  ForEachDtype([&](auto zero) {
    const auto given = MakeYoloCase<decltype(zero)>(options, shape, 3);
    CheckSameRun(RunOnDevice(given), RunOnDevice(given, 1));
  });
}

// The emulation runs blocks in another order every time.
TEST(BitsDoNotDependOnTheOrderOfBlocks) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    YoloCaseShape shape;
    shape.scales = {{13, 13}, {26, 26}};
    shape.objects = 0.02;
    const YoloV3LossOptions options = SomeYoloOptions(seed * 11, &shape);
    ForEachDtype([&](auto zero) {
      const auto given = MakeYoloCase<decltype(zero)>(options, shape, seed);
      const auto want = RunOnDevice(given);
      for (int i = 0; i < 3; ++i) CheckSameRun(RunOnDevice(given), want);
    });
  }
}

TEST(WhatADeviceDoesNotTakeIsRefused) {
  YoloCaseShape shape;
  YoloV3LossOptions options = SomeYoloOptions(1, &shape);
  options.invalid_targets = InvalidTargets::kError;
  CHECK_EQUAL(RunOnDevice(MakeYoloCase<float>(options, shape, 1)).status.message(),
              "invalid_targets: expected \"ignore\" on a GPU, got \"error\"; detloss.check_targets checks labels "
              "beforehand");
  shape = {};
  shape.anchors = 33;
  shape.scales = {{1, 1}, {2, 2}};
  CHECK_EQUAL(RunOnDevice(MakeYoloCase<float>({}, shape, 1)).status.message(),
              "anchors: expected at most 8 scales and 64 anchors in all on a GPU, got 2 scales of 33");
}

}  // namespace detloss
