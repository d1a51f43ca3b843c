// Boxes and their overlap. V is a number or a vector of numbers. Shared by host and device.
#ifndef DETLOSS_CC_BOX_H_
#define DETLOSS_CC_BOX_H_

#include "cc/platform.h"

namespace detloss {

// x and y are the centre.
template <class L>
struct Box {
  L x, y, w, h;
};

template <class V>
struct Corners {
  V x1, y1, x2, y2, area;
};

template <class V>
DETLOSS_SHARED Corners<V> CornersOf(V x, V y, V w, V h) {
  return {x - w / 2, y - h / 2, x + w / 2, y + h / 2, w * h};
}

template <class V>
DETLOSS_SHARED V Intersection(const Corners<V>& a, const Corners<V>& b) {
  const V w = (a.x2 < b.x2 ? a.x2 : b.x2) - (a.x1 > b.x1 ? a.x1 : b.x1);
  const V h = (a.y2 < b.y2 ? a.y2 : b.y2) - (a.y1 > b.y1 ? a.y1 : b.y1);
  return (w > 0 ? w : V{}) * (h > 0 ? h : V{});
}

}  // namespace detloss

#endif  // DETLOSS_CC_BOX_H_
