#include <string>

#include "cc/block_reduce.cuh"
#include "cc/launch.h"
#include "cc/math.h"
#include "cc/workspace.h"
#include "cc/yolov3_loss.h"
#include "cc/yolov3_terms.h"
#include "cc/yolov3_warp_classes.cuh"
#include "cc/zero_fill.cuh"

namespace detloss {
namespace {

constexpr int kThreads = 256;
// Rows of a block of the forward pass, all of one image and one scale; a thread has one.
constexpr int kRowsPerBlock = kThreads;
// Blocks that a multiprocessor has registers for: asked for none, the compiler spills some to fit in more blocks.
template <class T>
constexpr int kBlocksPerProcessor = sizeof(T) == sizeof(double) ? 1 : 2;
// Rows of a block of the backward pass: as many begin and end on 16 bytes, whatever their width.
constexpr int kRowsPerTile = 128;
// What fits into the arguments of a launch.
constexpr int kMostScales = 8;
constexpr int kMostAnchors = 64;  // of all scales

int64_t BlocksPerImage(const YoloV3Shape& shape, size_t scale) { return DividedUp(shape.Rows(scale), kRowsPerBlock); }

int64_t BlockCount(const YoloV3Shape& shape) {
  int64_t count = 0;
  for (size_t scale = 0; scale < shape.scales.size(); ++scale) count += shape.images * BlocksPerImage(shape, scale);
  return count;
}

// ---- What launches take ----

struct DeviceScale {
  int64_t height, width;
  int64_t rows;              // of an image
  int64_t blocks_per_image;  // of the forward pass
  int64_t first_block;
  int64_t first_tile;  // of the backward pass
  double grid_sense;
};

template <class L>
struct DeviceGeometry {
  YoloCellOptions options;  // with class weights on the device
  int64_t images, anchors, classes;
  int scales;
  int64_t blocks, tiles;
  DeviceScale scale[kMostScales];
  L anchor_sizes[2 * kMostAnchors];  // [scales, anchors, 2], relative to the input
};

Status CheckDevice(const YoloV3LossOptions& options, const YoloV3Shape& shape) {
  DETLOSS_RETURN_IF_ERROR(CheckYoloV3Options(options, shape));
  DETLOSS_RETURN_IF_ERROR(CheckInvalidTargetsOnDevice(options.invalid_targets));
  const size_t scales = shape.scales.size();
  if (scales <= kMostScales && scales * static_cast<size_t>(shape.anchors) <= kMostAnchors) return Status::Ok();
  return Status::InvalidArgument("anchors: expected at most " + std::to_string(kMostScales) + " scales and " +
                                 std::to_string(kMostAnchors) + " anchors in all on a GPU, got " +
                                 std::to_string(scales) + " scales of " + std::to_string(shape.anchors));
}

template <class L>
DeviceGeometry<L> GeometryOf(const YoloV3LossOptions& options, const YoloV3Shape& shape, const float* class_weights) {
  DeviceGeometry<L> geometry = {};
  geometry.options = options.cell;
  geometry.options.class_weights = options.class_weights.empty() ? nullptr : class_weights;
  geometry.images = shape.images;
  geometry.anchors = shape.anchors;
  geometry.classes = shape.classes;
  geometry.scales = static_cast<int>(shape.scales.size());
  for (int i = 0; i < geometry.scales; ++i) {
    const int64_t rows = shape.Rows(i), blocks_per_image = BlocksPerImage(shape, i);
    geometry.scale[i] = {shape.scales[i].height,
                         shape.scales[i].width,
                         rows,
                         blocks_per_image,
                         geometry.blocks,
                         geometry.tiles,
                         options.grid_sense.empty() ? 1.0 : static_cast<double>(options.grid_sense[i])};
    geometry.blocks += shape.images * blocks_per_image;
    geometry.tiles += DividedUp(shape.images * rows, kRowsPerTile);
  }
  const std::vector<L> sizes = YoloAnchorSizes<L>(options, shape);
  for (size_t i = 0; i < sizes.size(); ++i) geometry.anchor_sizes[i] = sizes[i];
  return geometry;
}

// Values from the host, as arguments of a launch: a copy would wait for the stream.
constexpr int kValuesPerLaunch = 256;
struct Values {
  float values[kValuesPerLaunch];
};

__global__ void __launch_bounds__(kValuesPerLaunch) WriteValues(Values from, int64_t count, float* to) {
  if (threadIdx.x < count) to[threadIdx.x] = from.values[threadIdx.x];
}

Status Upload(const std::vector<float>& values, float* to, DeviceStream stream) {
  const int64_t count = static_cast<int64_t>(values.size());
  for (int64_t first = 0; first < count; first += kValuesPerLaunch) {
    const int64_t left = count - first, part = left < kValuesPerLaunch ? left : kValuesPerLaunch;
    Values chunk = {};
    for (int64_t i = 0; i < part; ++i) chunk.values[i] = values[first + i];
    DETLOSS_RETURN_IF_ERROR(
        Launch("yolov3_loss: class weights", WriteValues, 1, kValuesPerLaunch, stream, chunk, part, to + first));
  }
  return Status::Ok();
}

// ---- Forward ----

// Sums over a block's rows.
struct BlockSums {
  double xy, wh, overlap, object, no_object, class_term;
  int32_t is_nan;        // a valid row has NaN among its five logits of box and objectness
  int32_t class_is_nan;  // a row has NaN among its class logits, which count
};

struct Collected {
  int32_t num_boxes;
  int32_t num_invalid;
};

template <class L>
struct ForwardWork {
  ForwardWork(void* buffer, const YoloV3Shape& shape, int64_t num_class_weights) : workspace(buffer) {
    const int64_t blocks = BlockCount(shape);
    boxes = workspace.Take<Box<L>>(blocks * kRowsPerBlock);
    collected = workspace.Take<Collected>(blocks);
    sums = workspace.Take<BlockSums>(blocks);
    class_weights = workspace.Take<float>(num_class_weights);
  }

  Workspace workspace;
  Box<L>* boxes;  // [blocks, rows of a block]: the true boxes of a block, one after the other
  Collected* collected;
  BlockSums* sums;
  float* class_weights;
};

template <class T>
struct ForwardArguments {
  using L = Compute<T>;

  DeviceGeometry<L> geometry;
  IgnoreTest<L> ignore;
  bool whole_image;  // whether the true boxes of all scales ignore a row
  const L* y_true[kMostScales];
  const T* y_pred[kMostScales];
  uint8_t* selection[kMostScales];
  L* objectness_gradient[kMostScales];
  L *loss, *box, *xy, *wh, *object, *no_object, *class_term;
  int32_t* num_invalid;
  Box<L>* boxes;
  Collected* collected;
  BlockSums* sums;
};

// The block's scale and image, and the thread's row.
struct Place {
  int scale;
  int64_t image;
  int64_t row;  // in the image
  bool has_row;

  __device__ int64_t FlatRow(const DeviceScale& of) const { return image * of.rows + row; }
};

template <class L>
__device__ Place PlaceOf(const DeviceGeometry<L>& geometry) {
  int scale = geometry.scales - 1;
  while (blockIdx.x < geometry.scale[scale].first_block) --scale;
  const DeviceScale& of = geometry.scale[scale];
  const int64_t block = blockIdx.x - of.first_block;
  const int64_t row = block % of.blocks_per_image * kRowsPerBlock + threadIdx.x;
  return {scale, block / of.blocks_per_image, row, row < of.rows};
}

// Where a row is, and what its logits decode to.
template <class L>
__device__ YoloPlace<L> CellOf(const DeviceGeometry<L>& geometry, int scale, int64_t row) {
  const DeviceScale& of = geometry.scale[scale];
  const int64_t anchor = row % geometry.anchors, cell = row / geometry.anchors;
  const L* const sizes = geometry.anchor_sizes + 2 * (scale * geometry.anchors + anchor);
  return {static_cast<L>(cell % of.width),
          static_cast<L>(cell / of.width),
          static_cast<L>(of.width),
          static_cast<L>(of.height),
          sizes[0],
          sizes[1],
          static_cast<L>(of.grid_sense)};
}

// Marks objects and invalid labels, and collects the true boxes of every block in the order of its rows.
template <class T>
__global__ void __launch_bounds__(kThreads) Collect(ForwardArguments<T> a) {
  using L = Compute<T>;
  const YoloCellOptions& options = a.geometry.options;
  const Place place = PlaceOf(a.geometry);
  const int64_t row = place.FlatRow(a.geometry.scale[place.scale]);
  uint8_t selection = 0;
  Box<L> box = {0, 0, 0, 0};
  if (place.has_row) {
    const L* const label = a.y_true[place.scale] + row * LabelColumns(options, a.geometry.classes);
    if (!IsBackground(label)) selection = SelectRow(options, a.geometry.classes, label, &box);
    a.selection[place.scale][row] = selection;
  }
  const int is_object = selection == kYoloObject;
  const int before = BlockExclusiveSum<kThreads>(is_object);
  if (is_object) a.boxes[static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + before] = box;
  const int num_boxes = __syncthreads_count(is_object), num_invalid = __syncthreads_count(selection == kYoloInvalid);
  if (threadIdx.x == 0) a.collected[blockIdx.x] = {num_boxes, num_invalid};
}

// Whether a box reaches the threshold with a true box that blocks `first` to `first + count` collected. All threads of
// a block take part. The true boxes go through shared memory, one per thread at a time.
template <class T>
__device__ bool IsIgnoredByBlocks(const ForwardArguments<T>& a, const Corners<Compute<T>>& corners, int64_t first,
                                  int64_t count) {
  using L = Compute<T>;
  __shared__ Corners<L> truths[kThreads];
  __shared__ int boxes_before[kThreads];  // of every block, those of the blocks before
  bool ignored = false;
  for (int64_t part = 0; part < count; part += kThreads) {
    const int64_t mine = part + threadIdx.x;
    const int own = mine < count ? a.collected[first + mine].num_boxes : 0;
    const int before = BlockExclusiveSum<kThreads>(own);
    const int total = BlockSum<kThreads>(own);
    boxes_before[threadIdx.x] = before;
    for (int tile = 0; tile < total; tile += kThreads) {
      __syncthreads();
      const int index = tile + threadIdx.x;
      if (index < total) {
        int low = 0, high = kThreads;  // the last block with no more than `index` boxes before it
        while (high - low > 1) {
          const int middle = (low + high) / 2;
          (boxes_before[middle] <= index ? low : high) = middle;
        }
        const Box<L> box = a.boxes[(first + part + low) * kRowsPerBlock + index - boxes_before[low]];
        truths[threadIdx.x] = CornersOf(box.x, box.y, box.w, box.h);
      }
      __syncthreads();
      const int in_tile = total - tile < kThreads ? total - tile : kThreads;
      for (int i = 0; i < in_tile && !ignored; ++i) ignored = IsIgnored(a.ignore, corners, truths[i]);
    }
    __syncthreads();  // before the next part overwrites the counts
  }
  return ignored;
}

template <class T>
__device__ bool IsIgnoredBox(const ForwardArguments<T>& a, const Place& place, const Corners<Compute<T>>& corners) {
  bool ignored = false;
  for (int scale = 0; scale < a.geometry.scales; ++scale) {
    if (!a.whole_image && scale != place.scale) continue;
    const DeviceScale& of = a.geometry.scale[scale];
    const int64_t first = of.first_block + place.image * of.blocks_per_image;
    ignored |= IsIgnoredByBlocks(a, corners, first, of.blocks_per_image);
  }
  return ignored;
}

// Terms of a row with an object but its class term; returns the objectness' gradient.
template <class L>
__device__ L AddObject(const YoloCellOptions& options, const YoloPlace<L>& place, const L* label, const L* logits,
                       bool ignored, BlockSums* sums) {
  const YoloTarget<L> target = ReadTarget(options, label);
  const double weight = static_cast<double>(BoxWeight(target)) * options.box_weight;
  if (weight != 0) {
    const BoxTerm<L> box = BoxTermOf(options, place, target.box, logits);
    sums->xy = weight * box.xy;
    sums->wh = weight * box.wh;
    sums->overlap = weight * box.overlap;
  }
  const ObjectnessTerm<L> objectness = ObjectnessTermOf(options, logits[kYoloObjectness], target.objectness, !ignored);
  sums->object = objectness.object;
  sums->no_object = objectness.no_object;
  return objectness.gradient;
}

// Class terms of the rows of a warp that have one, one after the other; the thread of the row adds it.
template <class T>
__device__ void AddClassTerms(const ForwardArguments<T>& a, const Place& place, uint8_t selection, BlockSums* sums) {
  using L = Compute<T>;
  const YoloCellOptions& options = a.geometry.options;
  const int lane = threadIdx.x % kWarp;
  const bool has_object = selection & kYoloObject;
  const bool has_term = place.has_row && (options.class_focal ? !(selection & kYoloInvalid) : has_object);
  const unsigned with_object = __ballot_sync(kAllLanes, has_object);
  const int64_t warp_row = place.FlatRow(a.geometry.scale[place.scale]) - lane;
  for (unsigned left = __ballot_sync(kAllLanes, has_term); left != 0; left &= left - 1) {
    const int turn = __ffs(static_cast<int>(left)) - 1;
    const int64_t row = warp_row + turn;
    const bool object = (with_object >> turn) & 1;
    const L* const label = a.y_true[place.scale] + row * LabelColumns(options, a.geometry.classes);
    const T* const logits = a.y_pred[place.scale] + row * (kYoloClasses + a.geometry.classes) + kYoloClasses;
    const ClassLabels<L> labels(options, object ? label + kYoloClasses : nullptr);
    const L loss = WarpClassLoss(options, labels, logits, a.geometry.classes);
    const bool is_nan = IsNan(loss) && WarpHasNan(logits, a.geometry.classes);
    if (lane != turn) continue;
    sums->class_is_nan = is_nan;
    const double weight = options.class_focal ? 1.0 : static_cast<double>(label[kYoloObjectness]);
    sums->class_term = weight * options.class_weight * loss;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor<T>) ComputeTerms(ForwardArguments<T> a) {
  using L = Compute<T>;
  const YoloCellOptions& options = a.geometry.options;
  const Place place = PlaceOf(a.geometry);
  const int64_t row = place.FlatRow(a.geometry.scale[place.scale]);
  const int64_t columns = kYoloClasses + a.geometry.classes;
  const YoloPlace<L> cell = CellOf(a.geometry, place.scale, place.has_row ? place.row : 0);
  L logits[kYoloClasses] = {0, 0, 0, 0, 0};
  uint8_t selection = 0;
  if (place.has_row) {
    for (int i = 0; i < kYoloClasses; ++i) logits[i] = ToCompute(a.y_pred[place.scale][row * columns + i]);
    selection = a.selection[place.scale][row];
  }
  if (!options.objectness_focal) {
    const L x = DecodeCenter(logits[kYoloX], cell.x, cell.width, cell.grid_sense);
    const L y = DecodeCenter(logits[kYoloY], cell.y, cell.height, cell.grid_sense);
    const L w = DecodeLength(logits[kYoloW], cell.anchor_w), h = DecodeLength(logits[kYoloH], cell.anchor_h);
    const bool ignored = IsIgnoredBox(a, place, TestedCorners(x, y, w, h));
    if (ignored && selection != kYoloInvalid) selection |= kYoloIgnored;
  }

  BlockSums sums = {};
  if (place.has_row) {
    L gradient = 0;
    if (selection & kYoloObject) {
      const L* const label = a.y_true[place.scale] + row * LabelColumns(options, a.geometry.classes);
      gradient = AddObject(options, cell, label, logits, selection & kYoloIgnored, &sums);
    } else if (selection == 0) {
      const LossAndGradient<L> term = BackgroundTerm<L>(options, logits[kYoloObjectness]);
      sums.no_object = term.loss;
      gradient = term.gradient;
    }
    if (!(selection & kYoloInvalid)) {
      for (int i = 0; i < kYoloClasses; ++i) sums.is_nan |= IsNan(logits[i]);
    }
    a.selection[place.scale][row] = selection;
    a.objectness_gradient[place.scale][row] = gradient;
  }
  if (HasClassTerm(options)) AddClassTerms(a, place, selection, &sums);

  sums.xy = BlockSum<kThreads>(sums.xy);
  sums.wh = BlockSum<kThreads>(sums.wh);
  sums.overlap = BlockSum<kThreads>(sums.overlap);
  sums.object = BlockSum<kThreads>(sums.object);
  sums.no_object = BlockSum<kThreads>(sums.no_object);
  sums.class_term = BlockSum<kThreads>(sums.class_term);
  sums.is_nan = __syncthreads_or(sums.is_nan);
  sums.class_is_nan = __syncthreads_or(sums.class_is_nan);
  if (threadIdx.x == 0) a.sums[blockIdx.x] = sums;
}

// A block per image: its terms.
template <class T>
__global__ void __launch_bounds__(kThreads) WriteTerms(ForwardArguments<T> a) {
  using L = Compute<T>;
  const int64_t image = blockIdx.x;
  BlockSums sums = {};
  int32_t num_invalid = 0;
  for (int scale = 0; scale < a.geometry.scales; ++scale) {
    const DeviceScale& of = a.geometry.scale[scale];
    for (int64_t i = threadIdx.x; i < of.blocks_per_image; i += kThreads) {
      const int64_t block = of.first_block + image * of.blocks_per_image + i;
      sums.xy += a.sums[block].xy;
      sums.wh += a.sums[block].wh;
      sums.overlap += a.sums[block].overlap;
      sums.object += a.sums[block].object;
      sums.no_object += a.sums[block].no_object;
      sums.class_term += a.sums[block].class_term;
      sums.is_nan |= a.sums[block].is_nan;
      sums.class_is_nan |= a.sums[block].class_is_nan;
      num_invalid += a.collected[block].num_invalid;
    }
  }
  sums.xy = BlockSum<kThreads>(sums.xy);
  sums.wh = BlockSum<kThreads>(sums.wh);
  sums.overlap = BlockSum<kThreads>(sums.overlap);
  sums.object = BlockSum<kThreads>(sums.object);
  sums.no_object = BlockSum<kThreads>(sums.no_object);
  sums.class_term = BlockSum<kThreads>(sums.class_term);
  sums.is_nan = __syncthreads_or(sums.is_nan);
  sums.class_is_nan = __syncthreads_or(sums.class_is_nan);
  num_invalid = BlockSum<kThreads>(num_invalid);
  if (threadIdx.x != 0) return;
  const YoloTerms terms = TermsOf(sums);
  a.loss[image] = static_cast<L>(terms.loss);
  a.box[image] = static_cast<L>(terms.box);
  a.xy[image] = static_cast<L>(terms.xy);
  a.wh[image] = static_cast<L>(terms.wh);
  a.object[image] = static_cast<L>(terms.object);
  a.no_object[image] = static_cast<L>(terms.no_object);
  a.class_term[image] = static_cast<L>(terms.class_term);
  a.num_invalid[image] = num_invalid;
}

// ---- Backward ----

template <class T>
struct BackwardArguments {
  using L = Compute<T>;

  DeviceGeometry<L> geometry;
  const L* loss_gradient;
  const L* y_true[kMostScales];
  const T* y_pred[kMostScales];
  const uint8_t* selection[kMostScales];
  const L* objectness_gradient[kMostScales];
  T* gradient[kMostScales];
};

// A row's gradient but that of the objectness, by a warp, into zeros. `scale` is the gradient of the image's loss.
template <class T>
__device__ void AddRowGradient(const BackwardArguments<T>& a, int scale, int64_t row, Compute<T> loss_gradient) {
  using L = Compute<T>;
  const YoloCellOptions& options = a.geometry.options;
  const int64_t columns = kYoloClasses + a.geometry.classes;
  const T* const logits = a.y_pred[scale] + row * columns;
  T* const gradient = a.gradient[scale] + row * columns;
  const L* label = nullptr;
  L class_scale = loss_gradient;
  if (a.selection[scale][row] & kYoloObject) {
    label = a.y_true[scale] + row * LabelColumns(options, a.geometry.classes);
    const YoloTarget<L> target = ReadTarget(options, label);
    if (!options.class_focal) class_scale = loss_gradient * target.objectness;
    const L weight = loss_gradient * BoxWeight(target) * options.box_weight;
    if (weight != 0 && threadIdx.x % kWarp == 0) {
      L values[kYoloClasses];
      for (int i = 0; i < kYoloClasses; ++i) values[i] = ToCompute(logits[i]);
      const YoloPlace<L> cell = CellOf(a.geometry, scale, row % a.geometry.scale[scale].rows);
      const BoxTerm<L> box = BoxTermOf(options, cell, target.box, values);
      for (int i = 0; i < kYoloObjectness; ++i) Store(Weighted(weight, box.gradient[i]), gradient + i);
    }
  }
  class_scale = ToFinite(class_scale * options.class_weight);
  if (class_scale == 0) return;
  const ClassLabels<L> labels(options, label == nullptr ? nullptr : label + kYoloClasses);
  WarpClassGradient(options, labels, logits + kYoloClasses, a.geometry.classes, class_scale, gradient + kYoloClasses);
}

template <class T>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor<T>) WriteGradient(BackwardArguments<T> a) {
  using L = Compute<T>;
  int scale = a.geometry.scales - 1;
  while (blockIdx.x < a.geometry.scale[scale].first_tile) --scale;
  const DeviceScale& of = a.geometry.scale[scale];
  const int64_t columns = kYoloClasses + a.geometry.classes, all_rows = a.geometry.images * of.rows;
  const int64_t first = (blockIdx.x - of.first_tile) * kRowsPerTile;
  const int64_t left = all_rows - first, rows = left < kRowsPerTile ? left : kRowsPerTile;
  FillWithZeros<kThreads>(a.gradient[scale] + first * columns, rows * columns);
  __syncthreads();  // zeros before what goes into them
  if (threadIdx.x < rows) {
    const int64_t row = first + threadIdx.x;
    // A row that does not count has no gradient, whatever that of the loss is.
    const L slope = Weighted(a.loss_gradient[row / of.rows], a.objectness_gradient[scale][row]);
    if (slope != 0) Store(slope, a.gradient[scale] + row * columns + kYoloObjectness);
  }
  for (int64_t i = threadIdx.x / kWarp; i < rows; i += kThreads / kWarp) {
    const int64_t row = first + i;
    const uint8_t selection = a.selection[scale][row];
    const L loss_gradient = a.loss_gradient[row / of.rows];
    const bool has_classes = HasClassTermInAllRows(a.geometry.options) && !(selection & kYoloInvalid);
    if (loss_gradient != 0 && (selection & kYoloObject || has_classes)) AddRowGradient(a, scale, row, loss_gradient);
  }
}

}  // namespace

template <class T>
size_t YoloV3LossDeviceWorkspaceBytes(const YoloV3LossOptions& options, const YoloV3Shape& shape) {
  const int64_t weights = static_cast<int64_t>(options.class_weights.size());
  return ForwardWork<Compute<T>>(nullptr, shape, weights).workspace.bytes();
}

template <class T>
Status YoloV3LossForward(const YoloV3LossOptions& options, const YoloV3Shape& shape,
                         const std::vector<const Compute<T>*>& y_true, const std::vector<const T*>& y_pred,
                         const YoloV3LossOutputs<Compute<T>>& outputs, void* workspace, DeviceStream stream) {
  using L = Compute<T>;
  DETLOSS_RETURN_IF_ERROR(CheckDevice(options, shape));
  const ForwardWork<L> work(workspace, shape, static_cast<int64_t>(options.class_weights.size()));
  ForwardArguments<T> a = {};
  a.geometry = GeometryOf<L>(options, shape, work.class_weights);
  a.ignore = MakeIgnoreTest<L>(options.ignore);
  a.whole_image = options.ignore_scope == IgnoreScope::kImage;
  for (int scale = 0; scale < a.geometry.scales; ++scale) {
    a.y_true[scale] = y_true[scale];
    a.y_pred[scale] = y_pred[scale];
    a.selection[scale] = outputs.selection[scale];
    a.objectness_gradient[scale] = outputs.objectness_gradient[scale];
  }
  a.loss = outputs.loss;
  a.box = outputs.box;
  a.xy = outputs.xy;
  a.wh = outputs.wh;
  a.object = outputs.object;
  a.no_object = outputs.no_object;
  a.class_term = outputs.class_term;
  a.num_invalid = outputs.num_invalid;
  a.boxes = work.boxes;
  a.collected = work.collected;
  a.sums = work.sums;
  DETLOSS_RETURN_IF_ERROR(Upload(options.class_weights, work.class_weights, stream));
  DETLOSS_RETURN_IF_ERROR(Launch("yolov3_loss: collect", Collect<T>, a.geometry.blocks, kThreads, stream, a));
  DETLOSS_RETURN_IF_ERROR(Launch("yolov3_loss: cells", ComputeTerms<T>, a.geometry.blocks, kThreads, stream, a));
  return Launch("yolov3_loss: terms", WriteTerms<T>, shape.images, kThreads, stream, a);
}

template <class T>
size_t YoloV3LossGradDeviceWorkspaceBytes(const YoloV3LossOptions& options, const YoloV3Shape&) {
  return options.class_weights.size() * sizeof(float);
}

template <class T>
Status YoloV3LossBackward(const YoloV3LossOptions& options, const YoloV3Shape& shape, const Compute<T>* loss_gradient,
                          const std::vector<const Compute<T>*>& y_true, const std::vector<const T*>& y_pred,
                          const YoloV3LossResiduals<Compute<T>>& residuals, const std::vector<T*>& gradient,
                          void* workspace, DeviceStream stream) {
  using L = Compute<T>;
  DETLOSS_RETURN_IF_ERROR(CheckDevice(options, shape));
  float* const class_weights = static_cast<float*>(workspace);
  BackwardArguments<T> a = {};
  a.geometry = GeometryOf<L>(options, shape, class_weights);
  a.loss_gradient = loss_gradient;
  for (int scale = 0; scale < a.geometry.scales; ++scale) {
    a.y_true[scale] = y_true[scale];
    a.y_pred[scale] = y_pred[scale];
    a.selection[scale] = residuals.selection[scale];
    a.objectness_gradient[scale] = residuals.objectness_gradient[scale];
    a.gradient[scale] = gradient[scale];
  }
  DETLOSS_RETURN_IF_ERROR(Upload(options.class_weights, class_weights, stream));
  return Launch("yolov3_loss gradient", WriteGradient<T>, a.geometry.tiles, kThreads, stream, a);
}

#define DETLOSS_INSTANTIATE(T)                                                                              \
  template size_t YoloV3LossDeviceWorkspaceBytes<T>(const YoloV3LossOptions&, const YoloV3Shape&);          \
  template Status YoloV3LossForward(const YoloV3LossOptions&, const YoloV3Shape&,                           \
                                    const std::vector<const Compute<T>*>&, const std::vector<const T*>&,    \
                                    const YoloV3LossOutputs<Compute<T>>&, void*, DeviceStream);             \
  template size_t YoloV3LossGradDeviceWorkspaceBytes<T>(const YoloV3LossOptions&, const YoloV3Shape&);      \
  template Status YoloV3LossBackward(const YoloV3LossOptions&, const YoloV3Shape&, const Compute<T>*,       \
                                     const std::vector<const Compute<T>*>&, const std::vector<const T*>&,   \
                                     const YoloV3LossResiduals<Compute<T>>&, const std::vector<T*>&, void*, \
                                     DeviceStream);
DETLOSS_INSTANTIATE(float)
DETLOSS_INSTANTIATE(double)
DETLOSS_INSTANTIATE(Half)
DETLOSS_INSTANTIATE(BFloat16)
#undef DETLOSS_INSTANTIATE

}  // namespace detloss
