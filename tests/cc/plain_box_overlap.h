// The overlaps of two boxes as their papers write them: the oracle of cc/box_overlap.h.
#ifndef DETLOSS_TESTS_CC_PLAIN_BOX_OVERLAP_H_
#define DETLOSS_TESTS_CC_PLAIN_BOX_OVERLAP_H_

#include <algorithm>
#include <cmath>

#include "cc/box_overlap.h"

namespace detloss {

// Wider than what is tested, so that differences over small steps keep enough digits.
using Wide = long double;

constexpr Wide kPlainEpsilon = 1e-7L;
constexpr Wide kPlainPi = 3.14159265358979323846264338327950288L;

inline Wide PlainSquare(Wide x) { return x * x; }

struct PlainPair {
  Wide iou, area_union, enclosing_w, enclosing_h;
};

inline PlainPair ComparePlainBoxes(const Box<Wide>& truth, const Box<Wide>& box) {
  const Wide left = truth.x - truth.w / 2, right = truth.x + truth.w / 2;
  const Wide top = truth.y - truth.h / 2, bottom = truth.y + truth.h / 2;
  const Wide box_left = box.x - box.w / 2, box_right = box.x + box.w / 2;
  const Wide box_top = box.y - box.h / 2, box_bottom = box.y + box.h / 2;
  const Wide shared = std::max<Wide>(0, std::min(right, box_right) - std::max(left, box_left)) *
                      std::max<Wide>(0, std::min(bottom, box_bottom) - std::max(top, box_top));
  const Wide area_union = box.w * box.h + truth.w * truth.h - shared;
  return {shared / (area_union + kPlainEpsilon), area_union, std::max(right, box_right) - std::min(left, box_left),
          std::max(bottom, box_bottom) - std::min(top, box_top)};
}

inline Wide PlainAspectDifference(const Box<Wide>& truth, const Box<Wide>& box) {
  return 4 / PlainSquare(kPlainPi) * PlainSquare(std::atan2(truth.w, truth.h) - std::atan2(box.w, box.h));
}

// The factor of CIoU that has no gradient.
inline Wide PlainCiouAlpha(const Box<Wide>& truth, const Box<Wide>& box) {
  const Wide v = PlainAspectDifference(truth, box);
  return v / (1 + kPlainEpsilon - ComparePlainBoxes(truth, box).iou + v);
}

inline Wide PlainShapeCost(Wide a, Wide b) {
  return std::pow(1 - std::exp(-std::fabs(a - b) / std::max(a, b)), Wide(4));
}

inline Wide PlainSiou(const PlainPair& pair, const Box<Wide>& truth, const Box<Wide>& box) {
  const Wide across = std::fabs(truth.x - box.x), down = std::fabs(truth.y - box.y);
  const Wide distance = std::hypot(across, down) + kPlainEpsilon;
  Wide sine = across / distance;
  if (sine > std::sqrt(Wide(0.5))) sine = down / distance;
  const Wide angle_cost = std::cos(2 * std::asin(sine) - kPlainPi / 2);
  const Wide gamma = 2 - angle_cost;
  const Wide distance_cost = 2 - std::exp(-gamma * PlainSquare(across / pair.enclosing_w)) -
                             std::exp(-gamma * PlainSquare(down / pair.enclosing_h));
  return pair.iou - (distance_cost + PlainShapeCost(truth.w, box.w) + PlainShapeCost(truth.h, box.h)) / 2;
}

// `alpha` is used by CIoU alone.
inline Wide PlainOverlap(Overlap overlap, const Box<Wide>& truth, const Box<Wide>& box, Wide alpha) {
  const PlainPair pair = ComparePlainBoxes(truth, box);
  const Wide enclosing = pair.enclosing_w * pair.enclosing_h;
  const Wide diou = pair.iou - (PlainSquare(truth.x - box.x) + PlainSquare(truth.y - box.y)) /
                                   (PlainSquare(pair.enclosing_w) + PlainSquare(pair.enclosing_h) + kPlainEpsilon);
  switch (overlap) {
    case Overlap::kIou:
      return pair.iou;
    case Overlap::kGiou:
      return pair.iou - (enclosing - pair.area_union) / (enclosing + kPlainEpsilon);
    case Overlap::kDiou:
      return diou;
    case Overlap::kCiou:
      return diou - alpha * PlainAspectDifference(truth, box);
    case Overlap::kSiou:
      return PlainSiou(pair, truth, box);
  }
  return pair.iou;
}

// Value, and slopes by x, y, w and h.
struct PlainOverlapSlopes {
  Wide value;
  Wide slopes[4];
  Wide error;  // about how far off the slopes are: far more than rounding only beside a kink
};

// Richardson's extrapolation of central differences.
inline PlainOverlapSlopes PlainOverlapSlopesOf(Overlap overlap, const Box<Wide>& truth, const Box<Wide>& box) {
  const Wide alpha = PlainCiouAlpha(truth, box);
  PlainOverlapSlopes result = {PlainOverlap(overlap, truth, box, alpha), {}, 0};
  Wide scale = std::min({truth.w, truth.h, box.w, box.h});
  for (const Wide distance : {std::fabs(truth.x - box.x), std::fabs(truth.y - box.y)}) {
    if (distance > 0) scale = std::min(scale, distance);
  }
  for (int i = 0; i < 4; ++i) {
    const auto slope = [&](Wide step) {
      Box<Wide> above = box, below = box;
      Wide* const up[4] = {&above.x, &above.y, &above.w, &above.h};
      Wide* const down[4] = {&below.x, &below.y, &below.w, &below.h};
      *up[i] += step;
      *down[i] -= step;
      return (PlainOverlap(overlap, truth, above, alpha) - PlainOverlap(overlap, truth, below, alpha)) / (2 * step);
    };
    const Wide wide = slope(4e-4L * scale), middle = slope(2e-4L * scale), narrow = slope(1e-4L * scale);
    const Wide rough = (4 * middle - wide) / 3, fine = (4 * narrow - middle) / 3;
    result.slopes[i] = (16 * fine - rough) / 15;
    result.error = std::max(result.error, std::fabs(fine - rough));
  }
  return result;
}

}  // namespace detloss

#endif  // DETLOSS_TESTS_CC_PLAIN_BOX_OVERLAP_H_
