// Whether the overlap of a predicted and a true box reaches the threshold. V is a number or a vector of numbers. Shared
// by host and device.
#ifndef DETLOSS_CC_IGNORE_TEST_H_
#define DETLOSS_CC_IGNORE_TEST_H_

#include "cc/box.h"
#include "cc/math.h"
#include "cc/platform.h"

namespace detloss {

struct IgnoreOptions {
  float thresh = 0.5f;
  bool above = false;  // ignored above the threshold only; else from it on
};

// Corners of a box that is to be tested. Its area is NaN where its centre is not finite: such a box reaches nothing,
// while comparisons of its corners would pass over NaN.
template <class V>
DETLOSS_SHARED Corners<V> TestedCorners(V x, V y, V w, V h) {
  Corners<V> corners = CornersOf(x, y, w, h);
  corners.area = corners.area + (x - x) + (y - y);
  return corners;
}

// Whether a box is a true one; others are padding.
template <class L>
DETLOSS_SHARED bool IsTrueBox(const Box<L>& box) {
  return box.w > 0 && box.h > 0 && IsFinite(box.x) && IsFinite(box.y) && IsFinite(box.w) && IsFinite(box.h);
}

// `iou >= t` without a division where that is certain: the intersection is then at least `t / (1 + t)` of the sum of
// both areas.
template <class L>
struct IgnoreTest {
  L thresh;
  L certainly_below;  // times the sum of the areas: intersections below cannot reach the threshold
  bool above;
};

template <class L>
DETLOSS_SHARED IgnoreTest<L> MakeIgnoreTest(const IgnoreOptions& options) {
  const L thresh = options.thresh;
  // Rounding errors of the overlap stay below four units in the last place of a float.
  return {thresh, thresh / (1 + thresh) * static_cast<L>(1 - 1e-6), options.above};
}

template <class V, class L>
DETLOSS_SHARED auto MayReach(const IgnoreTest<L>& test, V intersection, V areas) {
  return intersection >= test.certainly_below * areas;
}

// `areas`: the sum of both. NaN does not reach it.
template <class V, class L>
DETLOSS_SHARED auto Reaches(const IgnoreTest<L>& test, V intersection, V areas) {
  const V iou = intersection / (areas - intersection);
  return test.above ? iou > test.thresh : iou >= test.thresh;
}

// Both in one, for one pair of boxes.
template <class L>
DETLOSS_SHARED bool IsIgnored(const IgnoreTest<L>& test, const Corners<L>& box, const Corners<L>& truth) {
  const L shared = Intersection(box, truth), areas = box.area + truth.area;
  return MayReach(test, shared, areas) && Reaches(test, shared, areas);
}

}  // namespace detloss

#endif  // DETLOSS_CC_IGNORE_TEST_H_
