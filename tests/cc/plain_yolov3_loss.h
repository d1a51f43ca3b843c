// The YOLOv3 loss as plain loops over rows, in double: the oracle of the fused kernels, written from the definition. A
// row is one anchor of one cell.
#ifndef DETLOSS_TESTS_CC_PLAIN_YOLOV3_LOSS_H_
#define DETLOSS_TESTS_CC_PLAIN_YOLOV3_LOSS_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "cc/yolov3_loss.h"
#include "tests/cc/dtype_values.h"
#include "tests/cc/plain_box_overlap.h"
#include "tests/cc/plain_softmax.h"
#include "tests/cc/rounding.h"

namespace detloss {

struct PlainYoloV3Loss {
  std::vector<Total> loss, box, xy, wh, object, no_object, class_term;  // per image
  std::vector<int32_t> num_invalid;                                     // per image
  std::vector<std::vector<uint8_t>> selection;                          // per scale [images, rows]
  std::vector<std::vector<Total>> objectness_gradient;                  // per scale [images, rows]
  std::vector<std::vector<Total>> gradient;                             // per scale [images, rows, 5 + classes]
  bool is_separated = true;                                             // whether rounding cannot change who is ignored
};

// What a magnitude has at least where a difference of numbers about 1 is taken.
constexpr double kPlainRounding = 1e-6;

inline double PlainSigmoid(double x) { return 1 / (1 + std::exp(-x)); }
inline double PlainSoftplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }

struct PlainTerm {
  Total loss;
  Total gradient;  // by the logit
};

// 0 where either factor is, be the other infinite.
inline double PlainProduct(double a, double b) { return a == 0 || b == 0 ? 0 : a * b; }

inline double PlainSigmoidCrossEntropy(double x, double y) {
  return PlainProduct(y, PlainSoftplus(-x)) + PlainProduct(1 - y, PlainSoftplus(x));
}

// What an infinite logit costs is no certain number, but where it costs nothing.
inline Total PlainLogitLoss(double x, double loss, double magnitude) {
  return {loss, std::isinf(x) ? std::fabs(loss) : magnitude};
}

// `label_magnitude`: what the label was computed from.
inline PlainTerm PlainCrossEntropyTerm(double x, double y, double label_magnitude) {
  const double p = PlainSigmoid(x), magnitude = PlainSoftplus(x) + std::fabs(x) * label_magnitude;
  return {PlainLogitLoss(x, PlainSigmoidCrossEntropy(x, y), magnitude), {p - y, p + label_magnitude}};
}

inline PlainTerm PlainFocalTerm(double x, double y) {
  const double p = PlainSigmoid(x), alpha = 0.25 * y + 0.75 * (1 - y);
  const double alpha_magnitude = 0.25 * y + 0.75 * std::fabs(1 - y);
  const double not_true = y * PlainSigmoid(-x) + (1 - y) * p;
  const double cross_entropy = PlainSigmoidCrossEntropy(x, y);
  const double slope = (1 - 2 * y) * p * PlainSigmoid(-x);
  const double not_true_magnitude = y * PlainSigmoid(-x) + std::fabs(1 - y) * p;
  const double magnitude = 3 * alpha_magnitude * (not_true_magnitude + kPlainRounding);
  const double rounded = RoundedMagnitude(PlainSoftplus(x) + std::fabs(x) * y);
  return {PlainLogitLoss(x, PlainProduct(alpha * not_true * not_true, cross_entropy), magnitude * rounded),
          {alpha * (2 * PlainProduct(not_true * slope, cross_entropy) + not_true * not_true * (p - y)),
           magnitude * (2 * rounded + 1)}};
}

// ---- Labels ----

struct PlainCell {
  Box<Wide> box;
  double objectness;
  std::vector<double> classes;  // before smoothing
  bool valid, has_object;
};

template <class L>
PlainCell ReadPlainCell(const YoloV3LossOptions& options, int64_t num_classes, const L* label) {
  PlainCell cell;
  cell.classes.assign(num_classes, 0);
  cell.objectness = label[4];
  cell.box = {label[0], label[1], label[2], label[3]};
  const bool corner = options.cell.corner_targets;
  if (corner) {
    cell.box = {(Wide(label[0]) + label[2]) / 2, (Wide(label[1]) + label[3]) / 2, Wide(label[2]) - label[0],
                Wide(label[3]) - label[1]};
  }
  cell.valid = std::all_of(label, label + 5, [](L x) { return std::isfinite(x); });
  cell.valid = cell.valid && cell.objectness >= 0 && cell.objectness <= 1e6;
  cell.has_object = cell.valid && cell.objectness != 0;
  if (!cell.has_object) return cell;
  cell.valid = cell.box.w > 0 && cell.box.h > 0 &&
               std::all_of(label, label + 4, [](L x) { return std::fabs(static_cast<double>(x)) <= 1e6; });
  if (corner) {
    const double index = label[5];
    if (!(index >= 0 && index < static_cast<double>(num_classes))) cell.valid = false;
    if (cell.valid) cell.classes[static_cast<size_t>(index)] = 1;
  } else {
    for (int64_t c = 0; c < num_classes; ++c) {
      const double score = cell.classes[c] = label[5 + c];
      if (!(score >= 0 && score <= 1e6)) cell.valid = false;
    }
  }
  cell.has_object = cell.valid;
  return cell;
}

// ---- Boxes ----

struct PlainPlace {
  double column, row, width, height;
  double anchor[2];  // relative to the input
  double grid_sense;
};

inline PlainPlace PlainPlaceOf(const YoloV3LossOptions& options, const YoloV3Shape& shape, size_t scale,
                               int64_t row_of_image) {
  const int64_t height = shape.scales[scale].height, width = shape.scales[scale].width;
  const int64_t anchor = row_of_image % shape.anchors, cell = row_of_image / shape.anchors;
  PlainPlace place = {static_cast<double>(cell % width),
                      static_cast<double>(cell / width),
                      static_cast<double>(width),
                      static_cast<double>(height),
                      {},
                      options.grid_sense.empty() ? 1.0 : options.grid_sense[scale]};
  for (int axis = 0; axis < 2; ++axis) {
    place.anchor[axis] = options.anchors[(scale * shape.anchors + anchor) * 2 + axis];
    const double stride = static_cast<double>(options.strides[scale]);
    if (stride > 0) place.anchor[axis] /= stride * (axis == 0 ? place.width : place.height);
  }
  return place;
}

inline double PlainClamped(double x) { return x < -20 ? -20 : x > 20 ? 20 : x; }

inline Box<Wide> PlainDecode(const PlainPlace& place, const double* logits) {
  const double shift = (place.grid_sense - 1) / 2;
  return {(PlainSigmoid(logits[0]) * place.grid_sense - shift + place.column) / place.width,
          (PlainSigmoid(logits[1]) * place.grid_sense - shift + place.row) / place.height,
          std::exp(PlainClamped(logits[2])) * place.anchor[0], std::exp(PlainClamped(logits[3])) * place.anchor[1]};
}

struct PlainIgnore {
  bool ignored = false;
  bool is_certain = true;
};

// `tolerance`: how far the boxes' edges may be off.
inline PlainIgnore PlainIgnored(const IgnoreOptions& options, const Box<Wide>& box,
                                const std::vector<Box<Wide>>& truths, double tolerance) {
  PlainIgnore result;
  if (std::isnan(box.x) || std::isnan(box.y) || std::isnan(box.w) || std::isnan(box.h)) return result;
  const double thresh = options.thresh;
  for (const Box<Wide>& truth : truths) {
    const double w =
        std::min(box.x + box.w / 2, truth.x + truth.w / 2) - std::max(box.x - box.w / 2, truth.x - truth.w / 2);
    const double h =
        std::min(box.y + box.h / 2, truth.y + truth.h / 2) - std::max(box.y - box.h / 2, truth.y - truth.h / 2);
    const double shared = std::max(0.0, w) * std::max(0.0, h);
    const double iou = shared / static_cast<double>(box.w * box.h + truth.w * truth.h - shared);
    result.ignored |= options.above ? iou > thresh : iou >= thresh;
    if (thresh == 0) {
      if (options.above && std::fabs(std::min(w, h)) < tolerance) result.is_certain = false;
    } else if (w > 0 && h > 0 && std::fabs(iou - thresh) <= iou * tolerance / std::min({w, h, 1.0})) {
      result.is_certain = false;
    }
  }
  return result;
}

struct PlainBoxTerm {
  Total xy, wh, overlap;
  Total gradient[4];
};

inline PlainBoxTerm PlainCoordinateTerm(const YoloCellOptions& options, const PlainPlace& place, const PlainCell& cell,
                                        const double* logits) {
  PlainBoxTerm term;
  const bool classic = options.box_loss == BoxLoss::kClassic;
  const double centers[2] = {static_cast<double>(cell.box.x) * place.width,
                             static_cast<double>(cell.box.y) * place.height};
  const double cells[2] = {place.column, place.row};
  const double lengths[2] = {static_cast<double>(cell.box.w), static_cast<double>(cell.box.h)};
  for (int axis = 0; axis < 2; ++axis) {
    const double x = logits[axis], y = centers[axis] - cells[axis];
    const double magnitude = std::fabs(centers[axis]) + cells[axis] + 1;
    if (classic) {
      const PlainTerm cross_entropy = PlainCrossEntropyTerm(x, y, magnitude);
      term.xy += cross_entropy.loss;
      term.gradient[axis] = cross_entropy.gradient;
    } else {
      const double p = PlainSigmoid(x), slope = p * PlainSigmoid(-x);
      term.xy += {(p - y) * (p - y), 2 * std::fabs(p - y) * magnitude + kPlainRounding};
      term.gradient[axis] = {2 * (p - y) * slope, 2 * magnitude * slope + 2 * std::fabs(p - y) * p};
    }
    const double t = logits[2 + axis], target = std::log(lengths[axis] / place.anchor[axis]), error = t - target;
    const double error_magnitude = std::fabs(t) + std::fabs(target) + 2, factor = classic ? 0.5 : 1;
    term.wh += {factor * error * error, factor * (error * error + 2 * std::fabs(error) * error_magnitude)};
    term.gradient[2 + axis] = {2 * factor * error, 2 * factor * error_magnitude};
  }
  return term;
}

// Rounding moves the predicted box about as much as `tolerance`; what that does is the magnitude.
inline PlainBoxTerm PlainOverlapTerm(Overlap overlap, const PlainPlace& place, const PlainCell& cell,
                                     const double* logits, double tolerance) {
  PlainBoxTerm term;
  const Box<Wide> box = PlainDecode(place, logits);
  const PlainOverlapSlopes exact = PlainOverlapSlopesOf(overlap, cell.box, box);
  const double slopes[4] = {PlainSigmoid(logits[0]) * PlainSigmoid(-logits[0]) * place.grid_sense / place.width,
                            PlainSigmoid(logits[1]) * PlainSigmoid(-logits[1]) * place.grid_sense / place.height,
                            static_cast<double>(box.w), static_cast<double>(box.h)};
  term.overlap = {static_cast<double>(1 - exact.value), 2};
  const Wide smallest = std::min({box.w, box.h, cell.box.w, cell.box.h});
  for (int i = 0; i < 4; ++i) {
    const Wide magnitude = std::fabs(exact.slopes[i]) + 20 / smallest + 10 * exact.error / tolerance;
    term.gradient[i] = {static_cast<double>(-exact.slopes[i] * slopes[i]), static_cast<double>(magnitude * slopes[i])};
  }
  for (int moved = 0; moved < 4; ++moved) {
    Box<Wide> other = box;
    Wide* const values[4] = {&other.x, &other.y, &other.w, &other.h};
    *values[moved] += tolerance * (1 + std::max(box.w, box.h));
    const PlainOverlapSlopes near = PlainOverlapSlopesOf(overlap, cell.box, other);
    term.overlap.magnitude += static_cast<double>(std::fabs(near.value - exact.value) / tolerance);
    for (int i = 0; i < 4; ++i) {
      term.gradient[i].magnitude +=
          static_cast<double>(std::fabs(near.slopes[i] - exact.slopes[i]) / tolerance) * slopes[i];
    }
  }
  return term;
}

// ---- Classes ----

struct PlainClassTerm {
  Total loss;
  std::vector<Total> gradient;
};

inline PlainClassTerm PlainSigmoidClasses(const std::vector<double>& labels, const std::vector<double>& weights,
                                          const double* logits, bool focal) {
  PlainClassTerm term;
  for (size_t c = 0; c < labels.size(); ++c) {
    const PlainTerm one = focal ? PlainFocalTerm(logits[c], labels[c])
                                : PlainCrossEntropyTerm(logits[c], labels[c], std::fabs(labels[c]));
    term.loss += weights[c] * one.loss;
    term.gradient.push_back(weights[c] * one.gradient);
  }
  return term;
}

inline PlainClassTerm PlainSoftmaxClasses(const std::vector<double>& labels, const std::vector<double>& weights,
                                          const double* logits, bool focal) {
  const size_t count = labels.size();
  double label_sum = 0, weighted = 0;
  for (size_t c = 0; c < count; ++c) {
    label_sum += labels[c];
    weighted += weights[c] * labels[c];
  }
  const std::vector<Total> log_probabilities = PlainLogProbabilities({logits, logits + count});
  PlainClassTerm term;
  term.gradient.resize(count);
  Total focal_slopes;
  std::vector<Total> own(count);
  for (size_t c = 0; c < count; ++c) {
    const double log_p = log_probabilities[c].value, p = std::exp(log_p), y = labels[c];
    const double rounded = 1 + log_probabilities[c].magnitude;
    if (!focal) {
      const double mean_weight = label_sum > 0 ? weighted / label_sum : 1;
      term.loss += mean_weight * (y * Total{-log_p, rounded});
      term.gradient[c] = mean_weight * Total{p - y, p * rounded + y};
      continue;
    }
    const double missed = 1 - p, magnitude = weights[c] * y * (missed + kPlainRounding) * rounded;
    if (p < 1e-15) {
      term.loss += {weights[c] * 0.25 * y * missed * missed * -std::log(1e-15), 30 * magnitude};
    } else {
      term.loss += {weights[c] * 0.25 * y * missed * missed * -log_p, 2 * magnitude};
      own[c] = {weights[c] * 0.25 * y * (2 * missed * p * log_p - missed * missed), 2 * magnitude};
    }
    focal_slopes += own[c];
  }
  for (size_t c = 0; c < count && focal; ++c) {
    const double p = std::exp(log_probabilities[c].value), rounded = 1 + log_probabilities[c].magnitude;
    term.gradient[c] = own[c];
    term.gradient[c] +=
        {-p * focal_slopes.value, p * (focal_slopes.magnitude + std::fabs(focal_slopes.value) * rounded)};
  }
  return term;
}

inline PlainClassTerm PlainNormalizedSigmoidClasses(const std::vector<double>& labels,
                                                    const std::vector<double>& weights, const double* logits) {
  const size_t own = std::max_element(labels.begin(), labels.end()) - labels.begin();
  if (labels[own] == 0) return {{}, std::vector<Total>(labels.size())};
  std::vector<double> clipped;
  for (size_t c = 0; c < labels.size(); ++c) clipped.push_back(std::clamp(PlainSigmoid(logits[c]), 1e-7, 1 - 1e-7));
  const double sum = std::accumulate(clipped.begin(), clipped.end(), 0.0);
  PlainClassTerm term;
  term.loss = weights[own] * Total{std::log(sum) - std::log(clipped[own]),
                                   std::fabs(std::log(sum)) + std::fabs(std::log(clipped[own])) + 1};
  for (size_t c = 0; c < labels.size(); ++c) {
    const double p = PlainSigmoid(logits[c]);
    const double slope = p == clipped[c] ? PlainSigmoid(-logits[c]) : 0;
    const double share = p / sum - (c == own ? 1 : 0);
    term.gradient.push_back(weights[own] * Total{share * slope, (p / sum + (c == own ? 1 : 0)) * (slope + 0.1)});
  }
  return term;
}

inline PlainClassTerm PlainClasses(const YoloV3LossOptions& options, const PlainCell& cell, const double* logits) {
  const size_t count = cell.classes.size();
  std::vector<double> smoothed, weights(options.class_weights.begin(), options.class_weights.end());
  if (weights.empty()) weights.assign(count, 1);
  const double smoothing = options.cell.label_smoothing;
  const bool has_object = cell.has_object;
  for (double y : cell.classes) smoothed.push_back((has_object ? y : 0) * (1 - smoothing) + smoothing / 2);
  switch (options.cell.class_loss) {
    case ClassLoss::kSigmoid:
      return PlainSigmoidClasses(smoothed, weights, logits, options.cell.class_focal);
    case ClassLoss::kSoftmax:
      return PlainSoftmaxClasses(smoothed, weights, logits, options.cell.class_focal);
    case ClassLoss::kNormalizedSigmoid:
      return PlainNormalizedSigmoidClasses(cell.classes, weights, logits);
    case ClassLoss::kNone:
      break;
  }
  return {{}, std::vector<Total>(count)};
}

// ---- Everything ----

// Adds one row's terms to its image's and sets its gradients.
class PlainYoloRow {
 public:
  PlainYoloRow(const YoloV3LossOptions& options, const PlainCell& cell, double tolerance)
      : options_(options), cell_(cell), tolerance_(tolerance) {}

  void AddObjectness(const double* logits, bool ignored, int64_t image, PlainYoloV3Loss* plain, Total* gradient) const {
    const YoloCellOptions& options = options_.cell;
    const double obj = cell_.objectness, smoothing = options.label_smoothing;
    const double smoothed = obj * (1 - smoothing) + smoothing / 2;
    const double x = logits[4];
    PlainTerm object = PlainCrossEntropyTerm(x, smoothed, smoothed), background = PlainCrossEntropyTerm(x, obj, obj);
    double counts = ignored ? 0 : 1;
    if (options.objectness_focal) {
      object = background = PlainFocalTerm(x, smoothed);
      counts = 1;
    }
    if (obj != 0) Add(options.object_weight * obj, object, &plain->object[image], gradient);
    if (counts != 0 && obj != 1) {
      Add(options.no_object_weight * (1 - obj), background, &plain->no_object[image], gradient);
    }
  }

  void AddBox(const PlainPlace& place, const double* logits, int64_t image, PlainYoloV3Loss* plain,
              double loss_gradient, Total* gradient) const {
    const YoloCellOptions& options = options_.cell;
    const PlainBoxTerm term = options.box_loss == BoxLoss::kOverlap
                                  ? PlainOverlapTerm(options.overlap, place, cell_, logits, tolerance_)
                                  : PlainCoordinateTerm(options, place, cell_, logits);
    const double weight = cell_.objectness * static_cast<double>(2 - cell_.box.w * cell_.box.h) * options.box_weight;
    plain->xy[image] += weight * term.xy;
    plain->wh[image] += weight * term.wh;
    plain->box[image] += weight * term.xy;
    plain->box[image] += weight * term.wh;
    plain->box[image] += weight * term.overlap;
    for (int i = 0; i < 4; ++i) gradient[i] = loss_gradient * weight * term.gradient[i];
  }

  void AddClasses(const double* logits, int64_t image, PlainYoloV3Loss* plain, double loss_gradient,
                  Total* gradient) const {
    const PlainClassTerm term = PlainClasses(options_, cell_, logits + 5);
    const double weight = options_.cell.class_weight * (options_.cell.class_focal ? 1 : cell_.objectness);
    plain->class_term[image] += weight * term.loss;
    for (size_t c = 0; c < term.gradient.size(); ++c) gradient[5 + c] = loss_gradient * weight * term.gradient[c];
  }

 private:
  static void Add(double weight, const PlainTerm& term, Total* loss, Total* gradient) {
    *loss += weight * term.loss;
    *gradient += weight * term.gradient;
  }

  const YoloV3LossOptions& options_;
  const PlainCell& cell_;
  const double tolerance_;
};

// A sum of infinities of both signs is an infinity, unless a logit is NaN.
inline void SetOverflowed(bool has_nan, Total* total) {
  if (std::isnan(total->value) && !has_nan) total->value = HUGE_VAL;
}

template <class T>
PlainYoloV3Loss ComputePlainYoloV3Loss(const YoloV3LossOptions& options, const YoloV3Shape& shape,
                                       const std::vector<std::vector<Compute<T>>>& y_true,
                                       const std::vector<std::vector<T>>& y_pred,
                                       const std::vector<Compute<T>>& loss_gradient) {
  const int64_t columns = 5 + shape.classes, label_columns = 5 + (options.cell.corner_targets ? 1 : shape.classes);
  const size_t scales = shape.scales.size();
  PlainYoloV3Loss plain;
  for (std::vector<Total>* totals :
       {&plain.loss, &plain.box, &plain.xy, &plain.wh, &plain.object, &plain.no_object, &plain.class_term}) {
    totals->resize(shape.images);
  }
  plain.num_invalid.resize(shape.images);
  // True boxes per image and scale.
  std::vector<std::vector<std::vector<Box<Wide>>>> boxes(shape.images, std::vector<std::vector<Box<Wide>>>(scales));
  const auto read = [&](size_t scale, int64_t flat_row) {
    return ReadPlainCell(options, shape.classes, y_true[scale].data() + flat_row * label_columns);
  };
  for (size_t scale = 0; scale < scales; ++scale) {
    for (int64_t i = 0; i < shape.images * shape.Rows(scale); ++i) {
      const PlainCell cell = read(scale, i);
      if (cell.has_object) boxes[i / shape.Rows(scale)][scale].push_back(cell.box);
    }
  }
  std::vector<uint8_t> is_nan(shape.images), class_is_nan(shape.images);
  for (size_t scale = 0; scale < scales; ++scale) {
    const int64_t rows = shape.Rows(scale);
    plain.selection.emplace_back(shape.images * rows);
    plain.objectness_gradient.emplace_back(shape.images * rows);
    plain.gradient.emplace_back(shape.images * rows * columns);
    for (int64_t i = 0; i < shape.images * rows; ++i) {
      const int64_t image = i / rows;
      const PlainCell cell = read(scale, i);
      uint8_t& selection = plain.selection[scale][i];
      if (!cell.valid) {
        selection = kYoloInvalid;
        ++plain.num_invalid[image];
        continue;
      }
      std::vector<double> logits;
      for (int64_t k = 0; k < columns; ++k) logits.push_back(ToDouble(y_pred[scale][i * columns + k]));
      is_nan[image] |= std::any_of(logits.begin(), logits.begin() + 5, [](double x) { return std::isnan(x); });
      const PlainPlace place = PlainPlaceOf(options, shape, scale, i % rows);
      PlainIgnore ignore;
      const Box<Wide> box = PlainDecode(place, logits.data());
      for (size_t other = 0; other < scales && !options.cell.objectness_focal; ++other) {
        if (other != scale && options.ignore_scope == IgnoreScope::kScale) continue;
        const PlainIgnore found = PlainIgnored(options.ignore, box, boxes[image][other], Tolerance<T>() / 4);
        ignore.ignored |= found.ignored;
        ignore.is_certain &= found.is_certain;
      }
      plain.is_separated &= ignore.is_certain;
      selection = (cell.has_object ? kYoloObject : 0) | (ignore.ignored ? kYoloIgnored : 0);

      const PlainYoloRow row(options, cell, Tolerance<T>());
      Total* const gradient = plain.gradient[scale].data() + i * columns;
      Total& objectness = plain.objectness_gradient[scale][i];
      row.AddObjectness(logits.data(), ignore.ignored, image, &plain, &objectness);
      const double scaled_by = loss_gradient[image];
      gradient[4] = scaled_by * objectness;
      if (cell.has_object) row.AddBox(place, logits.data(), image, &plain, scaled_by, gradient);
      if (cell.has_object || options.cell.class_focal) {
        class_is_nan[image] |= std::any_of(logits.begin() + 5, logits.end(), [](double x) { return std::isnan(x); });
        row.AddClasses(logits.data(), image, &plain, scaled_by, gradient);
      }
    }
  }
  for (int64_t image = 0; image < shape.images; ++image) {
    for (auto* part : {&plain.box, &plain.xy, &plain.wh, &plain.object, &plain.no_object}) {
      SetOverflowed(is_nan[image], &(*part)[image]);
    }
    if (is_nan[image]) plain.no_object[image].value = std::numeric_limits<double>::quiet_NaN();
    SetOverflowed(class_is_nan[image], &plain.class_term[image]);
    for (const auto* part : {&plain.box, &plain.object, &plain.no_object, &plain.class_term}) {
      plain.loss[image] += (*part)[image];
    }
    SetOverflowed(is_nan[image] || class_is_nan[image], &plain.loss[image]);
  }
  return plain;
}

}  // namespace detloss

#endif  // DETLOSS_TESTS_CC_PLAIN_YOLOV3_LOSS_H_
