#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "cc/ssd_loss_kernels.h"
#include "tests/cc/check.h"
#include "tests/cc/dtype_values.h"
#include "tests/cc/guarded_buffer.h"
#include "tests/cc/ssd_cases.h"

namespace detloss {
namespace {

const SsdLossKernels<float>& KernelsOf(CpuTier tier, float) { return DETLOSS_PICK_PER_TIER(tier, kSsdLossFloat); }
const SsdLossKernels<double>& KernelsOf(CpuTier tier, double) { return DETLOSS_PICK_PER_TIER(tier, kSsdLossDouble); }
const SsdLossKernels<Half>& KernelsOf(CpuTier tier, Half) { return DETLOSS_PICK_PER_TIER(tier, kSsdLossHalf); }
const SsdLossKernels<BFloat16>& KernelsOf(CpuTier tier, BFloat16) {
  return DETLOSS_PICK_PER_TIER(tier, kSsdLossBFloat16);
}

// Everything that the kernels of one tier write for one image of at most a block's boxes.
template <class T>
struct KernelResults {
  SsdBlockSums forward_sums, sums;
  std::vector<Bits<Compute<T>>> keys;
  std::vector<Compute<T>> cross_entropy;
  std::vector<uint8_t> selection;
  std::vector<T> gradient, streamed;
};

template <class T>
KernelResults<T> RunKernels(CpuTier tier, const SsdCase<T>& given, MiningCut<Bits<Compute<T>>> cut) {
  using L = Compute<T>;
  const SsdLossKernels<T>& kernels = KernelsOf(tier, T());
  const SsdShape& shape = given.shape;
  SsdLossOptions options = given.options;
  CHECK(ResolveLayout(given.options.layout, shape.width, &options.layout).ok());
  const GuardedBuffer<Bits<L>> keys(shape.boxes);
  const GuardedBuffer<L> cross_entropy(shape.boxes);
  const GuardedBuffer<uint8_t> selection(shape.boxes);
  const GuardedBuffer<T> gradient(shape.boxes * shape.width, 1), streamed(shape.boxes * shape.width);
  KernelResults<T> results;
  kernels.forward({&options, shape.boxes, shape.width, given.y_true.data(), given.y_pred.data(), keys.data(),
                   cross_entropy.data(), selection.data(), &results.forward_sums});
  results.sums = results.forward_sums;
  constexpr int64_t kFirstBox = 0;
  kernels.keep({shape.boxes, kFirstBox, cut, keys.data(), cross_entropy.data(), selection.data(), &results.sums});
  const SsdScales<L> scales = {L(0.37), L(-1.7)};
  kernels.backward({&options, shape, 0, shape.boxes, false, given.y_true.data(), given.y_pred.data(), selection.data(),
                    &scales, gradient.data()});
  kernels.backward({&options, shape, 0, shape.boxes, true, given.y_true.data(), given.y_pred.data(), selection.data(),
                    &scales, streamed.data()});
  results.keys = keys.values();
  results.cross_entropy = cross_entropy.values();
  results.selection = selection.values();
  results.gradient = gradient.values();
  results.streamed = streamed.values();
  return results;
}

// The cut at the median key, of the third box with it.
template <class L>
MiningCut<Bits<L>> SomeCut(const std::vector<Bits<L>>& keys) {
  MiningCut<Bits<L>> cut;
  if (keys.empty()) return cut;
  std::vector<Bits<L>> sorted = keys;
  std::sort(sorted.begin(), sorted.end());
  cut.key = sorted[sorted.size() / 2];
  int64_t left = 3;
  for (size_t i = 0; i < keys.size() && left > 0; ++i) {
    if (keys[i] != cut.key) continue;
    cut.last_index = static_cast<int64_t>(i);
    --left;
  }
  return cut;
}

std::vector<double> TermsOf(const SsdBlockSums& sums) {
  std::vector<double> terms = {sums.positive, sums.negative, sums.localization, sums.n_pos};
  UnifyNans(&terms);
  return terms;
}

void CheckSameSums(const SsdBlockSums& got, const SsdBlockSums& want) {
  const std::vector<double> got_terms = TermsOf(got), want_terms = TermsOf(want);
  CHECK_BITS_EQUAL(got_terms, want_terms);
  CHECK_EQUAL(got.n_kept, want.n_kept);
  CHECK_EQUAL(got.n_candidates, want.n_candidates);
  CHECK_EQUAL(got.num_invalid, want.num_invalid);
  CHECK_EQUAL(got.first_invalid, want.first_invalid);
  CHECK_EQUAL(got.is_nan, want.is_nan);
}

template <class T>
void CheckSameResults(KernelResults<T> got, KernelResults<T> want) {
  CheckSameSums(got.forward_sums, want.forward_sums);
  CheckSameSums(got.sums, want.sums);
  CHECK_BITS_EQUAL(got.keys, want.keys);
  CHECK_BITS_EQUAL(got.selection, want.selection);
  for (KernelResults<T>* results : {&got, &want}) {
    UnifyNans(&results->cross_entropy);
    UnifyNans(&results->gradient);
    UnifyNans(&results->streamed);
  }
  CHECK_BITS_EQUAL(got.cross_entropy, want.cross_entropy);
  CHECK_BITS_EQUAL(got.gradient, want.gradient);
  CHECK_BITS_EQUAL(got.streamed, want.streamed);
}

template <class T>
void CheckTiersAgree(const SsdCase<T>& given) {
  const KernelResults<T> unmined = RunKernels<T>(CpuTier::kBaseline, given, {});
  const MiningCut<Bits<Compute<T>>> cut = SomeCut<Compute<T>>(unmined.keys);
  const KernelResults<T> want = RunKernels<T>(CpuTier::kBaseline, given, cut);
  CHECK_BITS_EQUAL(want.streamed, want.gradient);
  for (CpuTier tier : kCpuTiers) {
    if (!CpuSupports(tier) || tier == CpuTier::kBaseline) continue;
    const check::Context context(CpuTierName(tier));
    CheckSameResults(RunKernels<T>(tier, given, cut), want);
  }
}

}  // namespace

TEST(TiersAgreeBitForBitForAnyNumberOfClasses) {
  for (int64_t classes = 2; classes <= 100; ++classes) {
    for (bool from_logits : {false, true}) {
      SsdLossOptions options;
      options.rank_by = classes % 2 == 0 ? RankBy::kLoss : RankBy::kForeground;
      options.from_logits = from_logits;
      SsdCaseShape shape;
      shape.images = 1;
      shape.boxes = 75;
      shape.classes = classes;
      shape.distinct_rows = 60;
      shape.nan_predictions = true;
      const NamedLayout layout = LayoutsOf(classes)[classes % 4];
      const check::Context context("layout " + std::string(layout.name) + ", " + check::Show(classes) +
                                   " classes, from_logits " + check::Show(from_logits));
      ForEachDtype([&](auto zero) {
        CheckTiersAgree(MakeSsdCase<decltype(zero)>(options, layout, shape, static_cast<uint64_t>(classes)));
      });
    }
  }
}

TEST(TiersAgreeBitForBitForAnyNumberOfBoxes) {
  for (int64_t boxes : {1, 15, 16, 17, 63, 64, 1023, 1024}) {
    for (RankBy rank_by : {RankBy::kLoss, RankBy::kForeground}) {
      for (bool from_logits : {false, true}) {
        SsdLossOptions options;
        options.rank_by = rank_by;
        options.from_logits = from_logits;
        SsdCaseShape shape;
        shape.images = 1;
        shape.boxes = boxes;
        shape.classes = 21;
        shape.distinct_rows = 1000;
        const check::Context context(check::Show(boxes) + " boxes, from_logits " + check::Show(from_logits));
        ForEachDtype(
            [&](auto zero) { CheckTiersAgree(MakeSsdCase<decltype(zero)>(options, LayoutsOf(21)[1], shape, 5)); });
      }
    }
  }
}

}  // namespace detloss
