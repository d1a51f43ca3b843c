// Compiled once per CPU tier, with DETLOSS_TIER naming it: see cpu_tier.h.
#include "cc/yolov3_loss_kernels.h"

#include <cstring>

#include "cc/box_lanes.h"
#include "cc/lanes.h"
#include "cc/math.h"
#include "cc/platform.h"
#include "cc/streaming.h"
#include "cc/yolov3_classes.h"

namespace detloss {
namespace DETLOSS_TIER {
namespace {

// ---- Labels ----

template <class L>
void Collect(const YoloCollectBlock<L>& block) {
  const YoloCellOptions options = *block.options;
  const int64_t columns = LabelColumns(options, block.classes);
  YoloBlockSums sums;
  for (int64_t row = 0; row < block.rows; ++row) {
    const L* label = block.y_true + row * columns;
    PrefetchLines(label + kRowsAhead * columns, kYoloClasses * sizeof(L));
    uint8_t selection = 0;
    if (!IsBackground(label)) selection = SelectRow(options, block.classes, label, block.boxes + sums.num_boxes);
    block.selection[row] = selection;
    sums.num_boxes += selection == kYoloObject;
    if (selection != kYoloInvalid) continue;
    if (sums.first_invalid < 0) sums.first_invalid = row;
    ++sums.num_invalid;
  }
  *block.sums = sums;
}

// ---- Places ----

// Walks over the rows of an image: anchors first, then columns, then rows of cells.
template <class L>
class Places {
 public:
  DETLOSS_INLINE Places(const YoloGrid<L>& grid, int64_t first_row)
      : grid_(grid),
        anchor_(first_row % grid.anchors),
        x_(first_row / grid.anchors % grid.width),
        y_(first_row / grid.anchors / grid.width) {}

  DETLOSS_INLINE YoloPlace<L> place() const {
    return {static_cast<L>(x_),
            static_cast<L>(y_),
            static_cast<L>(grid_.width),
            static_cast<L>(grid_.height),
            grid_.anchor_sizes[2 * anchor_],
            grid_.anchor_sizes[2 * anchor_ + 1],
            grid_.grid_sense};
  }

  DETLOSS_INLINE void Next() {
    if (++anchor_ < grid_.anchors) return;
    anchor_ = 0;
    if (++x_ < grid_.width) return;
    x_ = 0;
    ++y_;
  }

 private:
  const YoloGrid<L>& grid_;
  int64_t anchor_, x_, y_;
};

// ---- Forward ----

// What a block's logits are turned into, column by column. The last vector may reach beyond the block's rows.
template <class L>
struct ForwardScratch {
  BoxLanes<L, kYoloRowsPerBlock> boxes;  // logits at first, then boxes
  alignas(64) L objectness[kYoloRowsPerBlock];
  alignas(64) L cell_x[kYoloRowsPerBlock];
  alignas(64) L cell_y[kYoloRowsPerBlock];
  alignas(64) L anchor_w[kYoloRowsPerBlock];
  alignas(64) L anchor_h[kYoloRowsPerBlock];
  alignas(64) Bits<L> ignored[kYoloRowsPerBlock];
};

DETLOSS_SHARED int64_t RoundedUp(int64_t rows) { return (rows + kLanes - 1) / kLanes * kLanes; }

template <class T>
DETLOSS_SHARED bool HasNan(const T* logits, int64_t count) {
  bool any = false;
  for (int64_t i = 0; i < count; ++i) any |= IsNan(ToCompute(logits[i]));
  return any;
}

// Reads the five logits of every row; returns whether a valid row has NaN among them.
template <class T>
DETLOSS_SHARED bool ReadLogits(const YoloForwardBlock<T>& block, int64_t columns, ForwardScratch<Compute<T>>* scratch) {
  using L = Compute<T>;
  const int64_t touched = (HasClassTermInAllRows(*block.options) ? columns : int64_t{kYoloClasses}) * sizeof(T);
  bool is_nan = false;
  for (int64_t row = 0; row < block.rows; ++row) {
    const T* logits = block.y_pred + row * columns;
    PrefetchLines(logits + kRowsAhead * columns, touched);
    const L x = ToCompute(logits[kYoloX]), y = ToCompute(logits[kYoloY]), w = ToCompute(logits[kYoloW]),
            h = ToCompute(logits[kYoloH]), objectness = ToCompute(logits[kYoloObjectness]);
    scratch->boxes.x1[row] = x;
    scratch->boxes.y1[row] = y;
    scratch->boxes.x2[row] = w;
    scratch->boxes.y2[row] = h;
    scratch->objectness[row] = objectness;
    if (IsNan(x + y + w + h + objectness))
      is_nan |= block.selection[row] != kYoloInvalid && HasNan(logits, kYoloClasses);
  }
  for (int64_t row = block.rows; row < RoundedUp(block.rows); ++row) {
    scratch->boxes.x1[row] = scratch->boxes.y1[row] = scratch->boxes.x2[row] = scratch->boxes.y2[row] = 0;
    scratch->objectness[row] = 0;
  }
  return is_nan;
}

template <class T>
DETLOSS_SHARED void DecodeBoxes(const YoloForwardBlock<T>& block, ForwardScratch<Compute<T>>* scratch) {
  using L = Compute<T>;
  const int64_t rows = RoundedUp(block.rows);
  Places<L> places(block.grid, block.first_row);
  for (int64_t row = 0; row < rows; ++row, places.Next()) {
    const YoloPlace<L> place = places.place();
    scratch->cell_x[row] = place.x;
    scratch->cell_y[row] = place.y;
    scratch->anchor_w[row] = place.anchor_w;
    scratch->anchor_h[row] = place.anchor_h;
  }
  BoxLanes<L, kYoloRowsPerBlock>& boxes = scratch->boxes;
  const L width = static_cast<L>(block.grid.width), height = static_cast<L>(block.grid.height);
  const L sense = block.grid.grid_sense;
  for (int64_t i = 0; i < rows; i += boxes.kPerVector) {
    const Vector<L> x = DecodeCenter(LoadVector(boxes.x1 + i), LoadVector(scratch->cell_x + i), width, sense);
    const Vector<L> y = DecodeCenter(LoadVector(boxes.y1 + i), LoadVector(scratch->cell_y + i), height, sense);
    boxes.Set(i, TestedCorners(x, y, DecodeLength(LoadVector(boxes.x2 + i), LoadVector(scratch->anchor_w + i)),
                               DecodeLength(LoadVector(boxes.y2 + i), LoadVector(scratch->anchor_h + i))));
  }
}

// Finds the rows whose boxes reach the threshold with a true box.
template <class T>
DETLOSS_SHARED void FindIgnored(const YoloForwardBlock<T>& block, ForwardScratch<Compute<T>>* scratch) {
  const int64_t rows = RoundedUp(block.rows);
  memset(scratch->ignored, 0, rows * sizeof(*scratch->ignored));
  if (block.options->objectness_focal || block.num_true_boxes == 0) return;
  DecodeBoxes(block, scratch);
  for (int64_t group = 0; group < block.num_true_boxes; ++group) {
    const auto& truths = block.true_boxes[group];
    for (int64_t i = 0; i < truths.count; ++i) {
      scratch->boxes.Ignore(block.ignore, truths.boxes[i], rows, scratch->ignored);
    }
  }
  for (int64_t row = 0; row < block.rows; ++row) {
    if (scratch->ignored[row] != 0 && block.selection[row] != kYoloInvalid) block.selection[row] |= kYoloIgnored;
  }
}

// The objectness term of sixteen rows as if none had an object. Writes its gradient; returns its sum over the rows that
// count.
template <class T>
DETLOSS_SHARED Compute<T> BackgroundRows(const YoloForwardBlock<T>& block, int64_t first,
                                         const ForwardScratch<Compute<T>>& scratch, Compute<T>* gradient) {
  using L = Compute<T>;
  constexpr int kPerVector = kVectorBytes / sizeof(L);
  const YoloCellOptions& options = *block.options;
  Bits<L> excluded[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    const int64_t row = first + lane;
    excluded[lane] = row >= block.rows || block.selection[row] != 0 ? ~Bits<L>(0) : 0;
  }
  Lanes<L> losses;
  for (int v = 0; v < Lanes<L>::kVectors; ++v) {
    const Vector<L> logit = LoadVector(scratch.objectness + first + v * kPerVector);
    const LossAndGradient<Vector<L>> term = BackgroundTerm<L>(options, logit);
    const auto counts = LoadVector(excluded + v * kPerVector) == 0;
    losses.vectors[v] = counts ? term.loss : Vector<L>{};
    StoreVector(counts ? term.gradient : Vector<L>{}, gradient + v * kPerVector);
  }
  return ReduceLanes(losses, [](auto a, auto b) { return a + b; });
}

template <class T>
DETLOSS_SHARED void AddClasses(const YoloForwardBlock<T>& block, double weight, const ClassLabels<Compute<T>>& labels,
                               const T* logits, YoloBlockSums* sums) {
  const Compute<T> loss = ClassLossOf(*block.options, labels, logits, block.classes);
  if (IsNan(loss)) sums->class_is_nan |= HasNan(logits, block.classes);
  sums->class_term += weight * block.options->class_weight * loss;
}

template <class T>
DETLOSS_SHARED void AddObject(const YoloForwardBlock<T>& block, int64_t row, int64_t columns, YoloBlockSums* sums) {
  using L = Compute<T>;
  const YoloCellOptions& options = *block.options;
  const L* label = block.y_true + row * LabelColumns(options, block.classes);
  const T* logits = block.y_pred + row * columns;
  L values[kYoloClasses];
  for (int i = 0; i < kYoloClasses; ++i) values[i] = ToCompute(logits[i]);
  const YoloTarget<L> target = ReadTarget(options, label);
  const double weight = static_cast<double>(BoxWeight(target)) * options.box_weight;
  if (weight != 0) {
    const YoloPlace<L> place = Places<L>(block.grid, block.first_row + row).place();
    const BoxTerm<L> box = BoxTermOf(options, place, target.box, values);
    sums->xy += weight * box.xy;
    sums->wh += weight * box.wh;
    sums->overlap += weight * box.overlap;
  }
  const ObjectnessTerm<L> objectness =
      ObjectnessTermOf(options, values[kYoloObjectness], target.objectness, !(block.selection[row] & kYoloIgnored));
  sums->object += objectness.object;
  sums->no_object += objectness.no_object;
  block.objectness_gradient[row] = objectness.gradient;
  if (options.class_focal || !HasClassTerm(options)) return;
  const ClassLabels<L> classes(options, label + kYoloClasses);
  AddClasses(block, target.objectness, classes, logits + kYoloClasses, sums);
}

// Every valid row has a focal class loss.
template <class T>
DETLOSS_SHARED void AddFocalClasses(const YoloForwardBlock<T>& block, int64_t columns, YoloBlockSums* sums) {
  using L = Compute<T>;
  const YoloCellOptions& options = *block.options;
  const int64_t label_columns = LabelColumns(options, block.classes);
  for (int64_t row = 0; row < block.rows; ++row) {
    const uint8_t selection = block.selection[row];
    if (selection == kYoloInvalid) continue;
    const L* label = block.y_true + row * label_columns + kYoloClasses;
    const ClassLabels<L> classes(options, selection & kYoloObject ? label : nullptr);
    AddClasses(block, 1, classes, block.y_pred + row * columns + kYoloClasses, sums);
  }
}

template <class T>
void Forward(const YoloForwardBlock<T>& block) {
  using L = Compute<T>;
  const int64_t columns = kYoloClasses + block.classes;
  ForwardScratch<L> scratch;
  YoloBlockSums sums = *block.sums;
  sums.is_nan = ReadLogits(block, columns, &scratch);
  FindIgnored(block, &scratch);
  for (int64_t first = 0; first < block.rows; first += kLanes) {
    const int64_t rows = block.rows - first < kLanes ? block.rows - first : kLanes;
    L gradient[kLanes];
    sums.no_object += BackgroundRows(block, first, scratch, gradient);
    memcpy(block.objectness_gradient + first, gradient, rows * sizeof(L));
    for (int64_t row = first; row < first + rows; ++row) {
      if (block.selection[row] & kYoloObject) AddObject(block, row, columns, &sums);
    }
  }
  if (HasClassTermInAllRows(*block.options)) AddFocalClasses(block, columns, &sums);
  *block.sums = sums;
}

// ---- Backward ----

template <class T>
DETLOSS_SHARED void AddClassGradient(const YoloBackwardRows<T>& rows, int64_t row, const Compute<T>* label,
                                     Compute<T> scale, T* gradient) {
  const YoloCellOptions& options = *rows.options;
  const Compute<T> weight = ToFinite(scale * options.class_weight);
  if (weight == 0) return;
  const T* logits = rows.y_pred + row * (kYoloClasses + rows.classes);
  const ClassLabels<Compute<T>> classes(options, label == nullptr ? nullptr : label + kYoloClasses);
  ClassGradient(options, classes, logits + kYoloClasses, rows.classes, weight, gradient + kYoloClasses);
}

// Into zeros: everything but the objectness. `scale` is the gradient of the image's loss.
template <class T>
DETLOSS_SHARED void AddRowGradient(const YoloBackwardRows<T>& rows, int64_t row, Compute<T> scale, T* gradient) {
  using L = Compute<T>;
  const YoloCellOptions& options = *rows.options;
  if (!(rows.selection[row] & kYoloObject)) return AddClassGradient<T>(rows, row, nullptr, scale, gradient);
  const L* label = rows.y_true + row * LabelColumns(options, rows.classes);
  const YoloTarget<L> target = ReadTarget(options, label);
  const L weight = scale * BoxWeight(target) * options.box_weight;
  if (weight != 0) {
    L logits[kYoloClasses];
    for (int i = 0; i < kYoloClasses; ++i) logits[i] = ToCompute(rows.y_pred[row * (kYoloClasses + rows.classes) + i]);
    const YoloPlace<L> place = Places<L>(rows.grid, row % rows.grid.RowsPerImage()).place();
    const BoxTerm<L> box = BoxTermOf(options, place, target.box, logits);
    for (int i = 0; i < kYoloObjectness; ++i) Store(Weighted(weight, box.gradient[i]), gradient + i);
  }
  AddClassGradient(rows, row, label, scale * (options.class_focal ? L(1) : target.objectness), gradient);
}

template <class T>
DETLOSS_SHARED bool HasMoreThanObjectness(const YoloBackwardRows<T>& rows, int64_t row) {
  if (HasClassTermInAllRows(*rows.options)) return !(rows.selection[row] & kYoloInvalid);
  return rows.selection[row] & kYoloObject;
}

// Rows `begin` to `end` into zeros.
template <class T>
DETLOSS_SHARED void WriteRows(const YoloBackwardRows<T>& rows, int64_t begin, int64_t end, T* gradient) {
  using L = Compute<T>;
  const int64_t columns = kYoloClasses + rows.classes;
  const int64_t rows_per_image = rows.grid.RowsPerImage();
  int64_t image = begin / rows_per_image, next_image = (image + 1) * rows_per_image;
  bool counts = begin < end && rows.loss_gradient[image] != 0;
  for (int64_t row = begin; row < end; ++row, gradient += columns) {
    if (row == next_image) {
      ++image;
      next_image += rows_per_image;
      counts = rows.loss_gradient[image] != 0;
    }
    const L scale = rows.loss_gradient[image];
    // A row that does not count has no gradient, whatever that of the loss is.
    const L objectness = rows.objectness_gradient[row];
    Store(counts && objectness != 0 ? scale * objectness : L(0), gradient + kYoloObjectness);
    if (counts && HasMoreThanObjectness(rows, row)) AddRowGradient(rows, row, scale, gradient);
  }
}

template <class T>
DETLOSS_SHARED void PrefetchRows(const YoloBackwardRows<T>& rows, int64_t begin, int64_t end) {
  const int64_t columns = kYoloClasses + rows.classes, label_columns = LabelColumns(*rows.options, rows.classes);
  for (int64_t row = begin; row < end; ++row) {
    if (!HasMoreThanObjectness(rows, row)) continue;
    PrefetchLines(rows.y_pred + row * columns, columns * sizeof(T));
    if (rows.selection[row] & kYoloObject) {
      PrefetchLines(rows.y_true + row * label_columns, label_columns * sizeof(Compute<T>));
    }
  }
}

template <class T>
void Backward(const YoloBackwardRows<T>& rows) {
  const int64_t columns = kYoloClasses + rows.classes, row_bytes = columns * static_cast<int64_t>(sizeof(T));
  const int64_t group = RowsPerStream<T>(columns);
  int64_t row = rows.begin;
  if (rows.stream && group > 0) {
    alignas(kCacheLine) char buffer[kStreamBytes] = {};
    for (; row + group <= rows.end; row += group) {
      const int64_t next = row + group;
      PrefetchRows(rows, next, next + group < rows.end ? next + group : rows.end);
      T* const gradient = reinterpret_cast<T*>(buffer);
      WriteRows(rows, row, next, gradient);
      StreamLines(buffer, group * row_bytes, reinterpret_cast<char*>(rows.gradient) + row * row_bytes);
      for (int64_t i = 0; i < group; ++i) {
        if (HasMoreThanObjectness(rows, row + i)) memset(buffer + i * row_bytes, 0, row_bytes);
      }
    }
    FinishStreaming();
  }
  T* const rest = rows.gradient + row * columns;
  memset(rest, 0, (rows.end - row) * row_bytes);
  WriteRows(rows, row, rows.end, rest);
}

}  // namespace

const YoloV3LossKernels<float> kYoloV3LossFloat = {Collect<float>, Forward<float>, Backward<float>};
const YoloV3LossKernels<double> kYoloV3LossDouble = {Collect<double>, Forward<double>, Backward<double>};
const YoloV3LossKernels<Half> kYoloV3LossHalf = {Collect<float>, Forward<Half>, Backward<Half>};
const YoloV3LossKernels<BFloat16> kYoloV3LossBFloat16 = {Collect<float>, Forward<BFloat16>, Backward<BFloat16>};

}  // namespace DETLOSS_TIER
}  // namespace detloss
