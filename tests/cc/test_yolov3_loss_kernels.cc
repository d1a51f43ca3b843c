#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "cc/yolov3_loss_kernels.h"
#include "tests/cc/check.h"
#include "tests/cc/dtype_values.h"
#include "tests/cc/guarded_buffer.h"
#include "tests/cc/yolov3_cases.h"

namespace detloss {
namespace {

const YoloV3LossKernels<float>& KernelsOf(CpuTier tier, float) { return DETLOSS_PICK_PER_TIER(tier, kYoloV3LossFloat); }
const YoloV3LossKernels<double>& KernelsOf(CpuTier tier, double) {
  return DETLOSS_PICK_PER_TIER(tier, kYoloV3LossDouble);
}
const YoloV3LossKernels<Half>& KernelsOf(CpuTier tier, Half) { return DETLOSS_PICK_PER_TIER(tier, kYoloV3LossHalf); }
const YoloV3LossKernels<BFloat16>& KernelsOf(CpuTier tier, BFloat16) {
  return DETLOSS_PICK_PER_TIER(tier, kYoloV3LossBFloat16);
}

// Everything that the kernels of one tier write for one image of one scale of at most a block's rows.
template <class T>
struct KernelResults {
  YoloBlockSums collected, sums;
  std::vector<Compute<T>> boxes;  // [num_boxes, 4]
  std::vector<uint8_t> selection;
  std::vector<Compute<T>> objectness_gradient;
  std::vector<T> gradient, streamed;
};

template <class T>
KernelResults<T> RunKernels(CpuTier tier, const YoloCase<T>& given) {
  using L = Compute<T>;
  const YoloV3LossKernels<T>& kernels = KernelsOf(tier, T());
  const YoloV3Shape& shape = given.shape;
  YoloCellOptions options = given.options.cell;
  options.class_weights = given.options.class_weights.empty() ? nullptr : given.options.class_weights.data();
  const std::vector<L> anchors(given.options.anchors.begin(), given.options.anchors.end());
  const int64_t rows = shape.Rows(0);
  const YoloGrid<L> grid = {shape.scales[0].height, shape.scales[0].width, shape.anchors, L(1.05f), anchors.data()};
  const GuardedBuffer<uint8_t> selection(rows);
  const GuardedBuffer<Box<L>> boxes(rows);
  const GuardedBuffer<L> objectness_gradient(rows, 1);
  const GuardedBuffer<T> gradient(rows * (5 + shape.classes), 1), streamed(rows * (5 + shape.classes));
  KernelResults<T> results;
  const L* y_true = given.y_true[0].data();
  const T* y_pred = given.y_pred[0].data();
  kernels.collect({&options, shape.classes, rows, y_true, selection.data(), boxes.data(), &results.collected});
  results.sums = results.collected;
  const YoloBoxes<L> truths = {boxes.data(), results.collected.num_boxes};
  constexpr int64_t kFirstRow = 0, kGroups = 1;
  kernels.forward({&options, grid, MakeIgnoreTest<L>(given.options.ignore), shape.classes, kFirstRow, rows, y_true,
                   y_pred, &truths, kGroups, selection.data(), objectness_gradient.data(), &results.sums});
  const L loss_gradient = L(-1.7);
  for (bool stream : {false, true}) {
    kernels.backward({&options, grid, shape.classes, kFirstRow, rows, stream, &loss_gradient, y_true, y_pred,
                      selection.data(), objectness_gradient.data(), stream ? streamed.data() : gradient.data()});
  }
  for (int64_t i = 0; i < truths.count; ++i) {
    const Box<L>& box = truths.boxes[i];
    results.boxes.insert(results.boxes.end(), {box.x, box.y, box.w, box.h});
  }
  results.selection = selection.values();
  results.objectness_gradient = objectness_gradient.values();
  results.gradient = gradient.values();
  results.streamed = streamed.values();
  return results;
}

std::vector<double> TermsOf(const YoloBlockSums& sums) {
  std::vector<double> terms = {sums.xy, sums.wh, sums.overlap, sums.object, sums.no_object, sums.class_term};
  UnifyNans(&terms);
  return terms;
}

void CheckSameSums(const YoloBlockSums& got, const YoloBlockSums& want) {
  const std::vector<double> got_terms = TermsOf(got), want_terms = TermsOf(want);
  CHECK_BITS_EQUAL(got_terms, want_terms);
  CHECK_EQUAL(got.num_boxes, want.num_boxes);
  CHECK_EQUAL(got.num_invalid, want.num_invalid);
  CHECK_EQUAL(got.first_invalid, want.first_invalid);
  CHECK_EQUAL(got.is_nan, want.is_nan);
}

template <class T>
void CheckSameResults(KernelResults<T> got, KernelResults<T> want) {
  CheckSameSums(got.collected, want.collected);
  CheckSameSums(got.sums, want.sums);
  CHECK_BITS_EQUAL(got.boxes, want.boxes);
  CHECK_BITS_EQUAL(got.selection, want.selection);
  for (KernelResults<T>* results : {&got, &want}) {
    UnifyNans(&results->objectness_gradient);
    UnifyNans(&results->gradient);
    UnifyNans(&results->streamed);
  }
  CHECK_BITS_EQUAL(got.objectness_gradient, want.objectness_gradient);
  CHECK_BITS_EQUAL(got.gradient, want.gradient);
  CHECK_BITS_EQUAL(got.streamed, want.streamed);
}

template <class T>
void CheckTiersAgree(const YoloCase<T>& given) {
  const KernelResults<T> want = RunKernels<T>(CpuTier::kBaseline, given);
  CHECK_BITS_EQUAL(want.streamed, want.gradient);
  for (CpuTier tier : kCpuTiers) {
    if (!CpuSupports(tier) || tier == CpuTier::kBaseline) continue;
    const check::Context context(CpuTierName(tier));
    CheckSameResults(RunKernels<T>(tier, given), want);
  }
}

YoloCaseShape OneImage(int64_t height, int64_t width, int64_t anchors, int64_t classes) {
  YoloCaseShape shape;
  shape.images = 1;
  shape.anchors = anchors;
  shape.classes = classes;
  shape.scales = {{height, width}};
  return shape;
}

}  // namespace

TEST(TiersAgreeBitForBitForAllOptions) {
  uint64_t seed = 0;
  for (YoloV3LossOptions options : AllYoloChoices()) {
    YoloCaseShape shape = OneImage(5, 6, 3, 19);
    shape.nan_predictions = seed % 2 == 1;
    VaryYoloNumbers(++seed, shape, &options);
    const check::Context context("choice " + check::Show(seed));
    ForEachDtype([&](auto zero) { CheckTiersAgree(MakeYoloCase<decltype(zero)>(options, shape, seed)); });
  }
}

TEST(TiersAgreeBitForBitForAnyNumberOfClasses) {
  const std::vector<YoloV3LossOptions> all = AllYoloChoices();
  for (int64_t classes = 1; classes <= 100; ++classes) {
    const YoloCaseShape shape = OneImage(3, 4, 2, classes);
    YoloV3LossOptions options = all[static_cast<size_t>(classes) * 37 % all.size()];
    VaryYoloNumbers(static_cast<uint64_t>(classes), shape, &options);
    const check::Context context(check::Show(classes) + " classes");
    ForEachDtype([&](auto zero) {
      CheckTiersAgree(MakeYoloCase<decltype(zero)>(options, shape, static_cast<uint64_t>(classes)));
    });
  }
}

TEST(TiersAgreeBitForBitForAnyNumberOfRows) {
  const std::vector<YoloV3LossOptions> all = AllYoloChoices();
  for (int64_t rows : {1, 2, 15, 16, 17, 31, 33, 500, 511, 512}) {
    const YoloCaseShape shape = OneImage(1, rows, 1, 5);
    YoloV3LossOptions options = all[static_cast<size_t>(rows) * 37 % all.size()];
    VaryYoloNumbers(static_cast<uint64_t>(rows), shape, &options);
    const check::Context context(check::Show(rows) + " rows");
    ForEachDtype([&](auto zero) { CheckTiersAgree(MakeYoloCase<decltype(zero)>(options, shape, 5)); });
  }
}

}  // namespace detloss
