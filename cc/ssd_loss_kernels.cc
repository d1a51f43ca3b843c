// Compiled once per CPU tier, with DETLOSS_TIER naming it: see cpu_tier.h.
#include "cc/ssd_loss_kernels.h"

#include <cstring>

#include "cc/lanes.h"
#include "cc/log_sum_exp.h"
#include "cc/math.h"
#include "cc/platform.h"
#include "cc/ssd_row.h"
#include "cc/streaming.h"

namespace detloss {
namespace DETLOSS_TIER {
namespace {

// Whether every class but the background is +0, which is so for nearly every box of an image.
template <class L>
DETLOSS_SHARED bool ForegroundIsZero(const L* labels, int64_t num_classes) {
  if (num_classes <= kLanes) {
    Bits<L> any = 0;
    for (int64_t c = 1; c < num_classes; ++c) any |= BitCast<Bits<L>>(labels[c]);
    return any == 0;
  }
  // The last sixteen may repeat some of those before.
  Vector<uint32_t> any = {};
  for (int64_t c = 1; c < num_classes; c += kLanes) {
    const int64_t first = c + kLanes <= num_classes ? c : num_classes - kLanes;
    for (const Vector<L>& vector : LoadLanes(labels + first).vectors) any |= BitCast<Vector<uint32_t>>(vector);
  }
  return IsZero(any);
}

// Whether the eight columns behind the classes hold a label: a one among zeros. Both repositories' layouts have offsets
// and prior boxes there, or nothing, so that it tells of rows that end in four offsets.
template <class L>
DETLOSS_SHARED bool HasLabelBehindClasses(const SsdLayout& layout, const L* row, int64_t width) {
  constexpr int64_t kColumns = 8;
  const int64_t first = layout.class_column + layout.num_classes;
  if (first + kColumns > width) return false;
  int ones = 0, zeros = 0;
  for (int64_t column = first; column < first + kColumns; ++column) {
    ones += row[column] == 1;
    zeros += row[column] == 0;
  }
  return ones == 1 && zeros == kColumns - 1;
}

// Of a box whose softmax is known, where it is needed.
template <class T>
DETLOSS_SHARED SsdRowStatistics<Compute<T>> StatisticsOf(const SsdLossOptions& options, const T* classes,
                                                         const SoftmaxTerms<Compute<T>>& softmax) {
  const bool needs_foreground = options.rank_by == RankBy::kForeground;
  return {softmax, needs_foreground ? LargestOrNan(classes + 1, options.layout.num_classes - 1) : 0};
}

template <class T>
DETLOSS_SHARED void ForwardBox(const SsdForwardBlock<T>& block, const SsdLossOptions& options, int64_t i,
                               const SoftmaxTerms<Compute<T>>& softmax, SsdBlockSums* sums) {
  using L = Compute<T>;
  const SsdLayout& layout = options.layout;
  const L* truth = block.y_true + i * block.width;
  const T* prediction = block.y_pred + i * block.width;
  const int64_t num_labels = ForegroundIsZero(truth + layout.class_column, layout.num_classes) ? 1 : layout.num_classes;
  const SsdRowStatistics<L> statistics = StatisticsOf(options, prediction + layout.class_column, softmax);
  const SsdScore<L> score = ScoreBox(options, truth, prediction, num_labels, statistics);
  block.cross_entropy[i] = score.cross_entropy;
  block.selection[i] = score.selection;
  if (score.selection == kSsdInvalid) {
    block.keys[i] = kNeverKept<Bits<L>>;
    if (sums->first_invalid < 0) sums->first_invalid = i;
    ++sums->num_invalid;
    return;
  }
  const bool is_neutral = num_labels == 1 && truth[layout.class_column] == 0 && score.selection == 0;
  if (is_neutral) sums->num_misplaced += HasLabelBehindClasses(layout, truth, block.width);
  block.keys[i] = OrderedKey(score.key);
  sums->n_candidates += score.key != 0;
  sums->is_nan |= IsNan(score.key) || IsNan(score.cross_entropy);
  if (score.positive > 0) {
    sums->n_pos += score.positive;
    sums->positive += static_cast<double>(score.positive) * score.cross_entropy;
    sums->localization += static_cast<double>(score.positive) * score.localization;
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
    SoftmaxTermsOfRows<Compute<T>> softmax;
    if (options.from_logits) ComputeSoftmaxTermsOfRows(classes + i * block.width, num_classes, block.width, &softmax);
    for (int row = 0; row < kLanes; ++row) {
      const int64_t ahead = (i + row + kRowsAhead) * block.width;
      PrefetchBox(options.layout, block.y_true + ahead, block.y_pred + ahead, all_classes);
      ForwardBox(block, options, i + row, softmax[row], &sums);
    }
  }
  for (; i < block.boxes; ++i) {
    SoftmaxTerms<Compute<T>> softmax = {0, 0};
    if (options.from_logits) softmax = SoftmaxTermsOf(classes + i * block.width, num_classes);
    ForwardBox(block, options, i, softmax, &sums);
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

// Into a gradient that is zero: entries without a label stay so.
template <class L, class T>
DETLOSS_SHARED void ProbabilitiesGradient(const L* labels, const T* probabilities, int64_t num_labels, L scale,
                                          T* gradient) {
  for (int64_t c = 0; c < num_labels; ++c) {
    if (labels[c] != 0) Store(ProbabilityGradient(labels[c], ToCompute(probabilities[c]), scale), gradient + c);
  }
}

template <class L, class T>
DETLOSS_SHARED void LogitsGradient(const L* labels, const T* logits, int64_t num_classes, L scale, T* gradient) {
  L label_sum = 0;
  for (int64_t c = 0; c < num_classes; ++c) label_sum += labels[c];
  if (label_sum == 0) return;  // takes no part, whatever the logits are
  ForEachProbability(SoftmaxTermsOf(logits, num_classes), logits, num_classes, [&](int64_t c, L probability) {
    Store(LogitGradient(labels[c], label_sum, probability, scale), gradient + c);
  });
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
  // Finite, as the slopes may be 0.
  const L confidence = ToFinite(scales.confidence * (positive + (selection & kSsdKept ? 1 : 0)));
  const L localization = ToFinite(scales.localization * positive);
  const T* classes = prediction + layout.class_column;
  T* classes_gradient = gradient + layout.class_column;
  if (confidence != 0) {
    if (rows.options->from_logits) {
      LogitsGradient(labels, classes, layout.num_classes, confidence, classes_gradient);
    } else {
      ProbabilitiesGradient(labels, classes, num_labels, confidence, classes_gradient);
    }
  }
  if (positive > 0 && localization != 0) {
    SmoothL1Gradient(truth + layout.box_column, prediction + layout.box_column, localization,
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
