#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "cc/hard_negative_mining.h"
#include "cc/thread_pool.h"
#include "tests/cc/check.h"
#include "tests/cc/dtype_values.h"
#include "tests/cc/guarded_buffer.h"
#include "tests/cc/mining_checks.h"
#include "tests/cc/random.h"

#if defined(__x86_64__)
#include "tests/cc/flush_to_zero.h"
#endif

namespace detloss {
namespace {

template <class T>
Mask Mine(const MiningOptions& options, const MiningCase<T>& mining, Executor& executor) {
  const GuardedBuffer<uint8_t> mask(mining.images * mining.boxes);
  const GuardedBuffer<char> workspace(
      static_cast<int64_t>(HardNegativeMiningWorkspaceBytes<T>(mining.images, mining.boxes)));
  const Status status =
      HardNegativeMining(options, mining.images, mining.boxes, mining.negative_loss.data(), mining.n_positive.data(),
                         reinterpret_cast<bool*>(mask.data()), workspace.data(), executor);
  return {status, mask.values()};
}

// By the executor's threads.
auto MineWith(Executor& executor) {
  return [&executor](const MiningOptions& options, const auto& mining) { return Mine(options, mining, executor); };
}

}  // namespace

TEST(MinesAsSortingDoes) {
  SerialExecutor serial;
  CheckAllSizes({{1, 1}, {1, 2}, {3, 1}, {1, 15}, {2, 16}, {1, 17}, {5, 100}, {2, 333}}, MineWith(serial));
}

TEST(MinesNothingOutOfNothing) {
  SerialExecutor serial;
  CheckAllSizes({{0, 0}, {0, 5}, {2, 0}}, MineWith(serial));
}

// From some ten thousand keys on the counting is divided into tasks.
TEST(MinesLargeBatchesForAnyNumberOfThreads) {
  const MiningOptions per_batch = {MiningScope::kBatch, 3, 0}, per_image = {MiningScope::kImage, 0.5f, 10},
                      uniform = {MiningScope::kImageUniform, 2, 10};
  for (int threads : {1, 2, 7}) {
    const check::Context context(check::Show(threads) + " threads");
    ThreadPool pool(threads);
    Random random(4);
    for (const Distribution& distribution : Distributions()) {
      const check::Context named(distribution.name);
      const auto floats = RandomCase<float>(4, 20001, distribution, random);
      for (const MiningOptions& options : {per_batch, per_image, uniform})
        CheckAgainstPlain(options, floats, MineWith(pool));
      CheckAgainstPlain(per_batch, RandomCase<double>(1, 70001, distribution, random), MineWith(pool));
      CheckAgainstPlain(per_image, RandomCase<Half>(2, 40000, distribution, random), MineWith(pool));
    }
  }
}

TEST(MinesMoreKeysThanItCountsInTasksOfTheUsualSize) {
  ThreadPool pool(2);
  Random random(5);
  for (const Distribution& distribution : {Distributions()[0], Distributions()[1]}) {
    const check::Context named(distribution.name);
    CheckAgainstPlain({MiningScope::kBatch, 1, 0}, RandomCase<float>(16, 70001, distribution, random), MineWith(pool));
  }
}

TEST(TiesGoToTheLowestIndex) {
  SerialExecutor serial;
  const MiningCase<float> mining = {2, 4, {1, 2, 2, 0, 2, 3, 1, 2}, {1, 0}};
  CHECK_BITS_EQUAL(Mine({MiningScope::kBatch, 3, 0}, mining, serial).kept,
                   (std::vector<uint8_t>{0, 1, 1, 0, 0, 1, 0, 0}));
  CHECK_BITS_EQUAL(Mine({MiningScope::kImage, 2, 2}, mining, serial).kept,
                   (std::vector<uint8_t>{0, 1, 1, 0, 1, 1, 0, 0}));
  CHECK_BITS_EQUAL(Mine({MiningScope::kImageUniform, 1, 0}, mining, serial).kept,
                   (std::vector<uint8_t>{0, 1, 0, 0, 0, 1, 0, 0}));
}

TEST(ZerosOutrankNegativeKeysButAreNoCandidates) {
  SerialExecutor serial;
  const MiningCase<float> mining = {1, 5, {-1, 0, -2, -0.0f, 3}, {9}};
  CHECK_BITS_EQUAL(Mine({MiningScope::kBatch, 3, 0}, mining, serial).kept, (std::vector<uint8_t>{0, 1, 0, 1, 1}));
}

TEST(PositivesAreFlooredBeforeTheRatio) {
  SerialExecutor serial;
  const MiningCase<float> mining = {1, 8, {1, 2, 3, 4, 5, 6, 7, 8}, {1.9f}};
  CHECK_BITS_EQUAL(Mine({MiningScope::kImage, 2.9f, 0}, mining, serial).kept,
                   (std::vector<uint8_t>{0, 0, 0, 0, 0, 0, 1, 1}));
  // Uniform mining floors the product alone.
  CHECK_BITS_EQUAL(Mine({MiningScope::kImageUniform, 2.9f, 0}, mining, serial).kept,
                   (std::vector<uint8_t>{0, 0, 0, 1, 1, 1, 1, 1}));
}

TEST(AskedForNothingPerPositiveMiningKeepsTheLeast) {
  SerialExecutor serial;
  // The counts add up to more than a float holds.
  const MiningCase<float> mining = {2, 3, {1, 2, 3, 4, 5, 6}, {3e38f, 3e38f}};
  CHECK_BITS_EQUAL(Mine({MiningScope::kBatch, 0, 2}, mining, serial).kept, (std::vector<uint8_t>{0, 0, 0, 0, 1, 1}));
  CHECK_BITS_EQUAL(Mine({MiningScope::kBatch, 0, 0}, mining, serial).kept, (std::vector<uint8_t>(6, 0)));
  CHECK_BITS_EQUAL(Mine({MiningScope::kBatch, 1e-30f, 2}, mining, serial).kept, (std::vector<uint8_t>(6, 1)));
  const MiningCase<double> wide = {2, 3, {1, 2, 3, 4, 5, 6}, {1e300, 1e308}};
  for (MiningScope scope : {MiningScope::kImage, MiningScope::kImageUniform}) {
    CHECK_BITS_EQUAL(Mine({scope, 0, 1}, wide, serial).kept, (std::vector<uint8_t>{0, 0, 1, 0, 0, 1}));
  }
}

TEST(UniformMiningTakesTheFewestThatAnImageAsksFor) {
  SerialExecutor serial;
  // Images without positives ask for nothing, and one full of them has no box left to ask for.
  const MiningCase<float> mining = {4, 2, {1, 2, 3, 4, 5, 6, 7, 8}, {0, 1, 2, 0}};
  CHECK_BITS_EQUAL(Mine({MiningScope::kImageUniform, 3, 2}, mining, serial).kept,
                   (std::vector<uint8_t>{0, 1, 0, 1, 0, 1, 0, 1}));
  const MiningCase<float> empty = {2, 2, {1, 2, 3, 4}, {0, 0}};
  CHECK_BITS_EQUAL(Mine({MiningScope::kImageUniform, 3, 1}, empty, serial).kept, (std::vector<uint8_t>{0, 1, 0, 1}));
}

TEST(WrongOptionsAreRefused) {
  SerialExecutor serial;
  const MiningCase<float> mining = {1, 2, {1, 2}, {1}};
  const auto refusal = [&](float ratio, int64_t n_neg_min) {
    return Mine({MiningScope::kBatch, ratio, n_neg_min}, mining, serial).status.message();
  };
  const std::string ratio = "neg_pos_ratio: expected a finite number of at least 0, got ";
  CHECK_EQUAL(refusal(-1, 0), ratio + "-1");
  CHECK_EQUAL(refusal(HUGE_VALF, 0), ratio + "inf");
  CHECK_EQUAL(refusal(NAN, 0), ratio + "nan");
  CHECK_EQUAL(refusal(3, -2), "n_neg_min: expected at least 0, got -2");
  CHECK_EQUAL(refusal(3, 0), "");
}

TEST(BatchesTooLargeToCountAreRefused) {
  CHECK_EQUAL(CheckMiningShape(2, int64_t{1} << 30).message(),
              "negative_loss: expected at most 2147483647 boxes in a batch, got shape [2,1073741824]");
  CHECK_EQUAL(CheckMiningShape(1, (int64_t{1} << 31) - 1).message(), "");
  CHECK_EQUAL(CheckMiningShape(-1, -1).message(), "");
}

TEST(WrongCountsOfPositivesAreRefused) {
  SerialExecutor serial;
  const auto refusal = [&](double n_positive) {
    const MiningCase<double> mining = {2, 1, {1, 2}, {1, n_positive}};
    return Mine({}, mining, serial).status.message();
  };
  const std::string expected = "n_positive: expected finite counts of at least 0, got ";
  CHECK_EQUAL(refusal(-1), expected + "-1.000000 for image 1");
  CHECK_EQUAL(refusal(HUGE_VAL), expected + "inf for image 1");
  CHECK_EQUAL(refusal(kMiningNan), expected + "nan for image 1");
  CHECK_EQUAL(refusal(-0.0), "");
}

// Counts beyond 2^24 are no longer all floats. All keys tie, so that the last index tells how many are kept.
TEST(TheBudgetIsNotRoundedUpToTheCandidates) {
  SerialExecutor serial;
  constexpr int64_t kCandidates = (1 << 24) + 1;
  const std::vector<uint32_t> keys(kCandidates, 7);
  const double n_positive = 1 << 24;
  MiningCut<uint32_t> cut;
  const GuardedBuffer<char> workspace(static_cast<int64_t>(MiningWorkspaceBytes<uint32_t>(1, kCandidates)));
  FindMiningCuts({MiningScope::kBatch, 1, 0}, 1, kCandidates, keys.data(), &n_positive, &kCandidates, &cut,
                 workspace.data(), serial);
  CHECK_EQUAL(cut.key, 7u);
  CHECK_EQUAL(cut.last_index, int64_t{(1 << 24) - 1});
}

#if defined(__x86_64__)
TEST(MiningDoesNotDependOnTheCallersFloatMode) {
  SerialExecutor serial;
  // Subnormal keys, and a subnormal count that makes an image ask for some.
  const MiningCase<float> mining = {2, 4, {1e-40f, 0, 2e-40f, 1, 3e-40f, 1, 0, 1e-40f}, {1e-40f, 0}};
  for (MiningScope scope : kAllScopes) {
    const check::Context context("scope " + check::Show(static_cast<int>(scope)));
    const MiningOptions options = {scope, 3, 3};
    const Mask want = Mine(options, mining, serial);
    const FlushToZero flush;
    CHECK_BITS_EQUAL(Mine(options, mining, serial).kept, want.kept);
  }
}
#endif

}  // namespace detloss
