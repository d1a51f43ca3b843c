#include "cc/ssd_loss.h"

#include <algorithm>
#include <limits>
#include <string>

#include "cc/float_environment.h"
#include "cc/hard_negative_mining.h"
#include "cc/math.h"
#include "cc/option_checks.h"
#include "cc/ssd_loss_kernels.h"
#include "cc/ssd_row.h"
#include "cc/streaming.h"
#include "cc/tensor_size.h"
#include "cc/workspace.h"

namespace detloss {
namespace {

constexpr int64_t kBoxesPerBlock = 1024;

const SsdLossKernels<float>& KernelsFor(float) { return DETLOSS_PICK_PER_TIER(ChosenCpuTier(), kSsdLossFloat); }
const SsdLossKernels<double>& KernelsFor(double) { return DETLOSS_PICK_PER_TIER(ChosenCpuTier(), kSsdLossDouble); }
const SsdLossKernels<Half>& KernelsFor(Half) { return DETLOSS_PICK_PER_TIER(ChosenCpuTier(), kSsdLossHalf); }
const SsdLossKernels<BFloat16>& KernelsFor(BFloat16) {
  return DETLOSS_PICK_PER_TIER(ChosenCpuTier(), kSsdLossBFloat16);
}

int64_t BlocksPerImage(const SsdShape& shape) { return (shape.boxes + kBoxesPerBlock - 1) / kBoxesPerBlock; }

int64_t BlocksPerTask(const SsdShape& shape) {
  return std::max(int64_t{1}, kBoxesPerBlock / std::max(shape.boxes, int64_t{1}));
}

template <class T>
struct ForwardWorkspace {
  using L = Compute<T>;

  ForwardWorkspace(void* buffer, const SsdShape& shape) : workspace(buffer) {
    keys = workspace.Take<Bits<L>>(shape.images * shape.boxes);
    cross_entropy = workspace.Take<L>(shape.images * shape.boxes);
    blocks = workspace.Take<SsdBlockSums>(shape.images * BlocksPerImage(shape));
    images = workspace.Take<SsdBlockSums>(shape.images);
    n_positive = workspace.Take<double>(shape.images);
    n_candidates = workspace.Take<int64_t>(shape.images);
    cuts = workspace.Take<MiningCut<Bits<L>>>(shape.images);
    mining = workspace.Take<char>(MiningWorkspaceBytes<Bits<L>>(shape.images, shape.boxes));
  }

  Workspace workspace;
  Bits<L>* keys;
  L* cross_entropy;
  SsdBlockSums* blocks;
  SsdBlockSums* images;
  double* n_positive;
  int64_t* n_candidates;
  MiningCut<Bits<L>>* cuts;
  void* mining;
};

// Calls `work(block, image, first box of the image's block, boxes)` for every block.
template <class F>
void ForEachBlock(const SsdShape& shape, Executor& executor, const F& work) {
  const int64_t per_image = BlocksPerImage(shape);
  ParallelFor(executor, shape.images * per_image, BlocksPerTask(shape), [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block % per_image * kBoxesPerBlock;
      work(block, block / per_image, first, std::min(kBoxesPerBlock, shape.boxes - first));
    }
  });
}

// The blocks of an image, in order.
SsdBlockSums SumBlocks(const SsdBlockSums* blocks, int64_t count) {
  SsdBlockSums image;
  for (int64_t i = 0; i < count; ++i) {
    const SsdBlockSums& block = blocks[i];
    if (image.first_invalid < 0 && block.first_invalid >= 0) {
      image.first_invalid = i * kBoxesPerBlock + block.first_invalid;
    }
    image.positive += block.positive;
    image.negative += block.negative;
    image.localization += block.localization;
    image.n_pos += block.n_pos;
    image.n_kept += block.n_kept;
    image.n_candidates += block.n_candidates;
    image.num_invalid += block.num_invalid;
    image.num_misplaced += block.num_misplaced;
    image.is_nan |= block.is_nan;
  }
  return image;
}

Status CheckSsdNumbers(const SsdLossOptions& options) {
  DETLOSS_RETURN_IF_ERROR(CheckNonNegative("alpha", options.alpha));
  return CheckMiningOptions(options.mining);
}

template <class L>
InvalidLabel DescribeLabel(const SsdLayout& layout, const L* row, int64_t image, int64_t box) {
  std::string found;
  const auto check = [&](const char* name, int64_t first, int64_t count, bool may_be_negative) {
    for (int64_t i = 0; i < count && found.empty(); ++i) {
      const L value = row[first + i];
      if (may_be_negative ? IsLabel(value) : IsLabelWeight(value)) continue;
      found = std::string(name) + " " + std::to_string(i) + " = " + Describe(value);
    }
  };
  check("class", layout.class_column, layout.num_classes, false);
  if (layout.has_positive_column) check("positive flag", layout.positive_column, 1, false);
  check("offset", layout.box_column, 4, true);
  const std::string largest = Describe(LargestLabel<L>());
  return {"classes from 0 to " + largest + " and offsets of positives from -" + largest + " to " + largest, found,
          "image " + std::to_string(image) + ", box " + std::to_string(box)};
}

Status WarnOfLayout(const SsdLayout& layout, int64_t width, int64_t num_misplaced) {
  return Status::Warning(
      "y_true: rows of " + std::to_string(width) + " columns were taken for " + std::to_string(layout.num_classes) +
      " classes and 12 more columns, but " + std::to_string(num_misplaced) +
      " boxes of this batch have a label behind these classes and none in them. Pass num_classes, which counts the "
      "background, or a layout. This is said once per process, and not with invalid_targets=\"silent\".");
}

// What the options ask to be done about the boxes of all images: an error, a warning, or nothing.
template <class L>
Status JudgeTargets(const SsdLossOptions& options, const SsdLossOptions& resolved, const SsdShape& shape,
                    const L* y_true, const SsdBlockSums* images) {
  if (options.invalid_targets == InvalidTargets::kSilent) return Status::Ok();
  int64_t num_invalid = 0, num_misplaced = 0;
  InvalidLabel first;
  for (int64_t image = 0; image < shape.images; ++image) {
    const int64_t box = images[image].first_invalid;
    if (box >= 0 && num_invalid == 0) {
      first = DescribeLabel(resolved.layout, y_true + (image * shape.boxes + box) * shape.width, image, box);
      if (options.invalid_targets == InvalidTargets::kError) return RefuseTarget(first, "error");
    }
    num_invalid += images[image].num_invalid;
    num_misplaced += images[image].num_misplaced;
  }
  const bool guessed = options.layout.num_classes == 0;
  if (guessed && num_misplaced > 0) return WarnOfLayout(resolved.layout, shape.width, num_misplaced);
  return num_invalid == 0 ? Status::Ok() : WarnOfTargets(num_invalid, first);
}

template <class L>
void ComputeScales(const SsdLossOptions& options, int64_t images, const L* n_pos, const L* n_kept,
                   SsdScales<double>* scales) {
  double batch_positives = 0;
  for (int64_t image = 0; image < images; ++image) batch_positives += n_pos[image];
  for (int64_t image = 0; image < images; ++image) {
    scales[image] = ScalesOf(options, images, batch_positives, n_pos[image], n_kept[image]);
  }
}

template <class L>
void WriteOutputs(const SsdShape& shape, const SsdBlockSums* images, const SsdScales<double>* scales,
                  const SsdLossOutputs<L>& outputs) {
  for (int64_t image = 0; image < shape.images; ++image) {
    const SsdBlockSums& sums = images[image];
    const double negative = sums.is_nan ? std::numeric_limits<double>::quiet_NaN() : sums.negative;
    const SsdTerms terms = TermsOf(scales[image], sums.positive, negative, sums.localization);
    outputs.positive[image] = static_cast<L>(terms.positive);
    outputs.negative[image] = static_cast<L>(terms.negative);
    outputs.localization[image] = static_cast<L>(terms.localization);
    outputs.loss[image] = static_cast<L>(terms.loss);
    outputs.num_invalid[image] = static_cast<int32_t>(sums.num_invalid);
  }
}

}  // namespace

Status CheckSsdOptions(const SsdLossOptions& options) {
  DETLOSS_RETURN_IF_ERROR(CheckSsdNumbers(options));
  return CheckLayout(options.layout);
}

Status CheckSsdShape(const SsdShape& shape) {
  return CheckTensorSize("y_pred", "boxes", 2, {shape.images, shape.boxes, shape.width});
}

Status ResolveSsdOptions(const SsdLossOptions& options, const SsdShape& shape, SsdLossOptions* resolved) {
  *resolved = options;
  DETLOSS_RETURN_IF_ERROR(CheckSsdNumbers(options));
  DETLOSS_RETURN_IF_ERROR(CheckSsdShape(shape));
  const Status status = ResolveLayout(options.layout, shape.width, &resolved->layout);
  if (status.ok()) return status;
  return Status::InvalidArgument(status.message() + ": y_true and y_pred have shape " +
                                 DimensionsText({shape.images, shape.boxes, shape.width}));
}

template <class T>
size_t SsdLossWorkspaceBytes(const SsdShape& shape) {
  Workspace workspace(nullptr);
  workspace.Take<SsdScales<double>>(shape.images);
  return workspace.bytes() + ForwardWorkspace<T>(nullptr, shape).workspace.bytes();
}

template <class T>
Status SsdLossForward(const SsdLossOptions& options, const SsdShape& shape, const Compute<T>* y_true, const T* y_pred,
                      const SsdLossOutputs<Compute<T>>& outputs, void* buffer, Executor& executor) {
  using L = Compute<T>;
  DefaultFloatEnvironment environment;
  DETLOSS_RETURN_IF_ERROR(CheckCpuTier());
  SsdLossOptions resolved;
  Status status = ResolveSsdOptions(options, shape, &resolved);
  if (!status.ok()) return status;
  const SsdLossKernels<T>& kernels = KernelsFor(T());
  ForwardWorkspace<T> work(buffer, shape);
  auto* scales = work.workspace.template Take<SsdScales<double>>(shape.images);

  ForEachBlock(shape, executor, [&](int64_t block, int64_t image, int64_t first, int64_t boxes) {
    const int64_t box = image * shape.boxes + first;
    kernels.forward({&resolved, boxes, shape.width, y_true + box * shape.width, y_pred + box * shape.width,
                     work.keys + box, work.cross_entropy + box, outputs.selection + box, work.blocks + block});
  });

  const int64_t per_image = BlocksPerImage(shape);
  for (int64_t image = 0; image < shape.images; ++image) {
    const SsdBlockSums& sums = work.images[image] = SumBlocks(work.blocks + image * per_image, per_image);
    outputs.n_pos[image] = static_cast<L>(sums.n_pos);
    work.n_positive[image] = outputs.n_pos[image];
    work.n_candidates[image] = sums.n_candidates;
  }
  Status judgement = JudgeTargets(options, resolved, shape, y_true, work.images);
  if (!judgement.ok()) return judgement;

  FindMiningCuts(options.mining, shape.images, shape.boxes, work.keys, work.n_positive, work.n_candidates, work.cuts,
                 work.mining, executor);

  ForEachBlock(shape, executor, [&](int64_t block, int64_t image, int64_t first, int64_t boxes) {
    const int64_t box = image * shape.boxes + first;
    kernels.keep({boxes, box, work.cuts[image], work.keys + box, work.cross_entropy + box, outputs.selection + box,
                  work.blocks + block});
  });

  for (int64_t image = 0; image < shape.images; ++image) {
    work.images[image] = SumBlocks(work.blocks + image * per_image, per_image);
    outputs.n_kept[image] = static_cast<L>(work.images[image].n_kept);
  }
  ComputeScales(options, shape.images, outputs.n_pos, outputs.n_kept, scales);
  WriteOutputs(shape, work.images, scales, outputs);
  return judgement;
}

template <class T>
size_t SsdLossGradWorkspaceBytes(const SsdShape& shape) {
  Workspace workspace(nullptr);
  workspace.Take<SsdScales<double>>(shape.images);
  workspace.Take<SsdScales<Compute<T>>>(shape.images);
  return workspace.bytes();
}

template <class T>
Status SsdLossBackward(const SsdLossOptions& options, const SsdShape& shape, const Compute<T>* loss_gradient,
                       const Compute<T>* y_true, const T* y_pred, const SsdLossResiduals<Compute<T>>& residuals,
                       T* gradient, void* buffer, Executor& executor) {
  using L = Compute<T>;
  DefaultFloatEnvironment environment;
  DETLOSS_RETURN_IF_ERROR(CheckCpuTier());
  SsdLossOptions resolved;
  Status status = ResolveSsdOptions(options, shape, &resolved);
  if (!status.ok()) return status;
  Workspace workspace(buffer);
  auto* normalisers = workspace.Take<SsdScales<double>>(shape.images);
  auto* scales = workspace.Take<SsdScales<L>>(shape.images);
  ComputeScales(options, shape.images, residuals.n_pos, residuals.n_kept, normalisers);
  for (int64_t image = 0; image < shape.images; ++image) {
    scales[image].confidence = static_cast<L>(normalisers[image].confidence * loss_gradient[image]);
    scales[image].localization = static_cast<L>(normalisers[image].localization * loss_gradient[image]);
  }

  const int64_t boxes = shape.images * shape.boxes;
  const int64_t row_bytes = shape.width * static_cast<int64_t>(sizeof(T));
  const bool stream = IsWorthStreaming(gradient, boxes * row_bytes);
  ParallelFor(executor, boxes, GradientRowsPerTask(row_bytes), [&](int64_t begin, int64_t end) {
    KernelsFor(T()).backward(
        {&resolved, shape, begin, end, stream, y_true, y_pred, residuals.selection, scales, gradient});
  });
  return Status::Ok();
}

#define DETLOSS_INSTANTIATE(T)                                                                                  \
  template size_t SsdLossWorkspaceBytes<T>(const SsdShape&);                                                    \
  template Status SsdLossForward(const SsdLossOptions&, const SsdShape&, const Compute<T>*, const T*,           \
                                 const SsdLossOutputs<Compute<T>>&, void*, Executor&);                          \
  template size_t SsdLossGradWorkspaceBytes<T>(const SsdShape&);                                                \
  template Status SsdLossBackward(const SsdLossOptions&, const SsdShape&, const Compute<T>*, const Compute<T>*, \
                                  const T*, const SsdLossResiduals<Compute<T>>&, T*, void*, Executor&);
DETLOSS_INSTANTIATE(float)
DETLOSS_INSTANTIATE(double)
DETLOSS_INSTANTIATE(Half)
DETLOSS_INSTANTIATE(BFloat16)
#undef DETLOSS_INSTANTIATE

}  // namespace detloss
