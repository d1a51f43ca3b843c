#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "cc/box.h"
#include "cc/box_overlap.h"
#include "tests/cc/check.h"
#include "tests/cc/plain_box_overlap.h"
#include "tests/cc/random.h"

namespace detloss {
namespace {

constexpr Overlap kOverlaps[] = {Overlap::kIou, Overlap::kGiou, Overlap::kDiou, Overlap::kCiou, Overlap::kSiou};
constexpr const char* kNames[] = {"iou", "giou", "diou", "ciou", "siou"};

const char* NameOf(Overlap overlap) { return kNames[static_cast<int>(overlap)]; }

template <class To, class From>
Box<To> As(const Box<From>& box) {
  return {static_cast<To>(box.x), static_cast<To>(box.y), static_cast<To>(box.w), static_cast<To>(box.h)};
}

// Boxes that touch each other in most cases.
Box<double> RandomBox(Random* random) {
  return {random->Uniform(0.3, 0.7), random->Uniform(0.3, 0.7), random->Uniform(0.02, 0.8), random->Uniform(0.02, 0.8)};
}

// `nearby`: about the true box.
Box<double> RandomPrediction(const Box<double>& truth, bool nearby, Random* random) {
  if (!nearby) return RandomBox(random);
  return {truth.x + 0.1 * truth.w * random->Normal(), truth.y + 0.1 * truth.h * random->Normal(),
          truth.w * std::exp(0.2 * random->Normal()), truth.h * std::exp(0.2 * random->Normal())};
}

std::string Describe(const Box<double>& box) {
  return "[" + check::Show(box.x) + ", " + check::Show(box.y) + ", " + check::Show(box.w) + ", " + check::Show(box.h) +
         "]";
}

}  // namespace

TEST(OverlapsAgreeWithTheirFormulas) {
  Random random(1);
  for (int i = 0; i < 3000; ++i) {
    const Box<double> truth = RandomBox(&random), box = RandomPrediction(truth, i % 2 == 0, &random);
    const check::Context boxes("true box " + Describe(truth) + ", predicted box " + Describe(box));
    for (Overlap overlap : kOverlaps) {
      const check::Context name(NameOf(overlap));
      const Wide alpha = PlainCiouAlpha(As<Wide>(truth), As<Wide>(box));
      const double want = static_cast<double>(PlainOverlap(overlap, As<Wide>(truth), As<Wide>(box), alpha));
      CHECK_NEAR(OverlapOf(overlap, truth, box).value, want, 1e-12);
      // Each side of a box may be off by a unit in the last place of 1, and a thin box is about ten of its widths long.
      CHECK_NEAR(OverlapOf(overlap, As<float>(truth), As<float>(box)).value, want, 5e-5);
    }
  }
}

// Rounding may take the overlap of equal boxes above 1, and leaves a point of small ones.
TEST(EqualBoxesAndPointsAreNumbers) {
  Random random(5);
  const auto check_numbers = [](const Box<float>& truth, const Box<float>& box) {
    const check::Context boxes("true box " + Describe(As<double>(truth)) + ", predicted box " +
                               Describe(As<double>(box)));
    for (Overlap overlap : kOverlaps) {
      const check::Context name(NameOf(overlap));
      const Dual<float> reached = OverlapOf(overlap, truth, box);
      CHECK(std::isfinite(reached.value));
      for (float slope : reached.gradient) CHECK(std::isfinite(slope));
    }
  };
  const Box<float> off_by_an_epsilon = {1.23354125f, 0.850106776f, 0.67122829f, 1.71719909f};
  check_numbers(off_by_an_epsilon, off_by_an_epsilon);
  for (int i = 0; i < 20000; ++i) {
    const double size = std::pow(10.0, random.Uniform(-12, 6));
    const Box<float> truth = As<float>(Box<double>{random.Uniform(-1, 2), random.Uniform(-1, 2),
                                                   random.Uniform(0.02, 1) * size, random.Uniform(0.02, 1) * size});
    check_numbers(truth, truth);
    Box<float> box = truth;
    box.w = static_cast<float>(std::exp(random.Uniform(-25, 20)));
    check_numbers(truth, box);
  }
}

TEST(GradientsOfOverlapsAgreeWithDifferences) {
  Random random(2);
  for (int i = 0; i < 1500; ++i) {
    const Box<double> truth = RandomBox(&random), box = RandomPrediction(truth, i % 2 == 0, &random);
    const check::Context boxes("true box " + Describe(truth) + ", predicted box " + Describe(box));
    for (Overlap overlap : kOverlaps) {
      const PlainOverlapSlopes want = PlainOverlapSlopesOf(overlap, As<Wide>(truth), As<Wide>(box));
      if (want.error > 1e-10L) continue;  // beside a kink
      const Dual<double> got = OverlapOf(overlap, truth, box);
      for (int k = 0; k < 4; ++k) {
        const check::Context name(std::string(NameOf(overlap)) + " by " + "xywh"[k]);
        const double slope = static_cast<double>(want.slopes[k]);
        CHECK_NEAR(got.gradient[k], slope, 1e-9 * (1 + std::fabs(slope)));
      }
    }
  }
}

TEST(BoxesThatAreEqualOverlapWholly) {
  const Box<double> truth = {0.5, 0.25, 0.5, 0.25};
  for (Overlap overlap : kOverlaps) {
    const check::Context name(NameOf(overlap));
    const Dual<double> got = OverlapOf(overlap, truth, truth);
    CHECK_NEAR(got.value, 1, 1e-6);
    // Edges that coincide count as the true box's: only the areas still change.
    const double slope_of_union = overlap == Overlap::kGiou ? 0 : -1;
    CHECK_NEAR(got.gradient[0], 0, 1e-6);
    CHECK_NEAR(got.gradient[1], 0, 1e-6);
    CHECK_NEAR(got.gradient[2], slope_of_union * truth.h / 0.125, 2e-5);
    CHECK_NEAR(got.gradient[3], slope_of_union * truth.w / 0.125, 2e-5);
  }
}

// Wherever the centres coincide, the direction between them is undefined; its gradient is zero.
TEST(SiouIsFiniteWhereCentresCoincide) {
  const Box<double> truth = {0.5, 0.5, 0.25, 0.5};
  for (const Box<double>& box : {Box<double>{0.5, 0.5, 0.5, 0.25}, Box<double>{0.5, 0.5, 0.125, 0.125}, truth}) {
    const check::Context boxes("predicted box " + Describe(box));
    const Dual<double> got = OverlapOf(Overlap::kSiou, truth, box);
    CHECK(std::isfinite(got.value));
    CHECK_BITS_EQUAL(std::fabs(got.gradient[0]), 0.0);
    CHECK_BITS_EQUAL(std::fabs(got.gradient[1]), 0.0);
    for (int k = 2; k < 4; ++k) CHECK(std::isfinite(got.gradient[k]));
  }
  // On one axis alone.
  const Dual<double> beside = OverlapOf(Overlap::kSiou, truth, {0.625, 0.5, 0.25, 0.5});
  for (double slope : beside.gradient) CHECK(std::isfinite(slope));
  CHECK(beside.gradient[0] < 0);
}

TEST(OverlapsOfBoxesApart) {
  const Box<double> truth = {0.25, 0.25, 0.25, 0.25}, box = {0.75, 0.75, 0.25, 0.25};
  const auto value = [&](Overlap overlap) { return OverlapOf(overlap, truth, box).value; };
  CHECK_EQUAL(value(Overlap::kIou), 0.0);
  CHECK_NEAR(value(Overlap::kGiou), 2.0 / 9 - 1, 1e-6);
  CHECK_NEAR(value(Overlap::kDiou), -4.0 / 9, 1e-6);
  CHECK_NEAR(value(Overlap::kCiou), -4.0 / 9, 1e-6);
  // The angle is 45 degrees: its cost is 1 and halves gamma.
  CHECK_NEAR(value(Overlap::kSiou), -(1 - std::exp(-4.0 / 9)), 1e-6);
  for (double slope : OverlapOf(Overlap::kIou, truth, box).gradient) CHECK_EQUAL(std::fabs(slope), 0.0);
  CHECK(OverlapOf(Overlap::kGiou, truth, box).gradient[0] < 0);
  CHECK(OverlapOf(Overlap::kDiou, truth, box).gradient[0] < 0);
}

// Edges that only touch: the gradient is that of the overlap about to begin.
TEST(BoxesThatTouchDoNotOverlap) {
  for (double x : {0.0, 1.0}) {
    const Box<double> truth = {0.5, 0.5, 0.5, 0.5}, box = {x, 0.5, 0.5, 0.5};
    const Dual<double> got = OverlapOf(Overlap::kIou, truth, box);
    CHECK_EQUAL(got.value, 0.0);
    CHECK_NEAR(got.gradient[0], x < 0.5 ? 1 : -1, 1e-6);
    CHECK_NEAR(got.gradient[1], 0, 1e-6);
    CHECK_NEAR(got.gradient[2], 0.5, 1e-6);
    CHECK_NEAR(got.gradient[3], 0, 1e-6);
  }
}

TEST(OverlapsOfHugeAndTinyBoxesAreFinite) {
  const Box<float> truth = {0.5f, 0.5f, 0.25f, 0.5f};
  for (float w : {1e-10f, 1e-4f, 0.25f, 1e3f, 4.8e8f}) {
    for (float h : {1e-10f, 1e-4f, 0.5f, 1e3f, 4.8e8f}) {
      for (float x : {0.0f, 0.5f, 1.0f}) {
        const check::Context boxes("predicted box " + Describe(As<double>(Box<float>{x, 0.5f, w, h})));
        for (Overlap overlap : kOverlaps) {
          const check::Context name(NameOf(overlap));
          const Dual<float> got = OverlapOf(overlap, truth, Box<float>{x, 0.5f, w, h});
          CHECK(std::isfinite(got.value));
          for (float slope : got.gradient) CHECK(std::isfinite(slope));
        }
      }
    }
  }
}

TEST(AnOverlapWithNanIsNan) {
  const double nan = std::nan("");
  const Box<double> truth = {0.5, 0.5, 0.25, 0.5};
  // A centre or length that is no number; the plain IoU hides it, as its comparisons are all false.
  for (Overlap overlap : {Overlap::kDiou, Overlap::kCiou, Overlap::kSiou}) {
    const check::Context name(NameOf(overlap));
    CHECK(std::isnan(OverlapOf(overlap, truth, {nan, 0.5, 0.25, 0.5}).value));
    CHECK(std::isnan(OverlapOf(overlap, truth, {0.5, nan, 0.25, 0.5}).value));
  }
  for (Overlap overlap : kOverlaps) {
    const check::Context name(NameOf(overlap));
    CHECK(std::isnan(OverlapOf(overlap, truth, {0.5, 0.5, nan, 0.5}).value));
    CHECK(std::isnan(OverlapOf(overlap, truth, {0.5, 0.5, 0.25, nan}).value));
  }
}

TEST(IntersectionsByHand) {
  const Corners<double> a = CornersOf(0.5, 0.5, 0.5, 0.25), b = CornersOf(0.75, 0.5, 0.5, 0.5);
  CHECK_EQUAL(a.x1, 0.25);
  CHECK_EQUAL(a.y1, 0.375);
  CHECK_EQUAL(a.x2, 0.75);
  CHECK_EQUAL(a.y2, 0.625);
  CHECK_EQUAL(a.area, 0.125);
  CHECK_EQUAL(Intersection(a, b), 0.0625);
  CHECK_EQUAL(Intersection(b, a), 0.0625);
  CHECK_EQUAL(Intersection(a, CornersOf(2.0, 0.5, 0.5, 0.5)), 0.0);
  CHECK_EQUAL(Intersection(a, CornersOf(2.0, 2.0, 0.5, 0.5)), 0.0);  // apart on both axes: no positive product
}

}  // namespace detloss
