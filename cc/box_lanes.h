// Corners of many boxes, and which of them reach the threshold with a true box. Host only.
#ifndef DETLOSS_CC_BOX_LANES_H_
#define DETLOSS_CC_BOX_LANES_H_

#include <cstdint>

#include "cc/box.h"
#include "cc/dtypes.h"
#include "cc/ignore_test.h"
#include "cc/lanes.h"
#include "cc/platform.h"

namespace detloss {

// Up to `kCapacity` boxes, column by column.
template <class L, int64_t kCapacity>
struct BoxLanes {
  static constexpr int64_t kPerVector = kVectorBytes / sizeof(L);

  DETLOSS_INLINE Corners<Vector<L>> Get(int64_t i) const {
    return {LoadVector(x1 + i), LoadVector(y1 + i), LoadVector(x2 + i), LoadVector(y2 + i), LoadVector(area + i)};
  }
  DETLOSS_INLINE void Set(int64_t i, const Corners<Vector<L>>& box) {
    StoreVector(box.x1, x1 + i);
    StoreVector(box.y1, y1 + i);
    StoreVector(box.x2, x2 + i);
    StoreVector(box.y2, y2 + i);
    StoreVector(box.area, area + i);
  }

  // Sets all bits of `ignored[i]` where box i reaches the threshold with the true box.
  DETLOSS_INLINE void Ignore(const IgnoreTest<L>& test, const Box<L>& true_box, int64_t count, Bits<L>* ignored) const {
    const Corners<L> one = CornersOf(true_box.x, true_box.y, true_box.w, true_box.h);
    const Vector<L> zero = {};
    const Corners<Vector<L>> truth = {zero + one.x1, zero + one.y1, zero + one.x2, zero + one.y2, zero + one.area};
    for (int64_t i = 0; i < count; i += kPerVector) {
      const Corners<Vector<L>> box = Get(i);
      const Vector<L> shared = Intersection(box, truth), areas = box.area + truth.area;
      if (IsZero(BitCast<Vector<uint32_t>>(MayReach(test, shared, areas)))) continue;
      StoreVector(LoadVector(ignored + i) | BitCast<Vector<Bits<L>>>(Reaches(test, shared, areas)), ignored + i);
    }
  }

  alignas(64) L x1[kCapacity];
  alignas(64) L y1[kCapacity];
  alignas(64) L x2[kCapacity];
  alignas(64) L y2[kCapacity];
  alignas(64) L area[kCapacity];
};

}  // namespace detloss

#endif  // DETLOSS_CC_BOX_LANES_H_
