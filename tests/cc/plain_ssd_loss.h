// The SSD loss as plain loops over boxes, in double: the oracle of the fused kernels, written from the definition.
#ifndef DETLOSS_TESTS_CC_PLAIN_SSD_LOSS_H_
#define DETLOSS_TESTS_CC_PLAIN_SSD_LOSS_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "cc/ssd_loss.h"
#include "tests/cc/dtype_values.h"
#include "tests/cc/plain_hard_negative_mining.h"
#include "tests/cc/plain_softmax.h"
#include "tests/cc/rounding.h"

namespace detloss {

struct PlainSsdLoss {
  std::vector<Total> loss, positive, negative, localization;  // per image
  std::vector<double> n_pos, n_kept;                          // per image
  std::vector<int32_t> num_invalid;                           // per image
  std::vector<uint8_t> selection;                             // [images, boxes]
  std::vector<Total> gradient;                                // [images, boxes, width]
  std::vector<Total> keys;                                    // [images, boxes]
  std::vector<MiningGroup> groups;
};

// One row of labels and predictions, and what the definition makes of it.
struct PlainSsdBox {
  std::vector<double> labels, scores;
  double offsets[4], predicted[4];
  double positive, negative;
  bool valid;
};

template <class T>
PlainSsdBox ReadPlainBox(const SsdLayout& layout, const Compute<T>* truth, const T* prediction) {
  PlainSsdBox box;
  for (int64_t c = 0; c < layout.num_classes; ++c) {
    box.labels.push_back(truth[layout.class_column + c]);
    box.scores.push_back(ToDouble(prediction[layout.class_column + c]));
  }
  for (int i = 0; i < 4; ++i) {
    box.offsets[i] = truth[layout.box_column + i];
    box.predicted[i] = ToDouble(prediction[layout.box_column + i]);
  }
  const auto is_weight = [](double x) { return x >= 0 && x <= 1e6; };
  box.valid = std::all_of(box.labels.begin(), box.labels.end(), is_weight);
  box.positive = *std::max_element(box.labels.begin() + 1, box.labels.end());
  box.negative = box.labels[0];
  if (layout.has_positive_column) {
    box.positive = truth[layout.positive_column];
    box.negative = 1 - box.positive;
    box.valid = box.valid && is_weight(box.positive);
  }
  if (box.positive > 0) {
    box.valid = box.valid && std::all_of(box.offsets, box.offsets + 4, [](double x) { return std::fabs(x) <= 1e6; });
  }
  if (!box.valid) box.positive = box.negative = 0;
  return box;
}

constexpr double kSmallestProbability = 1e-15;

inline Total PlainCrossEntropy(const PlainSsdBox& box, bool from_logits) {
  Total sum;
  const std::vector<Total> log_probabilities = PlainLogProbabilities(box.scores);
  for (size_t c = 0; c < box.labels.size(); ++c) {
    const double label = box.labels[c], score = box.scores[c];
    if (label == 0) continue;
    if (from_logits) {
      sum += -label * log_probabilities[c];
    } else {
      sum.Add(-label * std::log(score < kSmallestProbability ? kSmallestProbability : score));
    }
  }
  return sum;
}

// The largest foreground probability; NaN if any is.
inline Total PlainForeground(const PlainSsdBox& box, bool from_logits) {
  const std::vector<Total> log_probabilities = PlainLogProbabilities(box.scores);
  Total largest = {-HUGE_VAL, 0};
  for (size_t c = 1; c < box.scores.size(); ++c) {
    const double probability = from_logits ? std::exp(log_probabilities[c].value) : box.scores[c];
    // The relative error of an exponential is the absolute one of its exponent.
    const double error = 1 + (from_logits ? log_probabilities[c].magnitude : 0);
    if (RanksAbove(probability, largest.value)) largest = {probability, std::fabs(probability) * error};
  }
  return largest;
}

inline double PlainSmoothL1(const PlainSsdBox& box) {
  double sum = 0;
  for (int i = 0; i < 4; ++i) {
    const double error = std::fabs(box.predicted[i] - box.offsets[i]);
    sum += error < 1 ? 0.5 * error * error : error - 0.5;
  }
  return sum;
}

// Of the cross-entropy by the scores.
inline std::vector<Total> PlainCrossEntropyGradient(const PlainSsdBox& box, bool from_logits) {
  std::vector<Total> gradient(box.labels.size());
  const double label_sum = std::accumulate(box.labels.begin(), box.labels.end(), 0.0);
  if (label_sum == 0) return gradient;  // takes no part, whatever is predicted
  const std::vector<Total> log_probabilities = PlainLogProbabilities(box.scores);
  for (size_t c = 0; c < box.labels.size(); ++c) {
    const double label = box.labels[c], score = box.scores[c];
    if (from_logits) {
      const double probability = std::exp(log_probabilities[c].value), error = 1 + log_probabilities[c].magnitude;
      gradient[c] = {label_sum * probability - label, label_sum * probability * error + label};
    } else if (label != 0 && !(score < kSmallestProbability)) {
      gradient[c].Add(-label / score);
    }
  }
  return gradient;
}

struct PlainScales {
  double confidence, localization;
};

// `images` and the counts are of the batch, `n_pos` and `n_kept` of the image.
inline PlainScales PlainNormalizers(Normalizer normalizer, double images, double batch_positives, double n_pos,
                                    double n_kept) {
  const double per_batch = images / std::max(1.0, batch_positives), per_image = 1 / std::max(1.0, n_pos);
  if (normalizer == Normalizer::kBatch) return {per_batch, per_batch};
  if (normalizer == Normalizer::kImage) return {per_image, per_image};
  return {n_pos + n_kept > 0 ? 1 / (n_pos + n_kept) : 0, n_pos > 0 ? 1 / n_pos : 1};
}

// `options` holds a resolved layout.
template <class T>
PlainSsdLoss ComputePlainSsdLoss(const SsdLossOptions& options, const SsdShape& shape,
                                 const std::vector<Compute<T>>& y_true, const std::vector<T>& y_pred,
                                 const std::vector<Compute<T>>& loss_gradient) {
  const SsdLayout& layout = options.layout;
  const int64_t count = shape.images * shape.boxes;
  PlainSsdLoss plain;
  plain.positive.resize(shape.images);
  plain.negative.resize(shape.images);
  plain.localization.resize(shape.images);
  plain.n_pos.resize(shape.images);
  plain.n_kept.resize(shape.images);
  plain.num_invalid.resize(shape.images);
  plain.selection.resize(count);
  plain.keys.resize(count);
  plain.gradient.resize(count * shape.width);
  std::vector<uint8_t> valid(count), is_nan(shape.images);
  const auto read = [&](int64_t i) {
    return ReadPlainBox<T>(layout, y_true.data() + i * shape.width, y_pred.data() + i * shape.width);
  };

  for (int64_t i = 0; i < count; ++i) {
    const PlainSsdBox box = read(i);
    const int64_t image = i / shape.boxes;
    valid[i] = box.valid;
    if (!box.valid) {
      plain.selection[i] = kSsdInvalid;
      ++plain.num_invalid[image];
    }
    if (box.positive == 0 && box.negative == 0) continue;
    const Total cross_entropy = PlainCrossEntropy(box, options.from_logits);
    if (box.negative != 0) {
      plain.keys[i] =
          box.negative * (options.rank_by == RankBy::kLoss ? cross_entropy : PlainForeground(box, options.from_logits));
    }
    is_nan[image] |= std::isnan(cross_entropy.value) || std::isnan(plain.keys[i].value);
    if (box.positive > 0) {
      plain.selection[i] = kSsdPositive;
      plain.n_pos[image] += box.positive;
      plain.positive[image] += box.positive * cross_entropy;
      plain.localization[image].Add(box.positive * PlainSmoothL1(box));
    }
  }
  for (double& n_pos : plain.n_pos) n_pos = static_cast<Compute<T>>(n_pos);  // as it is handed out, and to mining

  std::vector<double> keys;
  for (const Total& key : plain.keys) keys.push_back(key.value);
  plain.groups = PlainMiningGroups(options.mining, shape.boxes, keys, plain.n_pos);
  const std::vector<uint8_t> kept = PlainHardNegatives(plain.groups, keys, valid);
  for (int64_t i = 0; i < count; ++i) {
    if (!kept[i]) continue;
    const PlainSsdBox box = read(i);
    plain.selection[i] |= kSsdKept;
    ++plain.n_kept[i / shape.boxes];
    plain.negative[i / shape.boxes] += PlainCrossEntropy(box, options.from_logits);
  }

  const double batch_positives = std::accumulate(plain.n_pos.begin(), plain.n_pos.end(), 0.0);
  for (int64_t image = 0; image < shape.images; ++image) {
    const PlainScales scales = PlainNormalizers(options.normalizer, static_cast<double>(shape.images), batch_positives,
                                                plain.n_pos[image], plain.n_kept[image]);
    plain.positive[image] = scales.confidence * plain.positive[image];
    plain.negative[image] = scales.confidence * plain.negative[image];
    plain.localization[image] = options.alpha * scales.localization * plain.localization[image];
    plain.loss.push_back(plain.positive[image]);
    plain.loss[image] += plain.negative[image];
    plain.loss[image] += plain.localization[image];
    if (is_nan[image]) plain.loss[image].value = std::numeric_limits<double>::quiet_NaN();

    for (int64_t i = image * shape.boxes; i < (image + 1) * shape.boxes; ++i) {
      const PlainSsdBox box = read(i);
      const double weight = box.positive + kept[i];
      Total* gradient = plain.gradient.data() + i * shape.width;
      if (weight > 0) {
        const std::vector<Total> classes = PlainCrossEntropyGradient(box, options.from_logits);
        for (int64_t c = 0; c < layout.num_classes; ++c) {
          gradient[layout.class_column + c] = loss_gradient[image] * scales.confidence * weight * classes[c];
        }
      }
      if (box.positive > 0) {
        for (int k = 0; k < 4; ++k) {
          const double error = box.predicted[k] - box.offsets[k];
          const double slope = std::isnan(error) ? error : std::clamp(error, -1.0, 1.0);
          gradient[layout.box_column + k] += loss_gradient[image] * options.alpha * scales.localization * box.positive *
                                             Total{slope, std::fabs(slope)};
        }
      }
    }
  }
  return plain;
}

// Whether rounding cannot change what is kept: relative errors of `tolerance` leave every key on its side of the cut
// (or equal to it), and no candidate with a key of zero.
inline bool IsSeparated(const PlainSsdLoss& plain, double tolerance) {
  for (const MiningGroup& group : plain.groups) {
    double cut = std::numeric_limits<double>::infinity(), cut_error = 0;  // the lowest key that is kept
    bool all_kept = true;
    for (int64_t i = group.first; i < group.last; ++i) {
      const Total& key = plain.keys[i];
      if (key.value != 0 && std::fabs(key.value) <= tolerance * key.magnitude) return false;
      if (std::isfinite(key.value) && std::fabs(key.value) < 1e-30 && key.value != 0) return false;
      if (plain.selection[i] == kSsdInvalid) continue;
      if (!(plain.selection[i] & kSsdKept)) {
        all_kept = false;
      } else if (key.value < cut) {
        cut = key.value;
        cut_error = tolerance * key.magnitude;
      }
    }
    if (all_kept) continue;
    for (int64_t i = group.first; i < group.last; ++i) {
      const Total& key = plain.keys[i];
      if (plain.selection[i] == kSsdInvalid || key.value == cut || !std::isfinite(key.value)) continue;
      if (std::fabs(key.value - cut) <= cut_error + tolerance * key.magnitude) return false;
    }
  }
  return true;
}

}  // namespace detloss

#endif  // DETLOSS_TESTS_CC_PLAIN_SSD_LOSS_H_
