// How well a predicted box overlaps the true one, as the overlap losses measure it, with the gradient with respect to
// the predicted box. After david8862/keras-YOLOv3-model-set: 1e-7 in the denominators, and what is said below. Shared
// by host and device.
#ifndef DETLOSS_CC_BOX_OVERLAP_H_
#define DETLOSS_CC_BOX_OVERLAP_H_

#include <math.h>

#include "cc/box.h"
#include "cc/dual.h"
#include "cc/platform.h"

namespace detloss {

enum class Overlap { kIou, kGiou, kDiou, kCiou, kSiou };

// Predicted box and what most overlaps have in common.
template <class L>
struct OverlapTerms {
  Dual<L> x, y, w, h;
  Dual<L> area_union;
  Dual<L> enclosing_w, enclosing_h;
  Dual<L> iou;
};

template <class L>
DETLOSS_SHARED L OverlapEpsilon() {
  return static_cast<L>(1e-7);
}

// Length that a predicted interval shares with [first, last], and length of the interval around both.
template <class L>
struct Interval {
  Dual<L> shared, enclosing;
};

template <class L>
DETLOSS_SHARED Interval<L> Compare(const Dual<L>& center, const Dual<L>& size, L true_center, L true_size) {
  const L first = true_center - true_size / 2, last = true_center + true_size / 2;
  const Dual<L> begin = center + size * L(-0.5), end = center + size * L(0.5);
  const Dual<L> shared = Smaller(end, last) - Larger(begin, first);
  return {shared.value < 0 ? Constant(L(0)) : shared, Larger(end, last) - Smaller(begin, first)};
}

template <class L>
DETLOSS_SHARED OverlapTerms<L> CompareBoxes(const Box<L>& truth, const Box<L>& predicted) {
  OverlapTerms<L> terms;
  terms.x = Variable(predicted.x, 0);
  terms.y = Variable(predicted.y, 1);
  terms.w = Variable(predicted.w, 2);
  terms.h = Variable(predicted.h, 3);
  const Interval<L> across = Compare(terms.x, terms.w, truth.x, truth.w);
  const Interval<L> down = Compare(terms.y, terms.h, truth.y, truth.h);
  const Dual<L> shared = across.shared * down.shared;
  terms.area_union = terms.w * terms.h + truth.w * truth.h - shared;
  terms.enclosing_w = across.enclosing;
  terms.enclosing_h = down.enclosing;
  terms.iou = shared / (terms.area_union + OverlapEpsilon<L>());
  return terms;
}

// Rezatofighi et al., "Generalized Intersection over Union" (arXiv:1902.09630).
template <class L>
DETLOSS_SHARED Dual<L> Giou(const OverlapTerms<L>& terms) {
  const Dual<L> enclosing = terms.enclosing_w * terms.enclosing_h;
  return terms.iou - (enclosing - terms.area_union) / (enclosing + OverlapEpsilon<L>());
}

// Zheng et al., "Distance-IoU Loss" (arXiv:1911.08287).
template <class L>
DETLOSS_SHARED Dual<L> Diou(const OverlapTerms<L>& terms, const Box<L>& truth) {
  const Dual<L> distance = Square(terms.x + -truth.x) + Square(terms.y + -truth.y);
  const Dual<L> diagonal = Square(terms.enclosing_w) + Square(terms.enclosing_h);
  return terms.iou - distance / (diagonal + OverlapEpsilon<L>());
}

// The same paper. The factor alpha has no gradient.
template <class L>
DETLOSS_SHARED Dual<L> Ciou(const OverlapTerms<L>& terms, const Box<L>& truth) {
  const L w = terms.w.value, h = terms.h.value, squares = w * w + h * h;
  const L slope_w = squares > 0 ? h / squares : L(0), slope_h = squares > 0 ? -w / squares : L(0);
  const Dual<L> angle = Apply(terms.w, terms.h, static_cast<L>(atan2(w, h)), slope_w, slope_h);
  constexpr L kFourOverPiSquared = static_cast<L>(0.405284734569351085775517852838911);
  const Dual<L> v = Square(angle + -static_cast<L>(atan2(truth.w, truth.h))) * kFourOverPiSquared;
  const L rest = 1 + OverlapEpsilon<L>() - terms.iou.value + v.value;  // rounding may take the overlap above 1
  const L alpha = v.value / (rest < OverlapEpsilon<L>() ? OverlapEpsilon<L>() : rest);
  return Diou(terms, truth) + v * -alpha;
}

// Of a distance and what encloses both boxes: both are 0 where rounding leaves a point of either box.
template <class L>
DETLOSS_SHARED Dual<L> ShareOf(const Dual<L>& distance, const Dual<L>& enclosing) {
  return enclosing.value == 0 ? Constant(L(0)) : distance / enclosing;
}

// |a - b| / max(a, b), squashed: 0 for equal lengths.
template <class L>
DETLOSS_SHARED Dual<L> ShapeCost(const Dual<L>& predicted, L truth) {
  const Dual<L> difference = Magnitude(predicted + -truth) / Larger(predicted, truth);
  const Dual<L> cost = Exponential(difference * L(-1)) * L(-1) + L(1);
  return Square(Square(cost));
}

// Gevorgyan, "SIoU Loss" (arXiv:2205.12740), as meituan/YOLOv6 wrote it. Where the centres coincide, the direction
// between them has no gradient.
template <class L>
DETLOSS_SHARED Dual<L> Siou(const OverlapTerms<L>& terms, const Box<L>& truth) {
  const Dual<L> across = terms.x + -truth.x, down = terms.y + -truth.y;
  const Dual<L> distance = SquareRoot(Square(across) + Square(down)) + OverlapEpsilon<L>();
  const Dual<L> sine_across = Magnitude(across) / distance, sine_down = Magnitude(down) / distance;
  constexpr L kSine45 = static_cast<L>(0.707106781186547524400844362104849);
  const Dual<L> sine = sine_across.value > kSine45 ? sine_down : sine_across;
  // cos(2 asin(s) - pi / 2)
  const Dual<L> angle = sine * SquareRoot(Square(sine) * L(-1) + L(1)) * L(2);
  const Dual<L> gamma = angle + L(-2);
  const Dual<L> distance_cost = (Exponential(gamma * Square(ShareOf(across, terms.enclosing_w))) +
                                 Exponential(gamma * Square(ShareOf(down, terms.enclosing_h)))) *
                                    L(-1) +
                                L(2);
  return terms.iou + (distance_cost + ShapeCost(terms.w, truth.w) + ShapeCost(terms.h, truth.h)) * L(-0.5);
}

template <class L>
DETLOSS_SHARED Dual<L> OverlapOf(Overlap overlap, const Box<L>& truth, const Box<L>& predicted) {
  const OverlapTerms<L> terms = CompareBoxes(truth, predicted);
  switch (overlap) {
    case Overlap::kIou:
      return terms.iou;
    case Overlap::kGiou:
      return Giou(terms);
    case Overlap::kDiou:
      return Diou(terms, truth);
    case Overlap::kCiou:
      return Ciou(terms, truth);
    case Overlap::kSiou:
      return Siou(terms, truth);
  }
  return terms.iou;
}

}  // namespace detloss

#endif  // DETLOSS_CC_BOX_OVERLAP_H_
