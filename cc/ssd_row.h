// One box of the SSD loss: its label, cross-entropy, localization and gradient. Shared by host and device.
#ifndef DETLOSS_CC_SSD_ROW_H_
#define DETLOSS_CC_SSD_ROW_H_

#include <cstdint>

#include "cc/dtypes.h"
#include "cc/label_range.h"
#include "cc/math.h"
#include "cc/platform.h"
#include "cc/softmax_terms.h"
#include "cc/ssd_layout.h"
#include "cc/ssd_loss_options.h"

namespace detloss {

// Probabilities below count as this one, as in the originals: -log never exceeds 34.5.
template <class L>
DETLOSS_SHARED L SmallestProbability() {
  return static_cast<L>(1e-15);
}

template <class L>
struct SsdTarget {
  L positive;  // weight as a positive
  L negative;  // weight as a candidate for hard negative mining
  bool valid;
};

// `num_labels` classes are read: all of them, or 1 where the foreground is zero.
template <class L>
DETLOSS_SHARED SsdTarget<L> ReadTarget(const SsdLayout& layout, const L* row, int64_t num_labels) {
  const L* labels = row + layout.class_column;
  SsdTarget<L> target = {0, labels[0], IsLabelWeight(labels[0])};
  for (int64_t c = 1; c < num_labels; ++c) {
    target.valid &= IsLabelWeight(labels[c]);
    target.positive = labels[c] > target.positive ? labels[c] : target.positive;
  }
  if (layout.has_positive_column) {
    target.positive = row[layout.positive_column];
    target.negative = 1 - target.positive;
    target.valid &= IsLabelWeight(target.positive);
  }
  if (target.positive > 0) {
    const L* offsets = row + layout.box_column;
    for (int i = 0; i < 4; ++i) target.valid &= IsLabel(offsets[i]);
  }
  return target;
}

template <class L, class T>
DETLOSS_SHARED L CrossEntropyFromProbabilities(const L* labels, const T* probabilities, int64_t num_labels) {
  L sum = 0;
  for (int64_t c = 0; c < num_labels; ++c) {
    if (labels[c] == 0) continue;
    const L p = ToCompute(probabilities[c]);
    // Written so that NaN passes.
    sum -= labels[c] * Log(p < SmallestProbability<L>() ? SmallestProbability<L>() : ToFinite(p));
  }
  return sum;
}

template <class L, class T>
DETLOSS_SHARED L CrossEntropyFromLogits(const L* labels, const T* logits, int64_t num_labels,
                                        const SoftmaxTerms<L>& softmax) {
  L sum = 0;
  for (int64_t c = 0; c < num_labels; ++c) {
    if (labels[c] != 0) sum -= labels[c] * (ToCompute(logits[c]) - softmax.largest - softmax.log_sum);
  }
  if (!IsNan(sum)) return sum;
  sum = 0;  // NaN says to look closer, at infinite logits
  for (int64_t c = 0; c < num_labels; ++c) {
    if (labels[c] != 0) sum -= labels[c] * softmax.LogProbability(ToCompute(logits[c]));
  }
  return sum;
}

template <class L, class T>
DETLOSS_SHARED L SmoothL1(const L* offsets, const T* predicted) {
  L sum = 0;
  for (int i = 0; i < 4; ++i) {
    const L difference = ToCompute(predicted[i]) - offsets[i];
    const L magnitude = difference < 0 ? -difference : difference;
    sum += magnitude < 1 ? L(0.5) * difference * difference : magnitude - L(0.5);
  }
  return sum;
}

template <class L, class T>
DETLOSS_SHARED void SmoothL1Gradient(const L* offsets, const T* predicted, L scale, T* gradient) {
  for (int i = 0; i < 4; ++i) {
    const L difference = ToCompute(predicted[i]) - offsets[i];
    Store(scale * (difference > 1 ? L(1) : difference < -1 ? L(-1) : difference), gradient + i);
  }
}

// With respect to one probability, and to one logit. `scale` is that of the box's cross-entropy.
template <class L>
DETLOSS_SHARED L ProbabilityGradient(L label, L p, L scale) {
  return label != 0 && !(p < SmallestProbability<L>()) ? -scale * label / ToFinite(p) : L(0);
}

template <class L>
DETLOSS_SHARED L LogitGradient(L label, L label_sum, L probability, L scale) {
  return scale * (label_sum * probability - label);
}

// ---- A box in the forward pass ----

// What reads a box's whole row of predicted classes.
template <class L>
struct SsdRowStatistics {
  SoftmaxTerms<L> softmax;  // with logits
  L foreground;             // the largest predicted foreground class, where boxes are ranked by it
};

template <class L>
struct SsdScore {
  uint8_t selection;
  L key;  // what mining ranks the box by; 0: no candidate
  L cross_entropy;
  L positive;      // weight as a positive
  L localization;  // of a positive
};

template <class T>
DETLOSS_SHARED SsdScore<Compute<T>> ScoreBox(const SsdLossOptions& options, const Compute<T>* truth,
                                             const T* prediction, int64_t num_labels,
                                             const SsdRowStatistics<Compute<T>>& statistics) {
  using L = Compute<T>;
  const SsdLayout& layout = options.layout;
  const SsdTarget<L> target = ReadTarget(layout, truth, num_labels);
  SsdScore<L> score = {0, 0, 0, 0, 0};
  if (!target.valid) {
    score.selection = kSsdInvalid;
    return score;
  }
  if (!(target.positive > 0 || target.negative != 0)) return score;
  const L* labels = truth + layout.class_column;
  const T* classes = prediction + layout.class_column;
  score.cross_entropy = options.from_logits ? CrossEntropyFromLogits(labels, classes, num_labels, statistics.softmax)
                                            : CrossEntropyFromProbabilities(labels, classes, num_labels);
  L rank = score.cross_entropy;
  if (options.rank_by == RankBy::kForeground) {
    rank = options.from_logits ? Exp(statistics.softmax.LogProbability(statistics.foreground)) : statistics.foreground;
  }
  score.key = target.negative == 0 ? 0 : rank * target.negative;
  if (target.positive > 0) {
    score.selection = kSsdPositive;
    score.positive = target.positive;
    if (options.alpha != 0) {
      score.localization = SmoothL1(truth + layout.box_column, prediction + layout.box_column);
    }
  }
  return score;
}

// ---- Normalisers ----

// Factors of an image's terms: the normaliser, alpha and, in the backward pass, the gradient of its loss.
template <class L>
struct SsdScales {
  L confidence;
  L localization;
};

// Of localization, with image_selected: by the positives, even where they are less than one. What is next to none does
// not overflow.
DETLOSS_SHARED double OneByPositives(double n_pos) {
  constexpr double kFewest = 1e-30;
  return n_pos > 0 ? 1 / (n_pos > kFewest ? n_pos : kFewest) : 1;
}

// From what the forward pass counted; the backward pass takes the same counts.
DETLOSS_SHARED SsdScales<double> ScalesOf(const SsdLossOptions& options, int64_t images, double batch_positives,
                                          double n_pos, double n_kept) {
  const double per_batch = static_cast<double>(images) / (batch_positives > 1 ? batch_positives : 1);
  const double per_image = 1 / (n_pos > 1 ? n_pos : 1), selected = n_pos + n_kept;
  switch (options.normalizer) {
    case Normalizer::kBatch:
      return {per_batch, per_batch * options.alpha};
    case Normalizer::kImage:
      return {per_image, per_image * options.alpha};
    case Normalizer::kImageSelected:
      return {selected > 0 ? 1 / selected : 0, OneByPositives(n_pos) * options.alpha};
  }
  return {0, 0};
}

// An image's terms from its sums; they add up to the loss.
struct SsdTerms {
  double loss, positive, negative, localization;
};

DETLOSS_SHARED SsdTerms TermsOf(const SsdScales<double>& scales, double positive, double negative,
                                double localization) {
  const SsdTerms terms = {0, positive * scales.confidence, negative * scales.confidence,
                          localization * scales.localization};
  return {terms.positive + terms.negative + terms.localization, terms.positive, terms.negative, terms.localization};
}

}  // namespace detloss

#endif  // DETLOSS_CC_SSD_ROW_H_
