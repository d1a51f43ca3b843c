// Compiled once per CPU tier, with DETLOSS_TIER naming it: see cpu_tier.h.
#include "cc/ssd_loss_kernels.h"

#include <cstring>

#include "cc/lanes.h"
#include "cc/math.h"
#include "cc/platform.h"
#include "cc/ssd_row.h"
#include "cc/streaming.h"

namespace detloss {
namespace DETLOSS_TIER {
namespace {

template <class T>
struct Scores {
  Compute<T> cross_entropy;
  Compute<T> rank;  // what the box is ranked by, before its weight as a negative
};

// `log_sum_exp` is read only with logits.
template <class T>
DETLOSS_SHARED Scores<T> ScoreBox(const SsdLossOptions& options, const Compute<T>* labels, const T* classes,
                                  int64_t num_labels, Compute<T> log_sum_exp) {
  using L = Compute<T>;
  Scores<T> scores;
  scores.cross_entropy = options.from_logits ? CrossEntropyFromLogits(labels, classes, num_labels, log_sum_exp)
                                             : CrossEntropyFromProbabilities(labels, classes, num_labels);
  if (options.rank_by == RankBy::kForeground) {
    const L foreground = LargestOrNan(classes + 1, options.layout.num_classes - 1);
    scores.rank = options.from_logits ? Exp(foreground - log_sum_exp) : foreground;
  } else {
    scores.rank = scores.cross_entropy;
  }
  return scores;
}

template <class T>
DETLOSS_SHARED void ForwardBox(const SsdForwardBlock<T>& block, const SsdLossOptions& options, int64_t i,
                               Compute<T> log_sum_exp, SsdBlockSums* sums) {
  using L = Compute<T>;
  const SsdLayout& layout = options.layout;
  const L* truth = block.y_true + i * block.width;
  const T* prediction = block.y_pred + i * block.width;
  const L* labels = truth + layout.class_column;
  const int64_t num_labels = ForegroundIsZero(labels, layout.num_classes) ? 1 : layout.num_classes;
  const SsdTarget<L> target = ReadTarget(layout, truth, num_labels);
  if (!target.valid) {
    if (sums->first_invalid < 0) sums->first_invalid = i;
    ++sums->num_invalid;
    block.keys[i] = kNeverKept<Bits<L>>;
    block.cross_entropy[i] = 0;
    block.selection[i] = kSsdInvalid;
    return;
  }
  Scores<T> scores = {0, 0};
  if (target.positive > 0 || target.negative != 0) {
    scores = ScoreBox(options, labels, prediction + layout.class_column, num_labels, log_sum_exp);
  }
  const L key = target.negative == 0 ? 0 : scores.rank * target.negative;
  block.keys[i] = OrderedKey(key);
  block.cross_entropy[i] = scores.cross_entropy;
  block.selection[i] = target.positive > 0 ? kSsdPositive : 0;
  sums->n_candidates += key != 0;
  sums->is_nan |= IsNan(key) || IsNan(scores.cross_entropy);
  if (target.positive > 0) {
    sums->n_pos += target.positive;
    sums->positive += static_cast<double>(target.positive) * scores.cross_entropy;
    sums->localization +=
        static_cast<double>(target.positive) * SmoothL1(truth + layout.box_column, prediction + layout.box_column);
  }
}

// Asks for what the loss of a box reads: the classes of its label, and one prediction or all.
template <class T>
DETLOSS_SHARED void PrefetchBox(const SsdLayout& layout, const Compute<T>* truth, const T* prediction,
                                bool all_classes) {
  PrefetchLines(truth + layout.class_column, layout.num_classes * sizeof(*truth));
  PrefetchLines(prediction + layout.class_column, (all_classes ? layout.num_classes : 1) * sizeof(T));
}

template <class T>
void Forward(const SsdForwardBlock<T>& block) {
  const SsdLossOptions options = *block.options;
  const int64_t num_classes = options.layout.num_classes;
  const T* classes = block.y_pred + options.layout.class_column;
  const bool all_classes = options.from_logits || options.rank_by == RankBy::kForeground;
  SsdBlockSums sums;
  int64_t i = 0;
  for (; i + kLanes <= block.boxes; i += kLanes) {
    Compute<T> log_sum_exp[kLanes] = {};
    if (options.from_logits) LogSumExpOfRows(classes + i * block.width, num_classes, block.width, log_sum_exp);
    for (int row = 0; row < kLanes; ++row) {
      const int64_t ahead = (i + row + kRowsAhead) * block.width;
      PrefetchBox(options.layout, block.y_true + ahead, block.y_pred + ahead, all_classes);
      ForwardBox(block, options, i + row, log_sum_exp[row], &sums);
    }
  }
  for (; i < block.boxes; ++i) {
    const Compute<T> log_sum_exp = options.from_logits ? LogSumExp(classes + i * block.width, num_classes) : 0;
    ForwardBox(block, options, i, log_sum_exp, &sums);
  }
  *block.sums = sums;
}

template <class L>
void Keep(const SsdKeepBlock<L>& block) {
  const auto keep = [&](int64_t i) {
    if (!block.cut.Keeps(block.keys[i], block.first_box + i) || block.selection[i] == kSsdInvalid) return;
    block.selection[i] |= kSsdKept;
    block.sums->negative += block.cross_entropy[i];
    ++block.sums->n_kept;
  };
  int64_t i = 0;
  for (; i + kLanes <= block.boxes; i += kLanes) {
    if (!AnyLane(block.keys + i, [&](Vector<Bits<L>> keys) { return keys >= block.cut.key; })) continue;
    for (int lane = 0; lane < kLanes; ++lane) keep(i + lane);
  }
  for (; i < block.boxes; ++i) keep(i);
}

// Into a row of zeros.
template <class T>
void AddBoxGradient(const SsdBackwardRows<T>& rows, int64_t box, T* gradient) {
  using L = Compute<T>;
  const SsdLayout& layout = rows.options->layout;
  const uint8_t selection = rows.selection[box];
  const L* truth = rows.y_true + box * rows.shape.width;
  const T* prediction = rows.y_pred + box * rows.shape.width;
  const SsdScales<L> scales = rows.scales[box / rows.shape.boxes];
  const L* labels = truth + layout.class_column;
  const int64_t num_labels = ForegroundIsZero(labels, layout.num_classes) ? 1 : layout.num_classes;
  const L positive = selection & kSsdPositive ? ReadTarget(layout, truth, num_labels).positive : 0;
  const L confidence = scales.confidence * (positive + (selection & kSsdKept ? 1 : 0));
  const T* classes = prediction + layout.class_column;
  T* classes_gradient = gradient + layout.class_column;
  if (rows.options->from_logits) {
    LogitsGradient(labels, classes, layout.num_classes, confidence, classes_gradient);
  } else {
    ProbabilitiesGradient(labels, classes, num_labels, confidence, classes_gradient);
  }
  if (positive > 0) {
    SmoothL1Gradient(truth + layout.box_column, prediction + layout.box_column, scales.localization * positive,
                     gradient + layout.box_column);
  }
}

template <class T>
void WriteRows(const SsdBackwardRows<T>& rows, int64_t begin, int64_t end, T* gradient) {
  memset(gradient, 0, (end - begin) * rows.shape.width * sizeof(T));
  for (int64_t box = begin; box < end; ++box) {
    if (rows.selection[box] & (kSsdPositive | kSsdKept)) {
      AddBoxGradient(rows, box, gradient + (box - begin) * rows.shape.width);
    }
  }
}

// Asks for the rows that have a gradient: few, each somewhere else, where the processor cannot foresee them.
template <class T>
DETLOSS_SHARED void PrefetchSelected(const SsdBackwardRows<T>& rows, int64_t begin, int64_t end) {
  for (int64_t box = begin; box < end; ++box) {
    if (!(rows.selection[box] & (kSsdPositive | kSsdKept))) continue;
    PrefetchBox(rows.options->layout, rows.y_true + box * rows.shape.width, rows.y_pred + box * rows.shape.width,
                rows.options->from_logits);
  }
}

template <class T>
void Backward(const SsdBackwardRows<T>& rows) {
  const int64_t row_bytes = rows.shape.width * static_cast<int64_t>(sizeof(T));
  const int64_t group = RowsPerStream<T>(rows.shape.width);
  int64_t box = rows.begin;
  if (rows.stream && group > 0) {
    alignas(kCacheLine) static const char kZeros[kStreamBytes] = {};
    alignas(kCacheLine) char buffer[kStreamBytes];
    for (; box + group <= rows.end; box += group) {
      const int64_t next = box + group;
      PrefetchSelected(rows, next, next + group < rows.end ? next + group : rows.end);
      uint8_t any = 0;
      for (int64_t i = 0; i < group; ++i) any |= rows.selection[box + i];
      const bool has_gradient = any & (kSsdPositive | kSsdKept);
      if (has_gradient) WriteRows(rows, box, box + group, reinterpret_cast<T*>(buffer));
      StreamLines(has_gradient ? buffer : kZeros, group * row_bytes,
                  reinterpret_cast<char*>(rows.gradient) + box * row_bytes);
    }
    FinishStreaming();
  }
  WriteRows(rows, box, rows.end, rows.gradient + box * rows.shape.width);
}

}  // namespace

const SsdLossKernels<float> kSsdLossFloat = {Forward<float>, Keep<float>, Backward<float>};
const SsdLossKernels<double> kSsdLossDouble = {Forward<double>, Keep<double>, Backward<double>};
const SsdLossKernels<Half> kSsdLossHalf = {Forward<Half>, Keep<float>, Backward<Half>};
const SsdLossKernels<BFloat16> kSsdLossBFloat16 = {Forward<BFloat16>, Keep<float>, Backward<BFloat16>};

}  // namespace DETLOSS_TIER
}  // namespace detloss
