#include <algorithm>
#include <cmath>
#include <limits>

#include "cc/cpu_tier.h"
#include "cc/sigmoid_loss.h"
#include "tests/cc/check.h"
#include "tests/cc/math_kernels.h"
#include "tests/cc/random.h"

namespace detloss {
namespace {

constexpr double kLabels[] = {0, 0.05, 0.25, 0.5, 0.95, 1};

struct Plain {
  double loss, gradient;
};

double PlainLogSigmoid(double x) { return std::min(x, 0.0) - std::log1p(std::exp(-std::fabs(x))); }
double PlainProbability(double x) { return 1 / (1 + std::exp(-x)); }

Plain PlainCrossEntropy(double x, double y) {
  return {-y * PlainLogSigmoid(x) - (1 - y) * PlainLogSigmoid(-x), PlainProbability(x) - y};
}

// (0.25 y + 0.75 (1 - y)) (1 - p_t)^2 times the cross-entropy, with p_t = y p + (1 - y) (1 - p).
Plain PlainFocal(double x, double y) {
  const Plain plain = PlainCrossEntropy(x, y);
  const double p = PlainProbability(x), q = PlainProbability(-x), alpha = 0.25 * y + 0.75 * (1 - y);
  const double missed = y * q + (1 - y) * p, slope = (1 - 2 * y) * p * q;
  return {alpha * missed * missed * plain.loss,
          alpha * (2 * missed * slope * plain.loss + missed * missed * plain.gradient)};
}

template <class F>
void ForEachLogitAndLabel(const F& visit) {
  for (double y : kLabels) {
    for (double x = -40; x <= 40; x += 0.0703125) visit(x, y);
  }
}

}  // namespace

TEST(SigmoidsAreAccurateOnBothSides) {
  for (double x = -80; x <= 80; x += 0.0703125) {
    const check::Context context("logit " + check::Show(x));
    const double p = PlainProbability(x), softplus = -PlainLogSigmoid(-x);
    const Sigmoid<double> wide = SigmoidOf(x);
    CHECK_NEAR(wide.probability, p, 1e-15 * p);
    CHECK_NEAR(wide.softplus, softplus, 1e-15 * softplus);
    const Sigmoid<float> narrow = SigmoidOf(static_cast<float>(x));
    CHECK_NEAR(narrow.probability, p, 4e-7 * p);
    CHECK_NEAR(narrow.softplus, softplus, 6e-7 * softplus);
  }
}

TEST(CrossEntropiesAgreeWithTheirFormula) {
  ForEachLogitAndLabel([](double x, double y) {
    const check::Context context("logit " + check::Show(x) + ", label " + check::Show(y));
    const Plain want = PlainCrossEntropy(x, y);
    const LossAndGradient<double> wide = SigmoidLoss(x, y);
    const LossAndGradient<float> narrow = SigmoidLoss(static_cast<float>(x), static_cast<float>(y));
    const double magnitude = std::fabs(x) + 1;
    CHECK_NEAR(wide.loss, want.loss, 1e-15 * magnitude);
    CHECK_NEAR(wide.gradient, want.gradient, 1e-15);
    CHECK_NEAR(narrow.loss, want.loss, 5e-7 * magnitude);
    CHECK_NEAR(narrow.gradient, want.gradient, 3e-7);
  });
}

TEST(FocalLossesAgreeWithTheirFormula) {
  ForEachLogitAndLabel([](double x, double y) {
    const check::Context context("logit " + check::Show(x) + ", label " + check::Show(y));
    const Plain want = PlainFocal(x, y);
    const LossAndGradient<double> wide = SigmoidFocalLoss(x, y);
    const LossAndGradient<float> narrow = SigmoidFocalLoss(static_cast<float>(x), static_cast<float>(y));
    const double magnitude = std::fabs(x) + 1;
    CHECK_NEAR(wide.loss, want.loss, 2e-15 * magnitude);
    CHECK_NEAR(wide.gradient, want.gradient, 2e-15 * magnitude);
    CHECK_NEAR(narrow.loss, want.loss, 1e-6 * magnitude);
    CHECK_NEAR(narrow.gradient, want.gradient, 1e-6 * magnitude);
  });
}

TEST(GradientsOfSigmoidLossesAgreeWithDifferences) {
  constexpr double kStep = 1e-5;
  ForEachLogitAndLabel([](double x, double y) {
    const check::Context context("logit " + check::Show(x) + ", label " + check::Show(y));
    const double slope = (SigmoidLoss(x + kStep, y).loss - SigmoidLoss(x - kStep, y).loss) / (2 * kStep);
    CHECK_NEAR(SigmoidLoss(x, y).gradient, slope, 1e-8);
    const double focal = (SigmoidFocalLoss(x + kStep, y).loss - SigmoidFocalLoss(x - kStep, y).loss) / (2 * kStep);
    CHECK_NEAR(SigmoidFocalLoss(x, y).gradient, focal, 1e-8);
  });
}

TEST(SigmoidLossesOfLargeLogitsAreFinite) {
  for (float x : {1e4f, 1e30f}) {
    CHECK_EQUAL(SigmoidLoss(x, 0.0f).loss, x);
    CHECK_EQUAL(SigmoidLoss(x, 1.0f).loss, 0.0f);
    CHECK_EQUAL(SigmoidLoss(-x, 1.0f).loss, x);
    CHECK_EQUAL(SigmoidLoss(-x, 0.0f).loss, 0.0f);
    CHECK_EQUAL(SigmoidLoss(x, 0.0f).gradient, 1.0f);
    CHECK_EQUAL(SigmoidLoss(-x, 1.0f).gradient, -1.0f);
    CHECK_EQUAL(SigmoidFocalLoss(x, 0.0f).loss, 0.75f * x);
    CHECK_EQUAL(SigmoidFocalLoss(x, 0.0f).gradient, 0.75f);
    CHECK_EQUAL(SigmoidFocalLoss(-x, 1.0f).loss, 0.25f * x);
    CHECK_EQUAL(SigmoidFocalLoss(-x, 1.0f).gradient, -0.25f);
    CHECK_EQUAL(SigmoidFocalLoss(x, 1.0f).loss, 0.0f);
    CHECK_EQUAL(SigmoidFocalLoss(x, 1.0f).gradient, 0.0f);
  }
}

TEST(SigmoidLossesOfInfiniteLogitsAreNothingOrHuge) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const auto& loss_of : {SigmoidLoss<float>, SigmoidFocalLoss<float>}) {
    for (float sign : {1.0f, -1.0f}) {
      const float label = sign > 0 ? 1.0f : 0.0f;  // what the logit says
      CHECK_EQUAL(loss_of(sign * inf, label).loss, 0.0f);
      CHECK_EQUAL(loss_of(sign * inf, label).gradient, 0.0f);
      CHECK(loss_of(sign * inf, 1 - label).loss > 1e37f);
      CHECK(sign * loss_of(sign * inf, 1 - label).gradient > 0.1f);
      for (float soft : {0.05f, 0.5f, 0.95f}) {
        CHECK(loss_of(sign * inf, soft).loss > 1e30f);
        CHECK(std::isfinite(loss_of(sign * inf, soft).gradient));
      }
      for (float heavy : {2.0f, 1e6f}) {
        CHECK(!std::isnan(loss_of(sign * inf, heavy).loss));
        CHECK(!std::isnan(loss_of(sign * inf, heavy).gradient));
      }
    }
  }
}

TEST(SigmoidLossesOfNanAreNan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (float y : {0.0f, 0.5f, 1.0f}) {
    CHECK(std::isnan(SigmoidLoss(nan, y).loss) && std::isnan(SigmoidLoss(nan, y).gradient));
    CHECK(std::isnan(SigmoidFocalLoss(nan, y).loss) && std::isnan(SigmoidFocalLoss(nan, y).gradient));
  }
}

TEST(LanesOfSigmoidLossesHaveTheBitsOfScalars) {
  Random random(1);
  constexpr float kExtremes[] = {0.0f, -0.0f, 1e-40f, 87.5f, -87.5f, 1e4f, -1e4f, HUGE_VALF, -HUGE_VALF};
  for (int i = 0; i < 5000; ++i) {
    float logit[kMathLanes], label[kMathLanes], loss[kMathLanes], gradient[kMathLanes];
    for (int lane = 0; lane < kMathLanes; ++lane) {
      const bool extreme = random.Chance(0.1);
      logit[lane] = extreme ? kExtremes[random.Below(9)] : static_cast<float>(5 * random.Normal());
      label[lane] = random.Chance(0.5) ? static_cast<float>(random.Below(2)) : static_cast<float>(random.Uniform());
    }
    for (CpuTier tier : kCpuTiers) {
      if (!CpuSupports(tier)) continue;
      const check::Context context(CpuTierName(tier));
      const MathKernels& kernels = DETLOSS_PICK_PER_TIER(tier, kMathKernels);
      const auto check_lanes = [&](const auto& scalar) {
        for (int lane = 0; lane < kMathLanes; ++lane) {
          const LossAndGradient<float> want = scalar(logit[lane], label[lane]);
          CHECK(std::isnan(want.loss) ? std::isnan(loss[lane]) : check::SameBits(loss[lane], want.loss));
          CHECK(std::isnan(want.gradient) ? std::isnan(gradient[lane])
                                          : check::SameBits(gradient[lane], want.gradient));
        }
      };
      kernels.sigmoid_loss(logit, label, loss, gradient);
      check_lanes([](float x, float y) { return SigmoidLoss(x, y); });
      kernels.sigmoid_focal_loss(logit, label, loss, gradient);
      check_lanes([](float x, float y) { return SigmoidFocalLoss(x, y); });
    }
  }
}

}  // namespace detloss
