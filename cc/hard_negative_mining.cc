#include "cc/hard_negative_mining.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "cc/float_environment.h"
#include "cc/hard_negative_mining_kernels.h"
#include "cc/math.h"
#include "cc/option_checks.h"
#include "cc/tensor_size.h"
#include "cc/workspace.h"

namespace detloss {
namespace {

// Keys that are worth a task, and tasks few enough that their histograms stay small.
constexpr int64_t kKeysPerTask = 32768;
constexpr int64_t kMostTasks = 16;

int64_t TaskCount(int64_t keys) { return std::clamp((keys + kKeysPerTask - 1) / kKeysPerTask, int64_t{1}, kMostTasks); }

const MiningKernels<uint32_t>& KernelsFor(uint32_t) { return DETLOSS_PICK_PER_TIER(ChosenCpuTier(), kMiningKernels32); }
const MiningKernels<uint64_t>& KernelsFor(uint64_t) { return DETLOSS_PICK_PER_TIER(ChosenCpuTier(), kMiningKernels64); }

int64_t UniformNegatives(const MiningOptions& options, int64_t images, int64_t boxes, const double* n_positive) {
  float fewest = HUGE_VALF;
  for (int64_t image = 0; image < images; ++image) {
    const float wanted = UniformlyWanted(options, boxes, n_positive[image]);
    if (wanted > 0) fewest = std::min(fewest, wanted);
  }
  return UniformNegatives(options, boxes, fewest);
}

template <class Key>
struct MiningWorkspace {
  MiningWorkspace(void* buffer, int64_t images, int64_t boxes) : workspace(buffer) {
    remaining = workspace.Take<Key>(images * boxes);
    histograms = workspace.Take<int32_t>(TaskCount(images * boxes) * kHistograms * kDigitBins);
  }

  Workspace workspace;
  Key* remaining;
  int32_t* histograms;
};

// Finds the k-th largest key digit by digit, highest first. After each digit only the keys that have it remain.
template <class Key>
class RadixSelect {
 public:
  // `remaining` has room for all keys, `histograms` for those of every task.
  RadixSelect(const Key* keys, int64_t count, int64_t tasks, Key* remaining, int32_t* histograms, Executor& executor)
      : keys_(keys), count_(count), histograms_(histograms), executor_(executor) {
    const int64_t keys_per_task = (count + tasks - 1) / tasks;
    for (int64_t begin = 0; begin < count; begin += keys_per_task) {
      parts_[num_parts_++] = {keys + begin, std::min(keys_per_task, count - begin), remaining + begin};
    }
  }

  // The cut that keeps k keys, 0 < k <= count.
  MiningCut<Key> Cut(int64_t k) {
    MiningCut<Key> cut;
    cut.key = 0;
    // The last digit overlaps its predecessor where the key's width is no multiple of the digit's.
    for (int shift = 8 * sizeof(Key) - kDigitBits;; shift = std::max(shift - kDigitBits, 0)) {
      CountDigits(shift);
      int bin = kDigitBins - 1;
      for (; bin > 0 && histograms_[bin] < k; --bin) k -= histograms_[bin];
      cut.key |= static_cast<Key>(bin) << shift;
      if (shift == 0) break;
      TakeDigits(shift, static_cast<Key>(bin), histograms_[bin]);
    }
    const bool keeps_all_equals = histograms_[cut.key & (kDigitBins - 1)] == k;
    cut.last_index = keeps_all_equals ? count_ - 1 : KernelsFor(Key()).find_nth(keys_, count_, cut.key, k);
    return cut;
  }

 private:
  struct Part {
    const Key* keys;
    int64_t count;
    Key* remaining;
  };

  void CountDigits(int shift) {
    int64_t keys = 0;
    for (int64_t i = 0; i < num_parts_; ++i) keys += parts_[i].count;
    ForEachPart(keys, [&](Part& part, int64_t i) {
      KernelsFor(Key()).count_digit(part.keys, part.count, shift, histograms_ + i * kHistograms * kDigitBins);
    });
    for (int64_t i = 1; i < num_parts_; ++i) {
      for (int bin = 0; bin < kDigitBins; ++bin) histograms_[bin] += histograms_[i * kHistograms * kDigitBins + bin];
    }
  }

  // `taken`: how many have the digit. The others cost next to nothing.
  void TakeDigits(int shift, Key digit, int64_t taken) {
    ForEachPart(taken, [&](Part& part, int64_t) {
      part.count = KernelsFor(Key()).take_digit(part.keys, part.count, shift, digit, part.remaining);
      part.keys = part.remaining;
    });
  }

  // In parallel where `keys` of work are worth it.
  template <class F>
  void ForEachPart(int64_t keys, const F& work) {
    ParallelFor(executor_, num_parts_, keys > kKeysPerTask ? 1 : num_parts_, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) work(parts_[i], i);
    });
  }

  const Key* const keys_;
  const int64_t count_;
  int32_t* const histograms_;
  Executor& executor_;
  Part parts_[kMostTasks];
  int64_t num_parts_ = 0;
};

}  // namespace

Status CheckMiningOptions(const MiningOptions& options) {
  DETLOSS_RETURN_IF_ERROR(CheckNonNegative("neg_pos_ratio", options.neg_pos_ratio));
  if (options.n_neg_min < 0) {
    return Status::InvalidArgument("n_neg_min: expected at least 0, got " + std::to_string(options.n_neg_min));
  }
  return Status::Ok();
}

Status CheckMiningShape(int64_t images, int64_t boxes) {
  return CheckTensorSize("negative_loss", "boxes", 2, {images, boxes});
}

template <class Key>
size_t MiningWorkspaceBytes(int64_t images, int64_t boxes) {
  return MiningWorkspace<Key>(nullptr, images, boxes).workspace.bytes();
}

template <class Key>
void FindMiningCuts(const MiningOptions& options, int64_t images, int64_t boxes, const Key* keys,
                    const double* n_positive, const int64_t* n_candidates, MiningCut<Key>* cuts, void* buffer,
                    Executor& executor) {
  const MiningWorkspace<Key> workspace(buffer, images, boxes);
  if (options.scope == MiningScope::kBatch) {
    double positives = 0;
    int64_t candidates = 0;
    for (int64_t image = 0; image < images; ++image) {
      positives += n_positive[image];
      candidates += n_candidates[image];
    }
    const int64_t k = NegativesToKeep(options, positives, candidates);
    const int64_t count = images * boxes, tasks = TaskCount(count);
    MiningCut<Key> cut;
    if (k > 0) cut = RadixSelect<Key>(keys, count, tasks, workspace.remaining, workspace.histograms, executor).Cut(k);
    std::fill_n(cuts, images, cut);
    return;
  }
  const bool uniform = options.scope == MiningScope::kImageUniform;
  const int64_t uniform_k = uniform ? UniformNegatives(options, images, boxes, n_positive) : 0;
  // As many tasks as have histograms of their own.
  const int64_t images_per_task = (images + TaskCount(images * boxes) - 1) / TaskCount(images * boxes);
  ParallelFor(executor, images, images_per_task, [&](int64_t begin, int64_t end) {
    SerialExecutor serial;
    int32_t* histograms = workspace.histograms + begin / images_per_task * kHistograms * kDigitBins;
    for (int64_t image = begin; image < end; ++image) {
      const int64_t first = image * boxes;
      const int64_t k = uniform ? uniform_k : NegativesToKeep(options, n_positive[image], n_candidates[image]);
      cuts[image] = MiningCut<Key>();
      if (k == 0) continue;
      cuts[image] = RadixSelect<Key>(keys + first, boxes, 1, workspace.remaining + first, histograms, serial).Cut(k);
      cuts[image].last_index += first;
    }
  });
}

template size_t MiningWorkspaceBytes<uint32_t>(int64_t, int64_t);
template size_t MiningWorkspaceBytes<uint64_t>(int64_t, int64_t);
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
    mining = workspace.Take<char>(MiningWorkspaceBytes<Key>(images, boxes));
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
  DefaultFloatEnvironment environment;
  DETLOSS_RETURN_IF_ERROR(CheckCpuTier());
  DETLOSS_RETURN_IF_ERROR(CheckMiningOptions(options));
  DETLOSS_RETURN_IF_ERROR(CheckMiningShape(images, boxes));
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
