#include "cc/yolov3_loss.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "cc/float_environment.h"
#include "cc/math.h"
#include "cc/option_checks.h"
#include "cc/streaming.h"
#include "cc/tensor_size.h"
#include "cc/workspace.h"
#include "cc/yolov3_loss_kernels.h"
#include "cc/yolov3_terms.h"

namespace detloss {
namespace {

const YoloV3LossKernels<float>& KernelsFor(float) { return DETLOSS_PICK_PER_TIER(ChosenCpuTier(), kYoloV3LossFloat); }
const YoloV3LossKernels<double>& KernelsFor(double) {
  return DETLOSS_PICK_PER_TIER(ChosenCpuTier(), kYoloV3LossDouble);
}
const YoloV3LossKernels<Half>& KernelsFor(Half) { return DETLOSS_PICK_PER_TIER(ChosenCpuTier(), kYoloV3LossHalf); }
const YoloV3LossKernels<BFloat16>& KernelsFor(BFloat16) {
  return DETLOSS_PICK_PER_TIER(ChosenCpuTier(), kYoloV3LossBFloat16);
}

int64_t DividedUp(int64_t count, int64_t by) { return (count + by - 1) / by; }

// ---- Options ----

Status Expected(const std::string& name, const std::string& expected, const std::string& found) {
  return Status::InvalidArgument(name + ": expected " + expected + ", got " + found);
}

Status CheckCount(const char* name, size_t found, size_t expected, const char* of) {
  if (found == expected) return Status::Ok();
  return Expected(name, std::to_string(expected) + " numbers, " + of, std::to_string(found));
}

Status CheckStride(int64_t stride) {
  constexpr int64_t kMostPixels = 1 << 20;
  if (stride >= 0 && stride <= kMostPixels) return Status::Ok();
  return Expected("strides", "integers from 0 to " + std::to_string(kMostPixels), std::to_string(stride));
}

Status CheckNumbers(const YoloV3LossOptions& options) {
  constexpr float kMost = std::numeric_limits<float>::max();
  Status status = CheckIgnoreOptions(options.ignore);
  const auto check = [&](const Status& next) {
    if (status.ok()) status = next;
  };
  check(CheckRange("label_smoothing", options.cell.label_smoothing, 0, 0.99999994f, "a number from 0 to below 1"));
  check(CheckNonNegative("box_weight", options.cell.box_weight));
  check(CheckNonNegative("object_weight", options.cell.object_weight));
  check(CheckNonNegative("no_object_weight", options.cell.no_object_weight));
  check(CheckNonNegative("class_weight", options.cell.class_weight));
  for (float weight : options.class_weights) check(CheckNonNegative("class_weights", weight));
  for (float length : options.anchors) {
    check(CheckRange("anchors", length, std::numeric_limits<float>::min(), kMost,
                     "finite numbers above 0 that are not subnormal"));
  }
  for (float factor : options.grid_sense) {
    check(CheckRange("grid_sense", factor, 1, kMost, "a finite number of at least 1"));
  }
  for (int64_t stride : options.strides) check(CheckStride(stride));
  return status;
}

// ---- Geometry ----

template <class L>
class Grids {
 public:
  Grids(const YoloV3LossOptions& options, const YoloV3Shape& shape)
      : options_(options), shape_(shape), sizes_(YoloAnchorSizes<L>(options, shape)) {}

  YoloGrid<L> operator[](size_t scale) const {
    const YoloScaleShape& cells = shape_.scales[scale];
    const float sense = options_.grid_sense.empty() ? 1 : options_.grid_sense[scale];
    return {cells.height, cells.width, shape_.anchors, static_cast<L>(sense),
            sizes_.data() + scale * shape_.anchors * 2};
  }

 private:
  const YoloV3LossOptions& options_;
  const YoloV3Shape& shape_;
  const std::vector<L> sizes_;
};

YoloCellOptions Resolve(const YoloV3LossOptions& options) {
  YoloCellOptions cell = options.cell;
  cell.class_weights = options.class_weights.empty() ? nullptr : options.class_weights.data();
  return cell;
}

// ---- Blocks: parts of one image's rows of one scale ----

struct Block {
  size_t scale;
  int64_t image;
  int64_t first_row;  // in the image
  int64_t rows;

  int64_t FlatRow(const YoloV3Shape& shape) const { return image * shape.Rows(scale) + first_row; }
};

// Blocks are numbered scale by scale, and within a scale image by image.
class Blocks {
 public:
  explicit Blocks(const YoloV3Shape& shape) : shape_(shape), first_(1, 0), first_row_(1, 0) {
    for (size_t scale = 0; scale < shape.scales.size(); ++scale) {
      first_.push_back(first_.back() + shape.images * PerImage(scale));
      first_row_.push_back(first_row_.back() + shape.images * shape.Rows(scale));
    }
  }

  int64_t count() const { return first_.back(); }
  int64_t rows() const { return first_row_.back(); }
  int64_t PerImage(size_t scale) const { return DividedUp(shape_.Rows(scale), kYoloRowsPerBlock); }
  int64_t First(size_t scale, int64_t image) const { return first_[scale] + image * PerImage(scale); }
  // Rows before the block, over all scales.
  int64_t RowsBefore(const Block& block) const { return first_row_[block.scale] + block.FlatRow(shape_); }

  Block operator[](int64_t index) const {
    size_t scale = 0;
    while (index >= first_[scale + 1]) ++scale;
    const int64_t in_scale = index - first_[scale], per_image = PerImage(scale);
    const int64_t first_row = in_scale % per_image * kYoloRowsPerBlock;
    return {scale, in_scale / per_image, first_row, std::min(kYoloRowsPerBlock, shape_.Rows(scale) - first_row)};
  }

 private:
  const YoloV3Shape& shape_;
  std::vector<int64_t> first_, first_row_;
};

template <class L>
struct ForwardWorkspace {
  ForwardWorkspace(void* buffer, const YoloV3Shape& shape, const Blocks& blocks) : workspace(buffer) {
    sums = workspace.Take<YoloBlockSums>(blocks.count());
    true_boxes = workspace.Take<YoloBoxes<L>>(shape.images * shape.scales.size());
    boxes = workspace.Take<Box<L>>(blocks.rows());
  }

  Workspace workspace;
  YoloBlockSums* sums;
  YoloBoxes<L>* true_boxes;  // [images, scales]
  Box<L>* boxes;             // of a block from its first row's place on
};

// Moves the boxes that the blocks of an image's scale found together.
template <class L>
YoloBoxes<L> GatherBoxes(const Blocks& blocks, size_t scale, int64_t image, const ForwardWorkspace<L>& work) {
  const int64_t first = blocks.First(scale, image);
  Box<L>* const together = work.boxes + blocks.RowsBefore({scale, image, 0, 0});
  int64_t count = 0;
  for (int64_t i = first; i < first + blocks.PerImage(scale); ++i) {
    std::copy_n(work.boxes + blocks.RowsBefore(blocks[i]), work.sums[i].num_boxes, together + count);
    count += work.sums[i].num_boxes;
  }
  return {together, count};
}

// ---- Errors and outputs ----

// Names the first rule that a label breaks.
template <class L>
std::string BrokenRule(const YoloCellOptions& options, const L* label, int64_t classes) {
  const YoloTarget<L> target = ReadTarget(options, label);
  const std::string largest = Describe(LargestLabel<L>());
  if (!target.valid) return "box and objectness finite, objectness from 0 to " + largest;
  if (!AreValidCoordinates(label)) return "coordinates from -" + largest + " to " + largest;
  if (!IsValidBox(target.box)) return "width and height above 0";
  if (options.corner_targets) return "a class index from 0 to " + std::to_string(classes - 1);
  return "class scores from 0 to " + largest;
}

template <class L>
InvalidLabel DescribeLabel(const YoloCellOptions& options, const YoloV3Shape& shape, const Block& block, int64_t row,
                           const L* label) {
  const int64_t in_image = block.first_row + row, cell = in_image / shape.anchors;
  const int64_t width = shape.scales[block.scale].width;
  std::string values;
  const int64_t columns = LabelColumns(options, shape.classes);
  for (int64_t i = 0; i < std::min<int64_t>(columns, kYoloClasses + 8); ++i) {
    values += (i > 0 ? ", " : "") + Describe(label[i]);
  }
  if (columns > kYoloClasses + 8) values += ", ...";
  return {BrokenRule(options, label, shape.classes), "[" + values + "]",
          "image " + std::to_string(block.image) + ", scale " + std::to_string(block.scale) + ", cell (" +
              std::to_string(cell / width) + ", " + std::to_string(cell % width) + "), anchor " +
              std::to_string(in_image % shape.anchors)};
}

// Whether an invalid label is so because of its class index, whatever else is wrong with it.
template <class L>
bool HasClassOutOfRange(const YoloCellOptions& options, const L* label, int64_t classes) {
  return options.corner_targets && label[kYoloObjectness] != 0 &&
         !AreValidClasses(options, label + kYoloClasses, classes);
}

// What the options ask to be done about the invalid labels that `work` counts: an error, a warning, or nothing.
template <class L>
Status JudgeTargets(const YoloV3LossOptions& options, const YoloV3Shape& shape, const Blocks& blocks,
                    const std::vector<const L*>& y_true, const std::vector<uint8_t*>& selection,
                    const YoloBlockSums* sums) {
  if (options.invalid_targets == InvalidTargets::kSilent) return Status::Ok();
  const YoloCellOptions& cell = options.cell;
  const int64_t columns = LabelColumns(cell, shape.classes);
  int64_t count = 0;
  InvalidLabel first;
  for (int64_t i = 0; i < blocks.count(); ++i) {
    if (sums[i].num_invalid == 0) continue;
    const Block block = blocks[i];
    const int64_t flat_row = block.FlatRow(shape);
    const auto describe = [&](int64_t row) {
      return DescribeLabel(cell, shape, block, row, y_true[block.scale] + (flat_row + row) * columns);
    };
    if (count == 0) first = describe(sums[i].first_invalid);
    count += sums[i].num_invalid;
    if (options.invalid_targets == InvalidTargets::kError) return RefuseTarget(first, "error");
    if (options.invalid_targets != InvalidTargets::kClassError) continue;
    for (int64_t row = sums[i].first_invalid; row < block.rows; ++row) {
      if (selection[block.scale][flat_row + row] != kYoloInvalid) continue;
      const L* label = y_true[block.scale] + (flat_row + row) * columns;
      if (!HasClassOutOfRange(cell, label, shape.classes)) continue;
      InvalidLabel wrong = describe(row);
      wrong.expected = "a class index from 0 to " + std::to_string(shape.classes - 1);
      return RefuseTarget(wrong, "class_error");
    }
  }
  return count == 0 ? Status::Ok() : WarnOfTargets(count, first);
}

void Add(const YoloBlockSums& block, YoloBlockSums* image) {
  image->xy += block.xy;
  image->wh += block.wh;
  image->overlap += block.overlap;
  image->object += block.object;
  image->no_object += block.no_object;
  image->class_term += block.class_term;
  image->num_invalid += block.num_invalid;
  image->is_nan |= block.is_nan;
  image->class_is_nan |= block.class_is_nan;
}

template <class L>
void WriteOutputs(int64_t image, const YoloBlockSums& sums, const YoloV3LossOutputs<L>& outputs) {
  const YoloTerms terms = TermsOf(sums);
  outputs.loss[image] = static_cast<L>(terms.loss);
  outputs.box[image] = static_cast<L>(terms.box);
  outputs.xy[image] = static_cast<L>(terms.xy);
  outputs.wh[image] = static_cast<L>(terms.wh);
  outputs.object[image] = static_cast<L>(terms.object);
  outputs.no_object[image] = static_cast<L>(terms.no_object);
  outputs.class_term[image] = static_cast<L>(terms.class_term);
  outputs.num_invalid[image] = static_cast<int32_t>(sums.num_invalid);
}

}  // namespace

Status CheckYoloV3Options(const YoloV3LossOptions& options, size_t scales) {
  DETLOSS_RETURN_IF_ERROR(CheckCount("strides", options.strides.size(), scales, "one per scale"));
  if (!options.grid_sense.empty()) {
    DETLOSS_RETURN_IF_ERROR(CheckCount("grid_sense", options.grid_sense.size(), scales, "one per scale"));
  }
  return CheckNumbers(options);
}

Status CheckYoloV3Shape(const YoloV3Shape& shape) {
  const int64_t columns = shape.classes < 0 ? -1 : kYoloClasses + shape.classes;
  for (size_t scale = 0; scale < shape.scales.size(); ++scale) {
    const YoloScaleShape& cells = shape.scales[scale];
    DETLOSS_RETURN_IF_ERROR(CheckTensorSize("y_pred[" + std::to_string(scale) + "]", "cells times anchors", 4,
                                            {shape.images, cells.height, cells.width, shape.anchors, columns}));
  }
  return Status::Ok();
}

Status CheckYoloV3Options(const YoloV3LossOptions& options, const YoloV3Shape& shape) {
  const size_t scales = shape.scales.size();
  DETLOSS_RETURN_IF_ERROR(CheckCount("anchors", options.anchors.size(), scales * shape.anchors * 2,
                                     "width and height of every anchor of every scale"));
  DETLOSS_RETURN_IF_ERROR(CheckYoloV3Options(options, scales));
  if (!options.class_weights.empty()) {
    DETLOSS_RETURN_IF_ERROR(CheckCount("class_weights", options.class_weights.size(), shape.classes, "one per class"));
  }
  return CheckYoloV3Shape(shape);
}

template <class T>
size_t YoloV3LossWorkspaceBytes(const YoloV3Shape& shape) {
  return ForwardWorkspace<Compute<T>>(nullptr, shape, Blocks(shape)).workspace.bytes();
}

template <class T>
Status YoloV3LossForward(const YoloV3LossOptions& options, const YoloV3Shape& shape,
                         const std::vector<const Compute<T>*>& y_true, const std::vector<const T*>& y_pred,
                         const YoloV3LossOutputs<Compute<T>>& outputs, void* buffer, Executor& executor) {
  using L = Compute<T>;
  DefaultFloatEnvironment environment;
  DETLOSS_RETURN_IF_ERROR(CheckCpuTier());
  const Status status = CheckYoloV3Options(options, shape);
  if (!status.ok()) return status;
  const YoloV3LossKernels<T>& kernels = KernelsFor(T());
  const YoloCellOptions cell = Resolve(options);
  const Grids<L> grids(options, shape);
  const Blocks blocks(shape);
  const ForwardWorkspace<L> work(buffer, shape, blocks);
  const int64_t columns = kYoloClasses + shape.classes;
  const int64_t label_columns = LabelColumns(cell, shape.classes);
  const size_t scales = shape.scales.size();

  const auto for_each_block = [&](const auto& visit) {
    ParallelFor(executor, blocks.count(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) visit(i, blocks[i]);
    });
  };
  for_each_block([&](int64_t i, const Block& block) {
    const int64_t row = block.FlatRow(shape);
    kernels.collect({&cell, shape.classes, block.rows, y_true[block.scale] + row * label_columns,
                     outputs.selection[block.scale] + row, work.boxes + blocks.RowsBefore(block), work.sums + i});
  });

  Status judgement = JudgeTargets(options, shape, blocks, y_true, outputs.selection, work.sums);
  if (!judgement.ok()) return judgement;
  for (int64_t image = 0; image < shape.images; ++image) {
    for (size_t scale = 0; scale < scales; ++scale) {
      work.true_boxes[image * scales + scale] = GatherBoxes(blocks, scale, image, work);
    }
  }

  const bool whole_image = options.ignore_scope == IgnoreScope::kImage;
  for_each_block([&](int64_t i, const Block& block) {
    const int64_t row = block.FlatRow(shape);
    const YoloBoxes<L>* of_image = work.true_boxes + block.image * scales;
    kernels.forward({&cell, grids[block.scale], MakeIgnoreTest<L>(options.ignore), shape.classes, block.first_row,
                     block.rows, y_true[block.scale] + row * label_columns, y_pred[block.scale] + row * columns,
                     whole_image ? of_image : of_image + block.scale, whole_image ? static_cast<int64_t>(scales) : 1,
                     outputs.selection[block.scale] + row, outputs.objectness_gradient[block.scale] + row,
                     work.sums + i});
  });

  for (int64_t image = 0; image < shape.images; ++image) {
    YoloBlockSums sums;
    for (size_t scale = 0; scale < scales; ++scale) {
      const int64_t first = blocks.First(scale, image);
      for (int64_t i = first; i < first + blocks.PerImage(scale); ++i) Add(work.sums[i], &sums);
    }
    WriteOutputs(image, sums, outputs);
  }
  return judgement;
}

template <class T>
Status YoloV3LossBackward(const YoloV3LossOptions& options, const YoloV3Shape& shape, const Compute<T>* loss_gradient,
                          const std::vector<const Compute<T>*>& y_true, const std::vector<const T*>& y_pred,
                          const YoloV3LossResiduals<Compute<T>>& residuals, const std::vector<T*>& gradient,
                          Executor& executor) {
  using L = Compute<T>;
  DefaultFloatEnvironment environment;
  DETLOSS_RETURN_IF_ERROR(CheckCpuTier());
  const Status status = CheckYoloV3Options(options, shape);
  if (!status.ok()) return status;
  const YoloCellOptions cell = Resolve(options);
  const Grids<L> grids(options, shape);
  const int64_t row_bytes = (kYoloClasses + shape.classes) * static_cast<int64_t>(sizeof(T));
  const int64_t rows_per_task = GradientRowsPerTask(row_bytes);

  std::vector<int64_t> first_task = {0};
  int64_t bytes = 0;
  for (size_t scale = 0; scale < shape.scales.size(); ++scale) {
    const int64_t rows = shape.images * shape.Rows(scale);
    first_task.push_back(first_task.back() + DividedUp(rows, rows_per_task));
    bytes += rows * row_bytes;
  }
  ParallelFor(executor, first_task.back(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      size_t scale = 0;
      while (task >= first_task[scale + 1]) ++scale;
      const int64_t first = (task - first_task[scale]) * rows_per_task;
      const int64_t last = std::min(first + rows_per_task, shape.images * shape.Rows(scale));
      KernelsFor(T()).backward({&cell, grids[scale], shape.classes, first, last,
                                IsWorthStreaming(gradient[scale], bytes), loss_gradient, y_true[scale], y_pred[scale],
                                residuals.selection[scale], residuals.objectness_gradient[scale], gradient[scale]});
    }
  });
  return Status::Ok();
}

#define DETLOSS_INSTANTIATE(T)                                                                            \
  template size_t YoloV3LossWorkspaceBytes<T>(const YoloV3Shape&);                                        \
  template Status YoloV3LossForward(const YoloV3LossOptions&, const YoloV3Shape&,                         \
                                    const std::vector<const Compute<T>*>&, const std::vector<const T*>&,  \
                                    const YoloV3LossOutputs<Compute<T>>&, void*, Executor&);              \
  template Status YoloV3LossBackward(const YoloV3LossOptions&, const YoloV3Shape&, const Compute<T>*,     \
                                     const std::vector<const Compute<T>*>&, const std::vector<const T*>&, \
                                     const YoloV3LossResiduals<Compute<T>>&, const std::vector<T*>&, Executor&);
DETLOSS_INSTANTIATE(float)
DETLOSS_INSTANTIATE(double)
DETLOSS_INSTANTIATE(Half)
DETLOSS_INSTANTIATE(BFloat16)
#undef DETLOSS_INSTANTIATE

}  // namespace detloss
