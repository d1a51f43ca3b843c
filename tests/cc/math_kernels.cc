// Compiled once per CPU tier, with DETLOSS_TIER naming it: see cc/cpu_tier.h.
#include "tests/cc/math_kernels.h"

#include <cstring>

#include "cc/lanes.h"
#include "cc/math.h"

namespace detloss {
namespace DETLOSS_TIER {
namespace {

template <class L, class F>
DETLOSS_SHARED void ForEachVector(const L* x, L* y, const F& f) {
  for (int lane = 0; lane < kMathLanes; lane += kVectorBytes / sizeof(L)) {
    Vector<L> vector;
    memcpy(&vector, x + lane, sizeof(vector));
    vector = f(vector);
    memcpy(y + lane, &vector, sizeof(vector));
  }
}

template <class L>
void ExpLanes(const L* x, L* y) {
  ForEachVector(x, y, [](Vector<L> vector) { return Exp(vector); });
}

template <class L>
void LogLanes(const L* x, L* y) {
  ForEachVector(x, y, [](Vector<L> vector) { return Log(vector); });
}

}  // namespace

const MathKernels kMathKernels = {ExpLanes<float>, LogLanes<float>, ExpLanes<double>, LogLanes<double>};

}  // namespace DETLOSS_TIER
}  // namespace detloss
