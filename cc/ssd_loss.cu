#include "cc/block_reduce.cuh"
#include "cc/hard_negative_mining.h"
#include "cc/launch.h"
#include "cc/math.h"
#include "cc/row_group.cuh"
#include "cc/ssd_loss.h"
#include "cc/ssd_row.h"
#include "cc/workspace.h"
#include "cc/zero_fill.cuh"

namespace detloss {
namespace {

constexpr int kThreads = 256;
// Blocks that a multiprocessor has registers for: asked for none, the compiler spills some to fit in more blocks.
template <class T>
constexpr int kBlocksPerProcessor = sizeof(T) == sizeof(double) ? 1 : 2;
// Boxes of a block of the forward pass, all of one image; a thread has one.
constexpr int kBoxesPerBlock = kThreads;
// Rows of a block of the backward pass: as many begin and end on 16 bytes, whatever their width.
constexpr int kRowsPerTile = 128;

int64_t BlocksPerImage(const SsdShape& shape) { return DividedUp(shape.boxes, kBoxesPerBlock); }

// Sums over a block, of the pass that scores and of the one that keeps.
struct ScoredSums {
  double positive;
  double localization;
  double n_pos;
  int64_t n_candidates;
  int32_t num_invalid;
  int32_t is_nan;  // a positive or a candidate has NaN as its cross-entropy or key
};

struct KeptSums {
  double negative;
  int64_t n_kept;
};

template <class T>
struct ForwardWork {
  using L = Compute<T>;

  ForwardWork(void* buffer, const SsdLossOptions& options, const SsdShape& shape) : workspace(buffer) {
    mining_bytes = DeviceMiningWorkspaceBytes<Bits<L>>(options.mining, shape.images, shape.boxes);
    mining = workspace.Take<char>(static_cast<int64_t>(mining_bytes));
    keys = workspace.Take<Bits<L>>(shape.images * shape.boxes);
    cross_entropy = workspace.Take<L>(shape.images * shape.boxes);
    scored = workspace.Take<ScoredSums>(shape.images * BlocksPerImage(shape));
    kept = workspace.Take<KeptSums>(shape.images * BlocksPerImage(shape));
    n_positive = workspace.Take<double>(shape.images);
    n_candidates = workspace.Take<int64_t>(shape.images);
    cuts = workspace.Take<MiningCut<Bits<L>>>(shape.images);
  }

  Workspace workspace;
  size_t mining_bytes;
  char* mining;
  Bits<L>* keys;
  L* cross_entropy;
  ScoredSums* scored;  // [images, blocks of an image]
  KeptSums* kept;
  double* n_positive;
  int64_t* n_candidates;
  MiningCut<Bits<L>>* cuts;
};

template <class T>
struct ForwardArguments {
  SsdLossOptions options;  // with a resolved layout
  SsdShape shape;
  int64_t blocks_per_image;
  const Compute<T>* y_true;
  const T* y_pred;
  SsdLossOutputs<Compute<T>> outputs;
  Bits<Compute<T>>* keys;
  Compute<T>* cross_entropy;
  ScoredSums* scored;
  KeptSums* kept;
  double* n_positive;
  int64_t* n_candidates;
  MiningCut<Bits<Compute<T>>>* cuts;
};

// The box of a thread: its image, and its flat index or -1.
struct Place {
  int64_t image;
  int64_t box;
};

__device__ Place PlaceOf(const SsdShape& shape, int64_t blocks_per_image) {
  const int64_t image = blockIdx.x / blocks_per_image;
  const int64_t box = blockIdx.x % blocks_per_image * kBoxesPerBlock + threadIdx.x;
  return {image, box < shape.boxes ? image * shape.boxes + box : -1};
}

// ---- Forward ----

// Whether the lane's row has a class but the background that is not +0. The warp looks at one row after the other, so
// that neighbours read neighbouring classes. Rows without any are nearly all.
template <class L>
__device__ bool HasForeground(const L* rows, int64_t width, int64_t num_rows, int64_t num_classes) {
  bool mine = false;
  const int lane = threadIdx.x % kWarp;
#pragma unroll 8
  for (int row = 0; row < kWarp; ++row) {
    Bits<L> any = 0;
    if (row < num_rows) {
      for (int64_t c = 1 + lane; c < num_classes; c += kWarp) any |= BitCast<Bits<L>>(rows[row * width + c]);
    }
    const bool found = __any_sync(kAllLanes, any != 0);
    if (row == lane) mine = found;
  }
  return mine;
}

// The statistics of the lane's row. Half of the warp looks at a row at a time.
template <class T>
__device__ SsdRowStatistics<Compute<T>> StatisticsOf(const SsdLossOptions& options, const T* classes, int64_t width,
                                                     int64_t num_rows) {
  using L = Compute<T>;
  const int lane = threadIdx.x % kWarp, half = lane / kGroup;
  const int64_t num_classes = options.layout.num_classes;
  const bool by_foreground = options.rank_by == RankBy::kForeground;
  SsdRowStatistics<L> mine = {{0, 0}, 0};
  for (int row = half; row < kWarp; row += kWarp / kGroup) {
    const T* const row_classes = classes + (row < num_rows ? row : 0) * width;
    SsdRowStatistics<L> statistics = {{0, 0}, 0};
    if (options.from_logits) statistics.softmax = GroupSoftmaxTerms(row_classes, num_classes);
    if (by_foreground) statistics.foreground = GroupLargestOrNan(row_classes + 1, num_classes - 1);
    // Both halves hand theirs to the lane of the row.
    const int first_row = row - half, from = (lane - first_row) * kGroup & (kWarp - 1);
    const L largest = __shfl_sync(kAllLanes, statistics.softmax.largest, from);
    const L log_sum = __shfl_sync(kAllLanes, statistics.softmax.log_sum, from);
    const L foreground = __shfl_sync(kAllLanes, statistics.foreground, from);
    if (lane == first_row || lane == first_row + 1) mine = {{largest, log_sum}, foreground};
  }
  return mine;
}

template <class T>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor<T>) ScoreBoxes(ForwardArguments<T> a) {
  using L = Compute<T>;
  const SsdLayout& layout = a.options.layout;
  const Place place = PlaceOf(a.shape, a.blocks_per_image);
  const int lane = threadIdx.x % kWarp;
  const int64_t warp_first = blockIdx.x % a.blocks_per_image * kBoxesPerBlock + threadIdx.x - lane;
  const int64_t left = a.shape.boxes - warp_first, num_rows = left < 0 ? 0 : left < kWarp ? left : kWarp;
  const int64_t warp_offset = (place.image * a.shape.boxes + (num_rows > 0 ? warp_first : 0)) * a.shape.width;
  const bool has_foreground =
      HasForeground(a.y_true + warp_offset + layout.class_column, a.shape.width, num_rows, layout.num_classes);
  SsdRowStatistics<L> statistics = {{0, 0}, 0};
  if (a.options.from_logits || a.options.rank_by == RankBy::kForeground) {
    statistics = StatisticsOf(a.options, a.y_pred + warp_offset + layout.class_column, a.shape.width, num_rows);
  }
  ScoredSums sums = {0, 0, 0, 0, 0, 0};
  if (place.box >= 0) {
    const int64_t offset = place.box * a.shape.width;
    const SsdScore<L> score =
        ScoreBox(a.options, a.y_true + offset, a.y_pred + offset, has_foreground ? layout.num_classes : 1, statistics);
    const bool invalid = score.selection == kSsdInvalid;
    a.keys[place.box] = invalid ? kNeverKept<Bits<L>> : OrderedKey(score.key);
    a.cross_entropy[place.box] = score.cross_entropy;
    a.outputs.selection[place.box] = score.selection;
    sums = {static_cast<double>(score.positive) * score.cross_entropy,
            static_cast<double>(score.positive) * score.localization,
            static_cast<double>(score.positive),
            score.key != 0,
            invalid,
            IsNan(score.key) || IsNan(score.cross_entropy)};
    // A product with zero must not be NaN.
    if (!(score.positive > 0)) sums.positive = sums.localization = 0;
  }
  sums.positive = BlockSum<kThreads>(sums.positive);
  sums.localization = BlockSum<kThreads>(sums.localization);
  sums.n_pos = BlockSum<kThreads>(sums.n_pos);
  sums.n_candidates = __syncthreads_count(sums.n_candidates);
  sums.num_invalid = __syncthreads_count(sums.num_invalid);
  sums.is_nan = __syncthreads_or(sums.is_nan);
  if (threadIdx.x == 0) a.scored[blockIdx.x] = sums;
}

// A block per image: what mining has to know of it.
template <class T>
__global__ void __launch_bounds__(kThreads) CountImage(ForwardArguments<T> a) {
  const ScoredSums* const blocks = a.scored + blockIdx.x * a.blocks_per_image;
  double n_pos = 0;
  int64_t n_candidates = 0;
  for (int64_t block = threadIdx.x; block < a.blocks_per_image; block += kThreads) {
    n_pos += blocks[block].n_pos;
    n_candidates += blocks[block].n_candidates;
  }
  n_pos = BlockSum<kThreads>(n_pos);
  n_candidates = BlockSum<kThreads>(n_candidates);
  if (threadIdx.x != 0) return;
  a.outputs.n_pos[blockIdx.x] = static_cast<Compute<T>>(n_pos);
  a.n_positive[blockIdx.x] = a.outputs.n_pos[blockIdx.x];
  a.n_candidates[blockIdx.x] = n_candidates;
}

template <class T>
__global__ void __launch_bounds__(kThreads) KeepBoxes(ForwardArguments<T> a) {
  const Place place = PlaceOf(a.shape, a.blocks_per_image);
  const MiningCut<Bits<Compute<T>>> cut = a.cuts[a.options.mining.scope == MiningScope::kBatch ? 0 : place.image];
  double negative = 0;
  bool kept = false;
  if (place.box >= 0) {
    uint8_t* const selection = a.outputs.selection + place.box;
    kept = cut.Keeps(a.keys[place.box], place.box) && *selection != kSsdInvalid;
    if (kept) {
      *selection |= kSsdKept;
      negative = a.cross_entropy[place.box];
    }
  }
  negative = BlockSum<kThreads>(negative);
  const int n_kept = __syncthreads_count(kept);
  if (threadIdx.x == 0) a.kept[blockIdx.x] = {negative, n_kept};
}

// By all threads of a block.
template <class L>
__device__ double SumOfImages(const L* values, int64_t images) {
  double sum = 0;
  for (int64_t image = threadIdx.x; image < images; image += kThreads) sum += values[image];
  return BlockSum<kThreads>(sum);
}

// A block per image: its terms.
template <class T>
__global__ void __launch_bounds__(kThreads) WriteTerms(ForwardArguments<T> a) {
  using L = Compute<T>;
  ScoredSums scored = {0, 0, 0, 0, 0, 0};
  KeptSums kept = {0, 0};
  for (int64_t i = threadIdx.x; i < a.blocks_per_image; i += kThreads) {
    const int64_t block = blockIdx.x * a.blocks_per_image + i;
    scored.positive += a.scored[block].positive;
    scored.localization += a.scored[block].localization;
    scored.num_invalid += a.scored[block].num_invalid;
    scored.is_nan |= a.scored[block].is_nan;
    kept.negative += a.kept[block].negative;
    kept.n_kept += a.kept[block].n_kept;
  }
  const double batch_positives = SumOfImages(a.outputs.n_pos, a.shape.images);
  const double positive = BlockSum<kThreads>(scored.positive), negative = BlockSum<kThreads>(kept.negative);
  const double localization = BlockSum<kThreads>(scored.localization);
  const int64_t n_kept = BlockSum<kThreads>(kept.n_kept);
  const int32_t num_invalid = BlockSum<kThreads>(scored.num_invalid);
  const bool is_nan = __syncthreads_or(scored.is_nan);
  if (threadIdx.x != 0) return;
  const int64_t image = blockIdx.x;
  a.outputs.n_kept[image] = static_cast<L>(n_kept);
  const SsdScales<double> scales =
      ScalesOf(a.options, a.shape.images, batch_positives, a.outputs.n_pos[image], a.outputs.n_kept[image]);
  const SsdTerms terms = TermsOf(scales, positive, is_nan ? NAN : negative, localization);
  a.outputs.positive[image] = static_cast<L>(terms.positive);
  a.outputs.negative[image] = static_cast<L>(terms.negative);
  a.outputs.localization[image] = static_cast<L>(terms.localization);
  a.outputs.loss[image] = static_cast<L>(terms.loss);
  a.outputs.num_invalid[image] = num_invalid;
}

// ---- Backward ----

template <class T>
struct BackwardArguments {
  SsdLossOptions options;  // with a resolved layout
  SsdShape shape;
  const Compute<T>* loss_gradient;
  const Compute<T>* y_true;
  const T* y_pred;
  SsdLossResiduals<Compute<T>> residuals;
  T* gradient;
};

// Weight of a positive box, by a warp.
template <class L>
__device__ L PositiveWeight(const SsdLayout& layout, const L* truth) {
  if (layout.has_positive_column) return truth[layout.positive_column];
  L largest = 0;
  for (int64_t c = 1 + threadIdx.x % kWarp; c < layout.num_classes; c += kWarp) {
    const L label = truth[layout.class_column + c];
    largest = label > largest ? label : largest;
  }
  return WarpLargest(largest);
}

// The classes' gradient, by a warp, into zeros.
template <class T>
__device__ void AddClassGradient(const BackwardArguments<T>& a, const Compute<T>* labels, const T* classes,
                                 Compute<T> scale, T* gradient) {
  using L = Compute<T>;
  const int64_t num_classes = a.options.layout.num_classes;
  const int lane = threadIdx.x % kWarp;
  if (!a.options.from_logits) {
    for (int64_t c = lane; c < num_classes; c += kWarp) {
      if (labels[c] != 0) Store(ProbabilityGradient(labels[c], ToCompute(classes[c]), scale), gradient + c);
    }
    return;
  }
  L label_sum = 0;
  for (int64_t c = lane; c < num_classes; c += kWarp) label_sum += labels[c];
  label_sum = WarpSum(label_sum);
  if (label_sum == 0) return;
  const SoftmaxTerms<L> softmax = GroupSoftmaxTerms(classes, num_classes);  // by both groups alike
  for (int64_t c = lane; c < num_classes; c += kWarp) {
    const L probability = Exp(softmax.LogProbability(ToCompute(classes[c])));
    Store(LogitGradient(labels[c], label_sum, probability, scale), gradient + c);
  }
}

// A box's gradient, by a warp, into zeros.
template <class T>
__device__ void AddBoxGradient(const BackwardArguments<T>& a, int64_t box, const SsdScales<Compute<T>>& scales) {
  using L = Compute<T>;
  const SsdLayout& layout = a.options.layout;
  const uint8_t selection = a.residuals.selection[box];
  const L* const truth = a.y_true + box * a.shape.width;
  const T* const prediction = a.y_pred + box * a.shape.width;
  T* const gradient = a.gradient + box * a.shape.width;
  const L positive = selection & kSsdPositive ? PositiveWeight(layout, truth) : L(0);
  // Finite, as the slopes may be 0.
  const L confidence = ToFinite(scales.confidence * (positive + (selection & kSsdKept ? 1 : 0)));
  const L localization = ToFinite(scales.localization * positive);
  if (confidence != 0) {
    AddClassGradient(a, truth + layout.class_column, prediction + layout.class_column, confidence,
                     gradient + layout.class_column);
  }
  if (positive > 0 && localization != 0 && threadIdx.x % kWarp == 0) {
    SmoothL1Gradient(truth + layout.box_column, prediction + layout.box_column, localization,
                     gradient + layout.box_column);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor<T>) WriteGradient(BackwardArguments<T> a) {
  using L = Compute<T>;
  const int64_t boxes = a.shape.images * a.shape.boxes;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kRowsPerTile;
  const int64_t rows = boxes - first < kRowsPerTile ? boxes - first : kRowsPerTile;
  FillWithZeros<kThreads>(a.gradient + first * a.shape.width, rows * a.shape.width);
  double batch_positives = 0;
  if (a.options.normalizer == Normalizer::kBatch) {
    batch_positives = SumOfImages(a.residuals.n_pos, a.shape.images);
  }
  __syncthreads();  // zeros before what goes into them
  for (int64_t row = threadIdx.x / kWarp; row < rows; row += kThreads / kWarp) {
    const int64_t box = first + row, image = box / a.shape.boxes;
    if (!(a.residuals.selection[box] & (kSsdPositive | kSsdKept))) continue;
    const SsdScales<double> normalisers =
        ScalesOf(a.options, a.shape.images, batch_positives, a.residuals.n_pos[image], a.residuals.n_kept[image]);
    AddBoxGradient(a, box,
                   SsdScales<L>{static_cast<L>(normalisers.confidence * a.loss_gradient[image]),
                                static_cast<L>(normalisers.localization * a.loss_gradient[image])});
  }
}

}  // namespace

template <class T>
size_t SsdLossDeviceWorkspaceBytes(const SsdLossOptions& options, const SsdShape& shape) {
  return ForwardWork<T>(nullptr, options, shape).workspace.bytes();
}

template <class T>
Status SsdLossForward(const SsdLossOptions& options, const SsdShape& shape, const Compute<T>* y_true, const T* y_pred,
                      const SsdLossOutputs<Compute<T>>& outputs, void* workspace, DeviceStream stream) {
  SsdLossOptions resolved;
  DETLOSS_RETURN_IF_ERROR(ResolveSsdOptions(options, shape, &resolved));
  DETLOSS_RETURN_IF_ERROR(CheckInvalidTargetsOnDevice(options.invalid_targets));
  const ForwardWork<T> work(workspace, options, shape);
  const int64_t blocks_per_image = BlocksPerImage(shape), blocks = shape.images * blocks_per_image;
  const ForwardArguments<T> arguments = {resolved,    shape,     blocks_per_image, y_true,
                                         y_pred,      outputs,   work.keys,        work.cross_entropy,
                                         work.scored, work.kept, work.n_positive,  work.n_candidates,
                                         work.cuts};
  DETLOSS_RETURN_IF_ERROR(SetToZero(work.mining, work.mining_bytes, stream));
  DETLOSS_RETURN_IF_ERROR(Launch("ssd_loss: score", ScoreBoxes<T>, blocks, kThreads, stream, arguments));
  DETLOSS_RETURN_IF_ERROR(Launch("ssd_loss: count", CountImage<T>, shape.images, kThreads, stream, arguments));
  DETLOSS_RETURN_IF_ERROR(FindMiningCuts(options.mining, shape.images, shape.boxes, work.keys, work.n_positive,
                                         work.n_candidates, work.cuts, work.mining, stream));
  DETLOSS_RETURN_IF_ERROR(Launch("ssd_loss: keep", KeepBoxes<T>, blocks, kThreads, stream, arguments));
  return Launch("ssd_loss: terms", WriteTerms<T>, shape.images, kThreads, stream, arguments);
}

template <class T>
Status SsdLossBackward(const SsdLossOptions& options, const SsdShape& shape, const Compute<T>* loss_gradient,
                       const Compute<T>* y_true, const T* y_pred, const SsdLossResiduals<Compute<T>>& residuals,
                       T* gradient, DeviceStream stream) {
  SsdLossOptions resolved;
  DETLOSS_RETURN_IF_ERROR(ResolveSsdOptions(options, shape, &resolved));
  const BackwardArguments<T> arguments = {resolved, shape, loss_gradient, y_true, y_pred, residuals, gradient};
  return Launch("ssd_loss gradient", WriteGradient<T>, DividedUp(shape.images * shape.boxes, kRowsPerTile), kThreads,
                stream, arguments);
}

#define DETLOSS_INSTANTIATE(T)                                                                                  \
  template size_t SsdLossDeviceWorkspaceBytes<T>(const SsdLossOptions&, const SsdShape&);                       \
  template Status SsdLossForward(const SsdLossOptions&, const SsdShape&, const Compute<T>*, const T*,           \
                                 const SsdLossOutputs<Compute<T>>&, void*, DeviceStream);                       \
  template Status SsdLossBackward(const SsdLossOptions&, const SsdShape&, const Compute<T>*, const Compute<T>*, \
                                  const T*, const SsdLossResiduals<Compute<T>>&, T*, DeviceStream);
DETLOSS_INSTANTIATE(float)
DETLOSS_INSTANTIATE(double)
DETLOSS_INSTANTIATE(Half)
DETLOSS_INSTANTIATE(BFloat16)
#undef DETLOSS_INSTANTIATE

}  // namespace detloss
