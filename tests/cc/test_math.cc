#include <algorithm>
#include <cfloat>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "cc/dtypes.h"
#include "cc/hard_negative_mining.h"
#include "cc/math.h"
#include "tests/cc/check.h"
#include "tests/cc/math_kernels.h"
#include "tests/cc/random.h"

namespace detloss {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

float FromBits(uint32_t bits) { return BitCast<float>(bits); }

// Distance in units of the float spacing at `exact`.
double UlpsFrom(double exact, float got) {
  const int exponent = std::max(std::ilogb(exact), -126);
  return std::fabs(static_cast<double>(got) - exact) / std::ldexp(1.0, exponent - 23);
}

// Calls `visit(x)` for the floats of [low, high] in steps of `stride` representable values, and for `high`.
void Sweep(float low, float high, uint32_t stride, const std::function<void(float)>& visit) {
  const uint32_t first = OrderedKey(low), last = OrderedKey(high);
  for (uint64_t key = first; key < last; key += stride) {
    const uint32_t bits = static_cast<uint32_t>(key);
    visit(FromBits(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits));
  }
  visit(high);
}

}  // namespace

TEST(ExpIsWithinOneAndAHalfUlps) {
  Sweep(-87.0f, 88.0f, 997, [](float x) {
    const double ulps = UlpsFrom(std::exp(static_cast<double>(x)), Exp(x));
    if (ulps > 1.5) CHECK_NEAR(Exp(x), std::exp(static_cast<double>(x)), 0);
  });
}

TEST(ExpAtTheEndsOfItsRange) {
  CHECK_BITS_EQUAL(Exp(0.0f), 1.0f);
  CHECK_BITS_EQUAL(Exp(-0.0f), 1.0f);
  CHECK_BITS_EQUAL(Exp(FLT_TRUE_MIN), 1.0f);
  CHECK_BITS_EQUAL(Exp(std::nextafter(-87.0f, -kInfinity)), 0.0f);
  CHECK_BITS_EQUAL(Exp(-FLT_MAX), 0.0f);
  CHECK_BITS_EQUAL(Exp(-kInfinity), 0.0f);
  CHECK(std::isnan(Exp(kNan)));
  CHECK(std::isnan(Exp(-kNan)));
  CHECK_EQUAL(Exp(-745.0), std::exp(-745.0));
  CHECK(std::isnan(Exp(static_cast<double>(kNan))));
}

TEST(LogIsWithinOneAndAHalfUlps) {
  const auto check_log = [](float x) {
    const double exact = std::log(static_cast<double>(x));
    const bool near = exact == 0 ? Log(x) == 0 : UlpsFrom(exact, Log(x)) <= 1.5;
    if (!near) CHECK_NEAR(Log(x), exact, 0);
  };
  Sweep(FLT_MIN, FLT_MAX, 997, check_log);
  Sweep(0.5f, 2.0f, 37, check_log);
  // Where the reduction changes its exponent, and where the result passes through zero.
  for (float centre : {0.70710678f, 1.0f, 1.41421356f, 2.0f}) {
    Sweep(FromBits(BitCast<uint32_t>(centre) - 20000), FromBits(BitCast<uint32_t>(centre) + 20000), 1, check_log);
  }
}

TEST(LogAtTheEndsOfItsRange) {
  CHECK_BITS_EQUAL(Log(1.0f), 0.0f);
  CHECK_EQUAL(Log(kInfinity), kInfinity);
  CHECK(std::isnan(Log(kNan)));
  CHECK_EQUAL(Log(2.0), std::log(2.0));
  CHECK(std::isnan(Log(static_cast<double>(kNan))));
}

TEST(Log1pIsWithinThreeUlps) {
  const auto check_log1p = [](float x) {
    const double exact = std::log1p(static_cast<double>(x));
    const bool near = exact == 0 ? Log1p(x) == 0 : UlpsFrom(exact, Log1p(x)) <= 3;
    if (!near) CHECK_NEAR(Log1p(x), exact, 0);
  };
  Sweep(FLT_MIN, 1.0f, 997, check_log1p);
  Sweep(0.25f, 1.0f, 37, check_log1p);
}

TEST(Log1pAtTheEndsOfItsRange) {
  CHECK_BITS_EQUAL(Log1p(0.0f), 0.0f);
  CHECK_NEAR(Log1p(FLT_TRUE_MIN), 0, 2 * FLT_TRUE_MIN);
  CHECK_BITS_EQUAL(Log1p(FLT_MIN), FLT_MIN);
  CHECK_NEAR(Log1p(1.0f), std::log(2.0), 2e-7);
  CHECK(std::isnan(Log1p(kNan)));
  CHECK_EQUAL(Log1p(0.75), std::log1p(0.75));
  CHECK(std::isnan(Log1p(static_cast<double>(kNan))));
}

namespace {

// Of every tier, on the floats of [low, high] and on the extremes: the bits of the scalar function.
void CheckLanes(void (*MathKernels::*lanes)(const float*, float*), float (*scalar)(float), float low, float high,
                const std::vector<float>& extremes) {
  for (CpuTier tier : kCpuTiers) {
    if (!CpuSupports(tier)) continue;
    const check::Context context(CpuTierName(tier));
    const MathKernels& kernels = DETLOSS_PICK_PER_TIER(tier, kMathKernels);
    float x[kMathLanes], y[kMathLanes];
    int filled = 0;
    const auto visit = [&](float value) {
      x[filled++] = value;
      if (filled < kMathLanes) return;
      filled = 0;
      (kernels.*lanes)(x, y);
      for (int lane = 0; lane < kMathLanes; ++lane) {
        CHECK(std::isnan(scalar(x[lane])) ? std::isnan(y[lane]) : check::SameBits(y[lane], scalar(x[lane])));
      }
    };
    Sweep(low, high, 4999, visit);
    for (float extreme : extremes) {
      for (int lane = 0; lane < kMathLanes; ++lane) visit(lane % 3 == 0 ? extreme : 1.0f);
    }
  }
}

void CheckDoubleLanes(void (*MathKernels::*lanes)(const double*, double*), double (*scalar)(double), double step) {
  for (CpuTier tier : kCpuTiers) {
    if (!CpuSupports(tier)) continue;
    const check::Context context(CpuTierName(tier));
    double x[kMathLanes], y[kMathLanes];
    for (int lane = 0; lane < kMathLanes; ++lane) x[lane] = (lane + 1) * step;
    (DETLOSS_PICK_PER_TIER(tier, kMathKernels).*lanes)(x, y);
    for (int lane = 0; lane < kMathLanes; ++lane) CHECK_BITS_EQUAL(y[lane], scalar(x[lane]));
  }
}

}  // namespace

TEST(LanesHaveTheBitsOfScalars) {
  CheckLanes(&MathKernels::exp_float, [](float x) { return Exp(x); }, -100.0f, 88.0f,
             {-kInfinity, -FLT_MAX, -87.5f, -87.0f, -0.0f, 0.0f, FLT_TRUE_MIN, 88.0f, kNan});
  CheckLanes(&MathKernels::log_float, [](float x) { return Log(x); }, FLT_MIN, FLT_MAX,
             {FLT_MIN, 0.70710678f, 1.0f, 1.41421356f, FLT_MAX, kInfinity, kNan});
  CheckLanes(&MathKernels::log1p_float, [](float x) { return Log1p(x); }, 0.0f, 1.0f,
             {0.0f, FLT_TRUE_MIN, FLT_MIN, 1.0f, kNan});
  CheckDoubleLanes(&MathKernels::log1p_double, [](double x) { return Log1p(x); }, 0.06);
  CheckDoubleLanes(&MathKernels::exp_double, [](double x) { return Exp(x); }, -5.7);
  CheckDoubleLanes(&MathKernels::log_double, [](double x) { return Log(x); }, 0.31);
}

TEST(FmaRoundsOnce) {
  const float x = 1.0f + FLT_EPSILON;
  CHECK_BITS_EQUAL(Fma(x, x, -1.0f - 2 * FLT_EPSILON), FLT_EPSILON * FLT_EPSILON);
}

namespace {

// `ascending` from the lowest to the largest number.
template <class L>
void CheckOrderedKeys(const std::vector<L>& ascending) {
  for (size_t i = 0; i < ascending.size(); ++i) {
    for (size_t j = 0; j < ascending.size(); ++j) {
      const check::Context context(check::Show(ascending[i]) + " and " + check::Show(ascending[j]));
      CHECK_EQUAL(OrderedKey(ascending[i]) < OrderedKey(ascending[j]), i < j);
    }
  }
  CHECK(OrderedKey(ascending.front()) > kNeverKept<Bits<L>>);
  CHECK_EQUAL(OrderedKey(L(-0.0)), OrderedKey(L(0.0)));
  const L nan = std::numeric_limits<L>::quiet_NaN();
  CHECK(OrderedKey(nan) > OrderedKey(std::numeric_limits<L>::infinity()));
  CHECK_EQUAL(OrderedKey(-nan), OrderedKey(nan));
  CHECK_EQUAL(OrderedKey(std::numeric_limits<L>::signaling_NaN()), OrderedKey(nan));
}

template <class L>
std::vector<L> AscendingNumbers() {
  using Limits = std::numeric_limits<L>;
  std::vector<L> magnitudes = {Limits::denorm_min(),
                               2 * Limits::denorm_min(),
                               Limits::min(),
                               L(1e-15),
                               L(0.5),
                               1 - Limits::epsilon(),
                               1,
                               1 + Limits::epsilon(),
                               3,
                               L(1e30),
                               Limits::max(),
                               Limits::infinity()};
  std::vector<L> ascending = {0};
  for (L magnitude : magnitudes) {
    ascending.insert(ascending.begin(), -magnitude);
    ascending.push_back(magnitude);
  }
  return ascending;
}

}  // namespace

TEST(OrderedKeyOrdersLikeTheNumbers) {
  CheckOrderedKeys(AscendingNumbers<float>());
  CheckOrderedKeys(AscendingNumbers<double>());
}

TEST(OrderedKeyOrdersRandomFloats) {
  Random random(1);
  for (int i = 0; i < 200000; ++i) {
    const float a = FromBits(static_cast<uint32_t>(random.Next())), b = FromBits(static_cast<uint32_t>(random.Next()));
    if (std::isnan(a) || std::isnan(b)) continue;
    CHECK((OrderedKey(a) < OrderedKey(b)) == (a < b));
  }
}

TEST(NanAndInfinityAreTold) {
  CHECK(IsNan(kNan) && !IsNan(kInfinity) && !IsNan(0.0f));
  CHECK(IsFinite(FLT_MAX) && IsFinite(-0.0f) && !IsFinite(kInfinity) && !IsFinite(-kInfinity) && !IsFinite(kNan));
}

namespace {

struct HalfFormat {
  using Type = Half;
  static constexpr int kExponentBits = 5;
};
struct BFloat16Format {
  using Type = BFloat16;
  static constexpr int kExponentBits = 8;
};

constexpr int kCodes = 1 << 16;

// What the bits say, after IEEE 754.
template <class Format>
double Decode(uint16_t bits) {
  constexpr int kFractionBits = 15 - Format::kExponentBits;
  constexpr int kBias = (1 << (Format::kExponentBits - 1)) - 1;
  const int exponent = bits >> kFractionBits & ((1 << Format::kExponentBits) - 1);
  const int fraction = bits & ((1 << kFractionBits) - 1);
  double magnitude;
  if (exponent == (1 << Format::kExponentBits) - 1) {
    magnitude = fraction == 0 ? HUGE_VAL : NAN;
  } else if (exponent == 0) {
    magnitude = std::ldexp(fraction, 1 - kBias - kFractionBits);
  } else {
    magnitude = std::ldexp(fraction + (1 << kFractionBits), exponent - kBias - kFractionBits);
  }
  return bits & 0x8000 ? -magnitude : magnitude;
}

template <class Format>
uint16_t Stored(float x) {
  typename Format::Type value;
  Store(x, &value);
  return value.bits;
}

template <class Format>
void CheckRoundTrips() {
  for (int code = 0; code < kCodes; ++code) {
    const uint16_t bits = static_cast<uint16_t>(code);
    const float value = ToCompute(typename Format::Type{bits});
    const double want = Decode<Format>(bits);
    if (std::isnan(want)) {
      CHECK(std::isnan(value));
      CHECK(std::isnan(Decode<Format>(Stored<Format>(value))));
    } else {
      CHECK_EQUAL(static_cast<double>(value), want);
      CHECK_EQUAL(std::signbit(value), std::signbit(want));
      CHECK_EQUAL(Stored<Format>(value), bits);
    }
  }
}

template <class Format>
constexpr uint16_t InfinityBits() {
  return static_cast<uint16_t>(((1 << Format::kExponentBits) - 1) << (15 - Format::kExponentBits));
}

// Halfway between two neighbours goes to the even one, a float step to either side goes there. Beyond the largest
// number lies infinity, as if it were the next one.
template <class Format>
void CheckRoundingBetweenNeighbours() {
  for (uint16_t below = 0; below < InfinityBits<Format>(); ++below) {
    const uint16_t above = static_cast<uint16_t>(below + 1);
    const double low = Decode<Format>(below);
    const double step = below == 0 ? Decode<Format>(1) : low - Decode<Format>(static_cast<uint16_t>(below - 1));
    const double high = above < InfinityBits<Format>() ? Decode<Format>(above) : low + step;
    const float middle = static_cast<float>((low + high) / 2);
    const uint16_t even = below % 2 == 0 ? below : above;
    for (uint16_t sign : {0, 0x8000}) {
      const float s = sign ? -1.0f : 1.0f;
      CHECK_EQUAL(Stored<Format>(s * middle), even | sign);
      CHECK_EQUAL(Stored<Format>(s * std::nextafter(middle, 0.0f)), below | sign);
      CHECK_EQUAL(Stored<Format>(s * std::nextafter(middle, kInfinity)), above | sign);
      CHECK_EQUAL(Stored<Format>(s * std::nextafter(static_cast<float>(low), kInfinity)), below | sign);
    }
  }
}

template <class Format>
void CheckRoundingOfRandomFloats() {
  std::vector<double> numbers;
  for (uint16_t bits = 0; bits < InfinityBits<Format>(); ++bits) numbers.push_back(Decode<Format>(bits));
  Random random(2);
  for (int i = 0; i < 300000; ++i) {
    const float x = FromBits(static_cast<uint32_t>(random.Next()));
    const double magnitude = std::fabs(static_cast<double>(x));
    if (!(magnitude <= numbers.back())) continue;
    const size_t above = std::lower_bound(numbers.begin(), numbers.end(), magnitude) - numbers.begin();
    size_t nearest = above;
    if (above > 0) {
      const double down = magnitude - numbers[above - 1], up = numbers[above] - magnitude;
      if (down < up || (down == up && above % 2 == 1)) nearest = above - 1;
    }
    CHECK_EQUAL(Stored<Format>(x), nearest | (std::signbit(x) ? 0x8000u : 0));
  }
}

template <class Format>
void CheckNanStaysNan() {
  for (uint32_t bits : {0x7fc00000u, 0xffc00000u, 0x7f800001u, 0xff800001u, 0x7fffffffu, 0xffffffffu}) {
    CHECK(std::isnan(Decode<Format>(Stored<Format>(FromBits(bits)))));
  }
}

template <class Format>
void CheckInfinityStaysInfinity() {
  CHECK_EQUAL(Stored<Format>(kInfinity), InfinityBits<Format>());
  CHECK_EQUAL(Stored<Format>(-kInfinity), InfinityBits<Format>() | 0x8000);
  CHECK_EQUAL(Stored<Format>(FLT_MAX), InfinityBits<Format>());
  CHECK_EQUAL(Stored<Format>(-FLT_MAX), InfinityBits<Format>() | 0x8000);
}

}  // namespace

TEST(HalfRoundTrips) { CheckRoundTrips<HalfFormat>(); }
TEST(HalfRoundsToNearestEven) {
  CheckRoundingBetweenNeighbours<HalfFormat>();
  CheckRoundingOfRandomFloats<HalfFormat>();
}
TEST(HalfKeepsNanAndInfinity) {
  CheckNanStaysNan<HalfFormat>();
  CheckInfinityStaysInfinity<HalfFormat>();
  CHECK_EQUAL(Stored<HalfFormat>(std::nextafter(65520.0f, 0.0f)), 0x7bff);
  CHECK_EQUAL(Stored<HalfFormat>(65520.0f), 0x7c00);
}
TEST(HalfFlushesWhatIsBelowItsSubnormals) {
  CHECK_EQUAL(Stored<HalfFormat>(0x1p-25f), 0);
  CHECK_EQUAL(Stored<HalfFormat>(std::nextafter(0x1p-25f, 1.0f)), 1);
  CHECK_EQUAL(Stored<HalfFormat>(-FLT_TRUE_MIN), 0x8000);
}

TEST(BFloat16RoundTrips) { CheckRoundTrips<BFloat16Format>(); }
TEST(BFloat16RoundsToNearestEven) {
  CheckRoundingBetweenNeighbours<BFloat16Format>();
  CheckRoundingOfRandomFloats<BFloat16Format>();
}
TEST(BFloat16KeepsNanAndInfinity) {
  CheckNanStaysNan<BFloat16Format>();
  CheckInfinityStaysInfinity<BFloat16Format>();
}

}  // namespace detloss
