#include "cc/block_reduce.cuh"
#include "cc/hard_negative_mining.h"
#include "cc/launch.h"
#include "cc/math.h"
#include "cc/workspace.h"

namespace detloss {
namespace {

constexpr int kThreads = 256;
// Blocks that a multiprocessor has registers for: asked for none, the compiler spills some to fit in more blocks.
constexpr int kBlocksPerProcessor = 4;
constexpr int kKeysPerThread = 4;
constexpr int kKeysPerBlock = kThreads * kKeysPerThread;

// A radix select finds the k-th largest key digit by digit, highest first.
constexpr int kDigitBits = 12;
constexpr int kDigitBins = 1 << kDigitBits;
constexpr int kBinsPerThread = kDigitBins / kThreads;

// A digit of the keys: bits `shift` to `shift + bits`.
struct Digit {
  int shift;
  int bits;
};

// The digits of a key, of which the last takes what is left: 12, 12 and 8 bits, or five times 12 and 4.
template <class Key>
struct Digits {
  static constexpr int kKeyBits = 8 * sizeof(Key);
  static constexpr int kCount = (kKeyBits + kDigitBits - 1) / kDigitBits;
  static constexpr int kLastBins = 1 << (kKeyBits - (kCount - 1) * kDigitBits);

  static Digit At(int i) {
    const int above = i * kDigitBits, bits = kKeyBits - above < kDigitBits ? kKeyBits - above : kDigitBits;
    return {kKeyBits - above - bits, bits};
  }
};

// What is known of a scope's cut after each digit.
template <class Key>
struct Select {
  Key prefix;  // the digits so far; the others are zero
  int64_t k;   // how many of the keys with this prefix are kept
};

template <class Key>
struct MiningWork {
  MiningWork(void* buffer, int64_t scopes, int64_t blocks_per_scope) : workspace(buffer) {
    histograms = workspace.Take<unsigned>(scopes * Digits<Key>::kCount * kDigitBins);
    finished = workspace.Take<unsigned>(scopes * Digits<Key>::kCount);
    selects = workspace.Take<Select<Key>>(scopes);
    last_histograms = workspace.Take<unsigned>(scopes * blocks_per_scope * Digits<Key>::kLastBins);
  }

  Workspace workspace;
  unsigned* histograms;       // [scopes, digits, bins]
  unsigned* finished;         // [scopes, digits]: blocks that have counted
  Select<Key>* selects;       // [scopes]
  unsigned* last_histograms;  // [scopes, blocks, bins of the last digit]: of every block by itself
};

// Scopes are batches or images; a block looks at keys of one scope.
struct Scopes {
  int64_t count;
  int64_t keys;  // of a scope
  int64_t blocks_per_scope;
};

Scopes ScopesOf(const MiningOptions& options, int64_t images, int64_t boxes) {
  const bool batch = options.scope == MiningScope::kBatch;
  const int64_t keys = batch ? images * boxes : boxes;
  return {batch ? 1 : images, keys, DividedUp(keys, kKeysPerBlock)};
}

template <class Key>
struct CountArguments {
  MiningOptions options;
  int64_t images;
  int64_t boxes;
  Scopes scopes;
  Digit digit;
  int digit_index;
  const Key* keys;
  const double* n_positive;
  const int64_t* n_candidates;
  MiningCut<Key>* cuts;
  unsigned* histograms;
  unsigned* finished;
  Select<Key>* selects;
  unsigned* last_histograms;
};

// k of the scope, by all threads of a block.
template <class Key>
__device__ int64_t NegativesOf(const CountArguments<Key>& a, int64_t scope) {
  if (a.options.scope == MiningScope::kImage) {
    return NegativesToKeep(a.options, a.n_positive[scope], a.n_candidates[scope]);
  }
  if (a.options.scope == MiningScope::kBatch) {
    double positives = 0;
    int64_t candidates = 0;
    for (int64_t image = threadIdx.x; image < a.images; image += kThreads) {
      positives += a.n_positive[image];
      candidates += a.n_candidates[image];
    }
    positives = BlockSum<kThreads>(positives);
    return NegativesToKeep(a.options, positives, BlockSum<kThreads>(candidates));
  }
  // The bits of positive floats order as they do.
  __shared__ unsigned fewest;
  if (threadIdx.x == 0) fewest = BitCast<unsigned>(HUGE_VALF);
  __syncthreads();
  for (int64_t image = threadIdx.x; image < a.images; image += kThreads) {
    const float wanted = UniformlyWanted(a.options, a.boxes, a.n_positive[image]);
    if (wanted > 0) atomicMin(&fewest, BitCast<unsigned>(wanted));
  }
  __syncthreads();
  return UniformNegatives(a.options, a.boxes, BitCast<float>(fewest));
}

// What other blocks have counted: past the first-level cache, which may hold what was there before.
__device__ unsigned ReadCount(const unsigned* count) { return *static_cast<const volatile unsigned*>(count); }

// The bin that holds the k-th largest of the counted keys, how many of them it holds, and k among those.
struct ChosenBin {
  unsigned bin;
  unsigned count;
  int64_t k;
};

// Thread t looks at bins counted from the top: 16 t and on. 0 < k <= sum of the histogram.
__device__ ChosenBin ChooseBin(const unsigned* histogram, int64_t k) {
  __shared__ ChosenBin chosen;
  const unsigned* const top = histogram + kDigitBins - 1 - threadIdx.x * kBinsPerThread;
  int64_t own = 0;
  for (int i = 0; i < kBinsPerThread; ++i) own += ReadCount(top - i);
  int64_t left = k - BlockExclusiveSum<kThreads>(own);
  if (left > 0 && left <= own) {
    int i = 0;
    for (; left > ReadCount(top - i); ++i) left -= ReadCount(top - i);
    chosen = {static_cast<unsigned>(top - i - histogram), ReadCount(top - i), left};
  }
  __syncthreads();
  return chosen;
}

// Flat index of the n-th key (from 1) of the scope that equals `key`: its block by the blocks' own histograms, then it.
template <class Key>
__device__ int64_t FindNth(const CountArguments<Key>& a, int64_t scope, Key key, int64_t n) {
  __shared__ int64_t found[2];  // block, and how many equal keys are before it; then the index
  const unsigned* const counts =
      a.last_histograms + scope * a.scopes.blocks_per_scope * Digits<Key>::kLastBins + key % Digits<Key>::kLastBins;
  int64_t before = 0;
  for (int64_t first = 0; first < a.scopes.blocks_per_scope; first += kThreads) {
    const int64_t block = first + threadIdx.x;
    const int64_t own = block < a.scopes.blocks_per_scope ? ReadCount(counts + block * Digits<Key>::kLastBins) : 0;
    const int64_t sum = before + BlockExclusiveSum<kThreads>(own);
    if (sum < n && n <= sum + own) {
      found[0] = block;
      found[1] = sum;
    }
    before += BlockSum<kThreads>(own);
  }
  __syncthreads();
  const int64_t first = found[0] * kKeysPerBlock + threadIdx.x * kKeysPerThread;
  int64_t left = n - found[1];
  const Key* const keys = a.keys + scope * a.scopes.keys;
  int64_t own = 0;
  for (int i = 0; i < kKeysPerThread; ++i) own += first + i < a.scopes.keys && keys[first + i] == key;
  left -= BlockExclusiveSum<kThreads>(own);
  __syncthreads();  // everybody has read `found`
  if (left > 0 && left <= own) {
    int64_t index = first - 1;
    while (left > 0) left -= keys[++index] == key;
    found[0] = index;
  }
  __syncthreads();
  return scope * a.scopes.keys + found[0];
}

// By the block that counted last.
template <class Key>
__device__ void FinishDigit(const CountArguments<Key>& a, int64_t scope, const unsigned* histogram) {
  Select<Key> select = {0, 0};
  if (a.digit_index == 0) {
    select.k = NegativesOf(a, scope);
  } else {
    select = a.selects[scope];
  }
  if (select.k == 0) {
    if (threadIdx.x == 0) {
      a.selects[scope] = select;
      a.cuts[scope] = {~Key(0), -1};
    }
    return;
  }
  const ChosenBin chosen = ChooseBin(histogram, select.k);
  select = {static_cast<Key>(select.prefix | static_cast<Key>(chosen.bin) << a.digit.shift), chosen.k};
  if (threadIdx.x == 0) a.selects[scope] = select;
  if (a.digit.shift > 0) return;
  const bool keeps_all_equals = chosen.count == select.k;
  const int64_t last = keeps_all_equals ? (scope + 1) * a.scopes.keys - 1 : FindNth(a, scope, select.prefix, select.k);
  if (threadIdx.x == 0) a.cuts[scope] = {select.prefix, last};
}

// Counts a digit of the keys that have the digits chosen so far.
template <class Key>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor) CountDigit(CountArguments<Key> a) {
  __shared__ unsigned counts[kDigitBins];
  __shared__ bool is_last;
  const int64_t scope = blockIdx.x / a.scopes.blocks_per_scope, block = blockIdx.x % a.scopes.blocks_per_scope;
  const Select<Key> select = a.digit_index == 0 ? Select<Key>{0, 1} : a.selects[scope];
  if (select.k == 0) return;
  for (int bin = threadIdx.x; bin < kDigitBins; bin += kThreads) counts[bin] = 0;
  __syncthreads();
  const Key* const keys = a.keys + scope * a.scopes.keys;
  const int64_t first = block * kKeysPerBlock + threadIdx.x;
  for (int i = 0; i < kKeysPerThread; ++i) {
    const int64_t index = first + i * kThreads;
    if (index >= a.scopes.keys) continue;
    const Key difference = (keys[index] ^ select.prefix) >> a.digit.shift;
    if (a.digit_index == 0 || difference >> a.digit.bits == 0) {
      atomicAdd(counts + ((keys[index] >> a.digit.shift) & ((1u << a.digit.bits) - 1)), 1u);
    }
  }
  __syncthreads();
  unsigned* const histogram = a.histograms + (scope * Digits<Key>::kCount + a.digit_index) * kDigitBins;
  for (int bin = threadIdx.x; bin < kDigitBins; bin += kThreads) {
    if (counts[bin] != 0) atomicAdd(histogram + bin, counts[bin]);
  }
  if (a.digit.shift == 0) {
    unsigned* const own = a.last_histograms + blockIdx.x * static_cast<int64_t>(Digits<Key>::kLastBins);
    for (int bin = threadIdx.x; bin < Digits<Key>::kLastBins; bin += kThreads) own[bin] = counts[bin];
  }
  __threadfence();  // this thread's counts are there before the block says so
  __syncthreads();
  if (threadIdx.x == 0) {
    const unsigned before = atomicAdd(a.finished + scope * Digits<Key>::kCount + a.digit_index, 1u);
    is_last = before + 1 == a.scopes.blocks_per_scope;
  }
  __syncthreads();
  if (is_last) FinishDigit(a, scope, histogram);
}

}  // namespace

template <class Key>
size_t DeviceMiningWorkspaceBytes(const MiningOptions& options, int64_t images, int64_t boxes) {
  const Scopes scopes = ScopesOf(options, images, boxes);
  return MiningWork<Key>(nullptr, scopes.count, scopes.blocks_per_scope).workspace.bytes();
}

template <class Key>
Status FindMiningCuts(const MiningOptions& options, int64_t images, int64_t boxes, const Key* keys,
                      const double* n_positive, const int64_t* n_candidates, MiningCut<Key>* cuts, void* workspace,
                      DeviceStream stream) {
  const Scopes scopes = ScopesOf(options, images, boxes);
  const MiningWork<Key> work(workspace, scopes.count, scopes.blocks_per_scope);
  for (int i = 0; i < Digits<Key>::kCount; ++i) {
    const CountArguments<Key> arguments = {
        options, images,          boxes,         scopes,       Digits<Key>::At(i),  i, keys, n_positive, n_candidates,
        cuts,    work.histograms, work.finished, work.selects, work.last_histograms};
    DETLOSS_RETURN_IF_ERROR(Launch("hard negative mining", CountDigit<Key>, scopes.count * scopes.blocks_per_scope,
                                   kThreads, stream, arguments));
  }
  return Status::Ok();
}

template size_t DeviceMiningWorkspaceBytes<uint32_t>(const MiningOptions&, int64_t, int64_t);
template size_t DeviceMiningWorkspaceBytes<uint64_t>(const MiningOptions&, int64_t, int64_t);
template Status FindMiningCuts(const MiningOptions&, int64_t, int64_t, const uint32_t*, const double*, const int64_t*,
                               MiningCut<uint32_t>*, void*, DeviceStream);
template Status FindMiningCuts(const MiningOptions&, int64_t, int64_t, const uint64_t*, const double*, const int64_t*,
                               MiningCut<uint64_t>*, void*, DeviceStream);

// ---- Mining as an op of its own ----

namespace {

template <class Key>
struct MaskWork {
  MaskWork(void* buffer, const MiningOptions& options, int64_t images, int64_t boxes) : workspace(buffer) {
    mining = workspace.Take<char>(static_cast<int64_t>(DeviceMiningWorkspaceBytes<Key>(options, images, boxes)));
    zeroed_bytes = workspace.bytes();
    keys = workspace.Take<Key>(images * boxes);
    n_positive = workspace.Take<double>(images);
    n_candidates = workspace.Take<int64_t>(images);
    cuts = workspace.Take<MiningCut<Key>>(images);
  }

  Workspace workspace;
  char* mining;
  size_t zeroed_bytes;
  Key* keys;
  double* n_positive;
  int64_t* n_candidates;
  MiningCut<Key>* cuts;
};

// A block per image.
template <class T>
__global__ void __launch_bounds__(kThreads)
    OrderKeys(int64_t boxes, const T* negative_loss, const Compute<T>* n_positive, Bits<Compute<T>>* keys,
              double* positives, int64_t* n_candidates) {
  const int64_t first = blockIdx.x * boxes;
  int64_t candidates = 0;
  for (int64_t box = threadIdx.x; box < boxes; box += kThreads) {
    const Compute<T> loss = ToCompute(negative_loss[first + box]);
    candidates += loss != 0;
    keys[first + box] = OrderedKey(loss);
  }
  candidates = BlockSum<kThreads>(candidates);
  if (threadIdx.x != 0) return;
  positives[blockIdx.x] = n_positive[blockIdx.x];
  n_candidates[blockIdx.x] = candidates;
}

template <class Key>
__global__ void __launch_bounds__(kThreads)
    WriteMask(bool one_scope, int64_t images, int64_t boxes, const Key* keys, const MiningCut<Key>* cuts, bool* mask) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < images * boxes) mask[i] = cuts[one_scope ? 0 : i / boxes].Keeps(keys[i], i);
}

}  // namespace

template <class T>
size_t HardNegativeMiningDeviceWorkspaceBytes(const MiningOptions& options, int64_t images, int64_t boxes) {
  return MaskWork<Bits<Compute<T>>>(nullptr, options, images, boxes).workspace.bytes();
}

template <class T>
Status HardNegativeMining(const MiningOptions& options, int64_t images, int64_t boxes, const T* negative_loss,
                          const Compute<T>* n_positive, bool* mask, void* workspace, DeviceStream stream) {
  using Key = Bits<Compute<T>>;
  const MaskWork<Key> work(workspace, options, images, boxes);
  DETLOSS_RETURN_IF_ERROR(CheckMiningOptions(options));
  DETLOSS_RETURN_IF_ERROR(CheckMiningShape(images, boxes));
  DETLOSS_RETURN_IF_ERROR(SetToZero(work.mining, work.zeroed_bytes, stream));
  DETLOSS_RETURN_IF_ERROR(Launch("order keys", OrderKeys<T>, images, kThreads, stream, boxes, negative_loss, n_positive,
                                 work.keys, work.n_positive, work.n_candidates));
  DETLOSS_RETURN_IF_ERROR(FindMiningCuts(options, images, boxes, work.keys, work.n_positive, work.n_candidates,
                                         work.cuts, work.mining, stream));
  return Launch("write mask", WriteMask<Key>, DividedUp(images * boxes, kThreads), kThreads, stream,
                options.scope == MiningScope::kBatch, images, boxes, work.keys, work.cuts, mask);
}

#define DETLOSS_INSTANTIATE(T)                                                                                   \
  template size_t HardNegativeMiningDeviceWorkspaceBytes<T>(const MiningOptions&, int64_t, int64_t);             \
  template Status HardNegativeMining(const MiningOptions&, int64_t, int64_t, const T*, const Compute<T>*, bool*, \
                                     void*, DeviceStream);
DETLOSS_INSTANTIATE(float)
DETLOSS_INSTANTIATE(double)
DETLOSS_INSTANTIATE(Half)
DETLOSS_INSTANTIATE(BFloat16)
#undef DETLOSS_INSTANTIATE

}  // namespace detloss
