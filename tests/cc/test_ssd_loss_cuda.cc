// The CUDA kernels, emulated (tests/cc/simt), against plain loops and against the CPU's.
#include <cstdint>
#include <string>
#include <vector>

#include "cc/ssd_loss.h"
#include "tests/cc/check.h"
#include "tests/cc/dtype_values.h"
#include "tests/cc/ssd_cases.h"
#include "tests/cc/ssd_checks.h"

namespace detloss {
namespace {

template <class T>
SsdRun<T> RunOnDevice(const SsdCase<T>& given, int64_t gradient_offset = 0) {
  const GuardedBuffer<char> workspace(static_cast<int64_t>(SsdLossDeviceWorkspaceBytes<T>(given.options, given.shape)));
  return RunSsdLossBy<T>(
      given.shape, gradient_offset,
      [&](const auto& outputs) {
        return SsdLossForward<T>(given.options, given.shape, given.y_true.data(), given.y_pred.data(), outputs,
                                 workspace.data(), nullptr);
      },
      [&](const auto& residuals, T* gradient) {
        return SsdLossBackward<T>(given.options, given.shape, given.loss_gradient.data(), given.y_true.data(),
                                  given.y_pred.data(), residuals, gradient, nullptr);
      });
}

// What is selected is the same to the bit, whatever rounding does.
struct RunOnBoth {
  template <class T>
  SsdRun<T> operator()(const SsdCase<T>& given) const {
    SerialExecutor serial;
    const SsdRun<T> device = RunOnDevice(given), host = RunSsdLoss(given, serial);
    CHECK_BITS_EQUAL(device.selection, host.selection);
    CHECK_BITS_EQUAL(device.n_kept, host.n_kept);
    CHECK_BITS_EQUAL(device.num_invalid, host.num_invalid);
    return device;
  }
};

}  // namespace

TEST(AgreesWithPlainLoopsForAllOptions) { CheckAllOptions(RunOnBoth()); }

// Classes are taken sixteen and thirty-two at a time.
TEST(AgreesWithPlainLoopsForAnyNumberOfClasses) {
  for (int64_t classes : {2, 3, 15, 16, 17, 21, 31, 32, 33, 48, 64, 81, 100})
    CheckNumberOfClasses(classes, RunOnBoth());
}

// Boxes are taken 256 at a time by the loss, 128 by its gradient, 1024 by mining.
TEST(AgreesWithPlainLoopsForAnyNumberOfBoxes) {
  for (int64_t images : {0, 1, 3}) {
    for (int64_t boxes : {0, 1, 7, 31, 33, 128, 255, 257, 1025, 8732}) CheckNumberOfBoxes(images, boxes, RunOnBoth());
  }
}

TEST(AgreesWithPlainLoopsForInfiniteLogits) { CheckInfiniteLogits(RunOnBoth()); }

TEST(BitsDoNotDependOnTheOffsetOfLogits) { CheckOffsetsOfLogits(RunOnBoth()); }

TEST(NanIsLeftToNanPredictions) { CheckNoOwnNan(RunOnBoth()); }

TEST(WhatHasNoWeightIsNotLookedAt) { CheckWeightsOfZero(RunOnBoth()); }

// More images than a block has threads.
TEST(AgreesWithPlainLoopsForManyImagesOfFewBoxes) {
  for (MiningScope scope : kAllScopes) {
    SsdLossOptions options;
    options.mining.scope = scope;
    SsdCaseShape shape;
    shape.images = 300;
    shape.boxes = 3;
    CheckRandomCase<float>(options, LayoutsOf(5)[1], shape, 1, RunOnBoth());
  }
}

TEST(AGradientThatBeginsAnywhereHasTheSameBits) {
  const SsdLossOptions options;
  SsdCaseShape shape;
  shape.boxes = 333;
  ForEachDtype([&](auto zero) {
    const auto given = MakeSsdCase<decltype(zero)>(options, LayoutsOf(5)[2], shape, 3);
    CheckSameRun(RunOnDevice(given), RunOnDevice(given, 1));
  });
}

// The emulation runs blocks in another order every time.
TEST(BitsDoNotDependOnTheOrderOfBlocks) {
  for (MiningScope scope : kAllScopes) {
    SsdLossOptions options;
    options.mining.scope = scope;
    options.from_logits = scope == MiningScope::kImage;
    SsdCaseShape shape;
    shape.boxes = 3000;
    ForEachDtype([&](auto zero) {
      const auto given = MakeSsdCase<decltype(zero)>(options, LayoutsOf(5)[0], shape, 11);
      const auto want = RunOnDevice(given);
      for (int i = 0; i < 3; ++i) CheckSameRun(RunOnDevice(given), want);
    });
  }
}

TEST(ErrorsOnInvalidTargetsAreRefused) {
  SsdLossOptions options;
  options.invalid_targets = InvalidTargets::kError;
  const SsdCase<float> given = MakeSsdCase<float>(options, LayoutsOf(5)[0], {}, 1);
  CHECK_EQUAL(RunOnDevice(given).status.message(),
              "invalid_targets: expected \"ignore\" on a GPU, got \"error\"; detloss.check_targets checks labels "
              "beforehand");
}

}  // namespace detloss
