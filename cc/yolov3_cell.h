// One row of a YOLOv3 head, which is one anchor of one cell: its label, its terms and their gradient. Shared by host
// and device, but for the classes.
#ifndef DETLOSS_CC_YOLOV3_CELL_H_
#define DETLOSS_CC_YOLOV3_CELL_H_

#include <cstdint>

#include "cc/box.h"
#include "cc/box_overlap.h"
#include "cc/dtypes.h"
#include "cc/label_range.h"
#include "cc/math.h"
#include "cc/platform.h"
#include "cc/sigmoid_loss.h"

namespace detloss {

// Columns of a row of logits, and of a label before its classes.
enum YoloColumn { kYoloX, kYoloY, kYoloW, kYoloH, kYoloObjectness, kYoloClasses };

// Bits of a row in the selection.
enum YoloSelection : uint8_t {
  kYoloObject = 1,
  kYoloIgnored = 2,
  kYoloInvalid = 4,
};

enum class BoxLoss { kClassic, kSquared, kOverlap };
enum class ClassLoss { kSigmoid, kSoftmax, kNormalizedSigmoid, kNone };

// What a row's terms depend on, wherever the row is.
struct YoloCellOptions {
  BoxLoss box_loss = BoxLoss::kClassic;
  Overlap overlap = Overlap::kIou;
  ClassLoss class_loss = ClassLoss::kSigmoid;
  bool class_focal = false;
  bool objectness_focal = false;
  bool corner_targets = false;  // x1, y1, x2, y2, objectness, class index
  float label_smoothing = 0;
  float box_weight = 1;
  float object_weight = 1;
  float no_object_weight = 1;
  float class_weight = 1;
  const float* class_weights = nullptr;  // per class; null: 1
};

// Whether classes are compared at all; if so, those of rows with an object or, focal, those of all valid rows.
DETLOSS_SHARED bool HasClassTerm(const YoloCellOptions& options) {
  return options.class_loss != ClassLoss::kNone && options.class_weight != 0;
}
DETLOSS_SHARED bool HasClassTermInAllRows(const YoloCellOptions& options) {
  return options.class_focal && HasClassTerm(options);
}

DETLOSS_SHARED int64_t LabelColumns(const YoloCellOptions& options, int64_t classes) {
  return kYoloClasses + (options.corner_targets ? 1 : classes);
}

// Where a row is, and what its logits decode to.
template <class L>
struct YoloPlace {
  L x, y;                // of the cell
  L width, height;       // of the grid
  L anchor_w, anchor_h;  // relative to the input
  L grid_sense;
};

template <class L>
struct YoloTarget {
  Box<L> box;
  L objectness;
  bool valid;
};

// The box and objectness columns; `valid` is whether they are finite, with an objectness that can weight a term.
template <class L>
DETLOSS_SHARED YoloTarget<L> ReadTarget(const YoloCellOptions& options, const L* row) {
  const L a = row[0], b = row[1], c = row[2], d = row[3];
  YoloTarget<L> target;
  target.box = options.corner_targets ? Box<L>{(a + c) / 2, (b + d) / 2, c - a, d - b} : Box<L>{a, b, c, d};
  target.objectness = row[kYoloObjectness];
  target.valid = IsLabelWeight(target.objectness) && IsFinite(a) && IsFinite(b) && IsFinite(c) && IsFinite(d);
  return target;
}

// Of an object: any centre, since the cell that holds the label says where it counts, and any area above 0.
template <class L>
DETLOSS_SHARED bool IsValidBox(const Box<L>& box) {
  return box.w > 0 && box.h > 0;
}

template <class L>
DETLOSS_SHARED bool AreValidCoordinates(const L* label) {
  return IsLabel(label[0]) && IsLabel(label[1]) && IsLabel(label[2]) && IsLabel(label[3]);
}

template <class L>
DETLOSS_SHARED bool AreValidClasses(const YoloCellOptions& options, const L* classes, int64_t num_classes) {
  if (options.corner_targets) return classes[0] >= 0 && classes[0] < static_cast<L>(num_classes);
  bool valid = true;
  for (int64_t c = 0; c < num_classes; ++c) valid &= IsLabelWeight(classes[c]);
  return valid;
}

// Whether a label is that of a row without an object, whatever the rest; most are.
template <class L>
DETLOSS_SHARED bool IsBackground(const L* label) {
  return label[kYoloObjectness] == 0 && IsFinite((label[0] + label[1]) + (label[2] + label[3]));
}

template <class L>
DETLOSS_SHARED uint8_t SelectRow(const YoloCellOptions& options, int64_t classes, const L* label, Box<L>* box) {
  const YoloTarget<L> target = ReadTarget(options, label);
  if (!target.valid) return kYoloInvalid;
  if (target.objectness == 0) return 0;
  *box = target.box;
  const bool valid =
      AreValidCoordinates(label) && IsValidBox(target.box) && AreValidClasses(options, label + kYoloClasses, classes);
  return valid ? kYoloObject : kYoloInvalid;
}

// ---- Boxes ----

template <class V, class L>
DETLOSS_SHARED V DecodeCenter(V logit, V cell, L cells, L grid_sense) {
  const V sigmoid = SigmoidOf(logit).probability;
  return (sigmoid * grid_sense - (grid_sense - 1) / 2 + cell) / cells;
}

// Clamped, so that no predicted length overflows or vanishes; NaN passes.
template <class V>
DETLOSS_SHARED V DecodeLength(V logit, V anchor) {
  const V low = logit < -20 ? V{} - 20 : logit;
  return Exp(low > 20 ? V{} + 20 : low) * anchor;
}

// The box term of a cell with an object: its parts before weights, and its gradient with respect to the four logits.
template <class L>
struct BoxTerm {
  L xy, wh;  // zero for overlaps
  L overlap;
  L gradient[4];
};

template <class L>
DETLOSS_SHARED void AddCenterTerm(BoxLoss box_loss, L logit, L target, int axis, BoxTerm<L>* term) {
  if (box_loss == BoxLoss::kClassic) {
    const LossAndGradient<L> loss = SigmoidLoss(logit, target);
    term->xy += loss.loss;
    term->gradient[axis] = loss.gradient;
    return;
  }
  const L sigmoid = SigmoidOf(logit).probability, difference = sigmoid - target;
  term->xy += difference * difference;
  term->gradient[axis] = 2 * difference * sigmoid * (1 - sigmoid);
}

// Of a ratio that may leave the normal numbers.
DETLOSS_SHARED float LogOfRatio(float ratio) { return Log(ratio < FLT_MIN ? FLT_MIN : ToFinite(ratio)); }
DETLOSS_SHARED double LogOfRatio(double ratio) { return Log(ratio < DBL_MIN ? DBL_MIN : ToFinite(ratio)); }

template <class L>
DETLOSS_SHARED void AddLengthTerm(BoxLoss box_loss, L logit, L length, L anchor, int axis, BoxTerm<L>* term) {
  const L difference = logit - LogOfRatio(length / anchor);
  const L half = box_loss == BoxLoss::kClassic ? L(0.5) : L(1);
  term->wh += half * difference * difference;
  term->gradient[2 + axis] = 2 * half * difference;
}

template <class L>
DETLOSS_SHARED void OverlapTerm(const YoloPlace<L>& place, Overlap overlap, const Box<L>& truth, const L* logits,
                                BoxTerm<L>* term) {
  const Box<L> predicted = {DecodeCenter(logits[kYoloX], place.x, place.width, place.grid_sense),
                            DecodeCenter(logits[kYoloY], place.y, place.height, place.grid_sense),
                            DecodeLength(logits[kYoloW], place.anchor_w), DecodeLength(logits[kYoloH], place.anchor_h)};
  const Dual<L> reached = OverlapOf(overlap, truth, predicted);
  const L sigmoid_x = SigmoidOf(logits[kYoloX]).probability, sigmoid_y = SigmoidOf(logits[kYoloY]).probability;
  // Lengths change by themselves, also where the logit is clamped.
  const L slopes[4] = {sigmoid_x * (1 - sigmoid_x) * place.grid_sense / place.width,
                       sigmoid_y * (1 - sigmoid_y) * place.grid_sense / place.height, predicted.w, predicted.h};
  term->overlap = 1 - reached.value;
  for (int i = 0; i < 4; ++i) term->gradient[i] = -reached.gradient[i] * slopes[i];
}

template <class L>
DETLOSS_SHARED BoxTerm<L> BoxTermOf(const YoloCellOptions& options, const YoloPlace<L>& place, const Box<L>& truth,
                                    const L* logits) {
  BoxTerm<L> term = {0, 0, 0, {0, 0, 0, 0}};
  if (options.box_loss == BoxLoss::kOverlap) {
    OverlapTerm(place, options.overlap, truth, logits, &term);
    return term;
  }
  AddCenterTerm(options.box_loss, logits[kYoloX], truth.x * place.width - place.x, 0, &term);
  AddCenterTerm(options.box_loss, logits[kYoloY], truth.y * place.height - place.y, 1, &term);
  AddLengthTerm(options.box_loss, logits[kYoloW], truth.w, place.anchor_w, 0, &term);
  AddLengthTerm(options.box_loss, logits[kYoloH], truth.h, place.anchor_h, 1, &term);
  return term;
}

// What a cell's box term counts: small boxes more.
template <class L>
DETLOSS_SHARED L BoxWeight(const YoloTarget<L>& target) {
  return target.objectness * (2 - target.box.w * target.box.h);
}

// ---- Objectness ----

template <class V>
struct ObjectnessTerm {
  V object, no_object;
  V gradient;
};

template <class V, class L>
DETLOSS_SHARED V Smooth(V label, L smoothing) {
  return label * (1 - smoothing) + smoothing / 2;
}

// With weights. `counts` is whether the cell, as far as it has no object, is not ignored.
template <class L>
DETLOSS_SHARED ObjectnessTerm<L> ObjectnessTermOf(const YoloCellOptions& options, L logit, L objectness, bool counts) {
  const L smoothed = Smooth(objectness, static_cast<L>(options.label_smoothing));
  const L object = options.object_weight * objectness, no_object = options.no_object_weight * (1 - objectness);
  if (options.objectness_focal) {
    const LossAndGradient<L> focal = SigmoidFocalLoss(logit, smoothed);
    return {Weighted(object, focal.loss), Weighted(no_object, focal.loss),
            Weighted(object + no_object, focal.gradient)};
  }
  const LossAndGradient<L> as_object = SigmoidLoss(logit, smoothed);
  if (!counts || objectness == 1) return {Weighted(object, as_object.loss), 0, Weighted(object, as_object.gradient)};
  const LossAndGradient<L> as_background = SigmoidLoss(logit, objectness);
  return {Weighted(object, as_object.loss), Weighted(no_object, as_background.loss),
          Weighted(object, as_object.gradient) + Weighted(no_object, as_background.gradient)};
}

// The same with an objectness of 0. V is L or a vector of them.
template <class L, class V>
DETLOSS_SHARED LossAndGradient<V> BackgroundTerm(const YoloCellOptions& options, V logit) {
  const L weight = options.no_object_weight;
  if (weight == 0) return {V{}, V{}};
  if (options.objectness_focal) {
    const LossAndGradient<V> term =
        SigmoidFocalLoss(logit, V{} + Smooth(L(0), static_cast<L>(options.label_smoothing)));
    return {weight * term.loss, weight * term.gradient};
  }
  const Sigmoid<V> sigmoid = SigmoidOf(logit);  // SigmoidLoss where the label is 0
  return {weight * sigmoid.softplus, weight * sigmoid.probability};
}

}  // namespace detloss

#endif  // DETLOSS_CC_YOLOV3_CELL_H_
