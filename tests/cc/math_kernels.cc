// Compiled once per CPU tier, with DETLOSS_TIER naming it: see cc/cpu_tier.h.
#include "tests/cc/math_kernels.h"

#include <cstring>

#include "cc/lanes.h"
#include "cc/math.h"
#include "cc/sigmoid_loss.h"

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

template <class L>
void Log1pLanes(const L* x, L* y) {
  ForEachVector(x, y, [](Vector<L> vector) { return Log1p(vector); });
}

template <class F>
DETLOSS_SHARED void ForEachLoss(const float* logit, const float* label, float* loss, float* gradient, const F& term) {
  for (int lane = 0; lane < kMathLanes; lane += kVectorBytes / sizeof(float)) {
    const LossAndGradient<Vector<float>> both = term(LoadVector(logit + lane), LoadVector(label + lane));
    StoreVector(both.loss, loss + lane);
    StoreVector(both.gradient, gradient + lane);
  }
}

void SigmoidLossLanes(const float* logit, const float* label, float* loss, float* gradient) {
  ForEachLoss(logit, label, loss, gradient, [](auto x, auto y) { return SigmoidLoss(x, y); });
}

void SigmoidFocalLossLanes(const float* logit, const float* label, float* loss, float* gradient) {
  ForEachLoss(logit, label, loss, gradient, [](auto x, auto y) { return SigmoidFocalLoss(x, y); });
}

}  // namespace

const MathKernels kMathKernels = {ExpLanes<float>,   LogLanes<float>,    ExpLanes<double>, LogLanes<double>,
                                  Log1pLanes<float>, Log1pLanes<double>, SigmoidLossLanes, SigmoidFocalLossLanes};

}  // namespace DETLOSS_TIER
}  // namespace detloss
