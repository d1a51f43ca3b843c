// Which numbers a label may hold. Shared by host and device.
#ifndef DETLOSS_CC_LABEL_RANGE_H_
#define DETLOSS_CC_LABEL_RANGE_H_

#include "cc/platform.h"

namespace detloss {

// Beyond it nothing is a coordinate, an offset or a weight of anything; products of a few labels below it stay finite.
template <class L>
DETLOSS_SHARED L LargestLabel() {
  return static_cast<L>(1e6);
}

// Coordinates and offsets. Not so for NaN, here and below.
template <class L>
DETLOSS_SHARED bool IsLabel(L x) {
  return x >= -LargestLabel<L>() && x <= LargestLabel<L>();
}

// Objectness, class scores and flags: what weights a term.
template <class L>
DETLOSS_SHARED bool IsLabelWeight(L x) {
  return x >= 0 && x <= LargestLabel<L>();
}

}  // namespace detloss

#endif  // DETLOSS_CC_LABEL_RANGE_H_
