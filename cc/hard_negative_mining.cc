#include "cc/hard_negative_mining.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "cc/hard_negative_mining_kernels.h"
#include "cc/math.h"
#include "cc/workspace.h"

namespace detloss {
namespace {

// Enough keys that counting their digits is worth a task, few enough tasks that their histograms stay small.
constexpr int64_t kKeysPerTask = 32768;
constexpr int64_t kMostTasks = 32;

int64_t CountingTasks(int64_t keys) {
  return std::clamp((keys + kKeysPerTask - 1) / kKeysPerTask, int64_t{1}, kMostTasks);
}

const MiningKernels<uint32_t>& KernelsFor(uint32_t) { return DETLOSS_PICK_PER_TIER(ChosenCpuTier(), kMiningKernels32); }
const MiningKernels<uint64_t>& KernelsFor(uint64_t) { return DETLOSS_PICK_PER_TIER(ChosenCpuTier(), kMiningKernels64); }

// The originals compute k in float32: floor(ratio * floor(n_positive)), here bounded before it becomes an integer.
int64_t FloorOf(float wanted, int64_t most) {
  return wanted < static_cast<float>(most) ? static_cast<int64_t>(wanted) : most;
}

int64_t NegativesToKeep(const MiningOptions& options, double n_positive, int64_t candidates) {
  const float wanted = options.neg_pos_ratio * std::floor(static_cast<float>(n_positive));
  return std::min(std::max(FloorOf(wanted, candidates), options.n_neg_min), candidates);
}

int64_t NegativesToKeepUniformly(const MiningOptions& options, int64_t images, int64_t boxes,
                                 const double* n_positive) {
  float fewest = HUGE_VALF;
  for (int64_t image = 0; image < images; ++image) {
    const float positives = static_cast<float>(n_positive[image]);
    const float wanted = std::min(options.neg_pos_ratio * positives, static_cast<float>(boxes) - positives);
    if (wanted > 0) fewest = std::min(fewest, wanted);
  }
  return fewest == HUGE_VALF ? std::min(options.n_neg_min, boxes) : FloorOf(fewest, boxes);
}

// The digits of the radix select, highest first. The last one overlaps its predecessor where the key's width is no
// multiple.
template <class Key>
KeyDigit<Key> NextDigit(const KeyDigit<Key>& digit, Key bin) {
  KeyDigit<Key> next;
  next.prefix = digit.prefix | (bin << digit.shift);
  next.mask = ~Key(0) << digit.shift;
  next.shift = std::max(digit.shift - kDigitBits, 0);
  return next;
}

// Into the first of `tasks` histograms.
template <class Key>
void CountDigits(const Key* keys, int64_t count, const KeyDigit<Key>& digit, int64_t tasks, int32_t* histograms,
                 Executor& executor) {
  const int64_t keys_per_task = (count + tasks - 1) / tasks;
  ParallelFor(executor, tasks, 1, [&](int64_t task, int64_t) {
    int32_t* histogram = histograms + task * kDigitBins;
    std::memset(histogram, 0, kDigitBins * sizeof(*histogram));
    const int64_t begin = std::min(count, task * keys_per_task), end = std::min(count, begin + keys_per_task);
    KernelsFor(Key()).count_digit(keys + begin, end - begin, digit, histogram);
  });
  for (int64_t task = 1; task < tasks; ++task) {
    for (int bin = 0; bin < kDigitBins; ++bin) histograms[bin] += histograms[task * kDigitBins + bin];
  }
}

// The k-th largest of `count` keys, and how far equal ones are kept.
template <class Key>
MiningCut<Key> FindCut(const Key* keys, int64_t count, int64_t k, int64_t tasks, int32_t* histograms,
                       Executor& executor) {
  MiningCut<Key> cut;
  if (k <= 0) return cut;
  KeyDigit<Key> digit = {static_cast<int>(8 * sizeof(Key)) - kDigitBits, 0, 0};
  for (;;) {
    CountDigits(keys, count, digit, tasks, histograms, executor);
    int bin = kDigitBins - 1;
    for (; bin > 0 && histograms[bin] < k; --bin) k -= histograms[bin];
    const KeyDigit<Key> next = NextDigit(digit, static_cast<Key>(bin));
    if (digit.shift == 0) {
      cut.key = next.prefix;
      cut.last_index = KernelsFor(Key()).find_nth(keys, count, cut.key, k);
      return cut;
    }
    digit = next;
  }
}

}  // namespace

Status CheckMiningOptions(const MiningOptions& options) {
  if (!(options.neg_pos_ratio >= 0) || !std::isfinite(options.neg_pos_ratio)) {
    return Status::InvalidArgument("neg_pos_ratio: expected a finite number of at least 0, got " +
                                   std::to_string(options.neg_pos_ratio));
  }
  if (options.n_neg_min < 0) {
    return Status::InvalidArgument("n_neg_min: expected at least 0, got " + std::to_string(options.n_neg_min));
  }
  return Status::Ok();
}

size_t MiningWorkspaceBytes(int64_t images, int64_t boxes) {
  return CountingTasks(images * boxes) * kDigitBins * sizeof(int32_t);
}

template <class Key>
void FindMiningCuts(const MiningOptions& options, int64_t images, int64_t boxes, const Key* keys,
                    const double* n_positive, const int64_t* n_candidates, MiningCut<Key>* cuts, void* workspace,
                    Executor& executor) {
  if (options.scope == MiningScope::kBatch) {
    double positives = 0;
    int64_t candidates = 0;
    for (int64_t image = 0; image < images; ++image) {
      positives += n_positive[image];
      candidates += n_candidates[image];
    }
    const int64_t k = NegativesToKeep(options, positives, candidates);
    const int64_t tasks = CountingTasks(images * boxes);
    auto* histograms = static_cast<int32_t*>(workspace);
    std::fill_n(cuts, images, FindCut(keys, images * boxes, k, tasks, histograms, executor));
    return;
  }
  const bool uniform = options.scope == MiningScope::kImageUniform;
  const int64_t uniform_k = uniform ? NegativesToKeepUniformly(options, images, boxes, n_positive) : 0;
  const int64_t images_per_task = std::max(int64_t{1}, kKeysPerTask / std::max(boxes, int64_t{1}));
  ParallelFor(executor, images, images_per_task, [&](int64_t begin, int64_t end) {
    int32_t histogram[kDigitBins];
    SerialExecutor serial;
    for (int64_t image = begin; image < end; ++image) {
      const int64_t k = uniform ? uniform_k : NegativesToKeep(options, n_positive[image], n_candidates[image]);
      cuts[image] = FindCut(keys + image * boxes, boxes, k, 1, histogram, serial);
      if (k > 0) cuts[image].last_index += image * boxes;
    }
  });
}

template void FindMiningCuts(const MiningOptions&, int64_t, int64_t, const uint32_t*, const double*, const int64_t*,
                             MiningCut<uint32_t>*, void*, Executor&);
template void FindMiningCuts(const MiningOptions&, int64_t, int64_t, const uint64_t*, const double*, const int64_t*,
                             MiningCut<uint64_t>*, void*, Executor&);

namespace {

template <class Key>
struct MaskWorkspace {
  MaskWorkspace(void* buffer, int64_t images, int64_t boxes) : workspace(buffer) {
    keys = workspace.Take<Key>(images * boxes);
    n_positive = workspace.Take<double>(images);
    n_candidates = workspace.Take<int64_t>(images);
    cuts = workspace.Take<MiningCut<Key>>(images);
    mining = workspace.Take<char>(MiningWorkspaceBytes(images, boxes));
  }

  Workspace workspace;
  Key* keys;
  double* n_positive;
  int64_t* n_candidates;
  MiningCut<Key>* cuts;
  void* mining;
};

}  // namespace

template <class T>
size_t HardNegativeMiningWorkspaceBytes(int64_t images, int64_t boxes) {
  return MaskWorkspace<Bits<Compute<T>>>(nullptr, images, boxes).workspace.bytes();
}

template <class T>
Status HardNegativeMining(const MiningOptions& options, int64_t images, int64_t boxes, const T* negative_loss,
                          const Compute<T>* n_positive, bool* mask, void* workspace, Executor& executor) {
  using Key = Bits<Compute<T>>;
  Status status = CheckMiningOptions(options);
  if (!status.ok()) return status;
  for (int64_t image = 0; image < images; ++image) {
    if (n_positive[image] >= 0 && IsFinite(n_positive[image])) continue;
    return Status::InvalidArgument("n_positive: expected finite counts of at least 0, got " +
                                   std::to_string(n_positive[image]) + " for image " + std::to_string(image));
  }
  const MaskWorkspace<Key> work(workspace, images, boxes);
  const int64_t images_per_task = std::max(int64_t{1}, kKeysPerTask / std::max(boxes, int64_t{1}));
  ParallelFor(executor, images, images_per_task, [&](int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end; ++image) {
      work.n_positive[image] = n_positive[image];
      work.n_candidates[image] = 0;
      for (int64_t i = image * boxes; i < (image + 1) * boxes; ++i) {
        const Compute<T> loss = ToCompute(negative_loss[i]);
        work.n_candidates[image] += loss != 0;
        work.keys[i] = OrderedKey(loss);
      }
    }
  });
  FindMiningCuts(options, images, boxes, work.keys, work.n_positive, work.n_candidates, work.cuts, work.mining,
                 executor);
  ParallelFor(executor, images, images_per_task, [&](int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end; ++image) {
      for (int64_t i = image * boxes; i < (image + 1) * boxes; ++i) mask[i] = work.cuts[image].Keeps(work.keys[i], i);
    }
  });
  return Status::Ok();
}

#define DETLOSS_INSTANTIATE(T)                                                                                   \
  template size_t HardNegativeMiningWorkspaceBytes<T>(int64_t, int64_t);                                         \
  template Status HardNegativeMining(const MiningOptions&, int64_t, int64_t, const T*, const Compute<T>*, bool*, \
                                     void*, Executor&);
DETLOSS_INSTANTIATE(float)
DETLOSS_INSTANTIATE(double)
DETLOSS_INSTANTIATE(Half)
DETLOSS_INSTANTIATE(BFloat16)
#undef DETLOSS_INSTANTIATE

}  // namespace detloss
