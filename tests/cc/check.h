// What the tests need of a test framework: a failed check prints where, what and the values, and the test goes on.
#ifndef DETLOSS_TESTS_CC_CHECK_H_
#define DETLOSS_TESTS_CC_CHECK_H_

#include <cmath>
#include <cstdint>
#include <cstring>
#include <iomanip>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

namespace detloss {
namespace check {

// Adds a test to those that main runs.
class Registration {
 public:
  Registration(const char* name, void (*body)());
};

// Names the case at hand in the failures of its scope.
class Context {
 public:
  explicit Context(std::string text);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
};

void Fail(const char* file, int line, const std::string& what);

template <class V>
std::string Show(const V& value) {
  std::ostringstream text;
  if constexpr (std::is_integral_v<V>) {
    text << +value;
  } else {
    text << std::setprecision(17) << value;
  }
  return text.str();
}

// Equal NaNs count as near, and so do equal infinities.
inline bool Near(double a, double b, double tolerance) {
  return std::isnan(b) ? std::isnan(a) : a == b || std::fabs(a - b) <= tolerance;
}

template <class V>
bool SameBits(const V& a, const V& b) {
  static_assert(std::is_trivially_copyable_v<V>);
  return std::memcmp(&a, &b, sizeof(V)) == 0;
}
template <class V>
bool SameBits(const std::vector<V>& a, const std::vector<V>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(V)) == 0);
}

template <class V>
std::string ShowBits(const V& value) {
  uint8_t bytes[sizeof(V)];
  std::memcpy(bytes, &value, sizeof(V));
  std::ostringstream text;
  text << "0x" << std::hex << std::setfill('0');
  for (size_t i = sizeof(V); i-- > 0;) text << std::setw(2) << static_cast<int>(bytes[i]);
  return text.str();
}

template <class V>
std::string ShowDifference(const V& a, const V& b) {
  return ShowBits(a) + " against " + ShowBits(b);
}
template <class V>
std::string ShowDifference(const std::vector<V>& a, const std::vector<V>& b) {
  if (a.size() != b.size()) return Show(a.size()) + " elements against " + Show(b.size());
  size_t i = 0;
  while (SameBits(a[i], b[i])) ++i;
  return "element " + Show(i) + " is " + ShowDifference(a[i], b[i]);
}

}  // namespace check
}  // namespace detloss

#define TEST(name)                                                                \
  static void Test##name();                                                       \
  static const ::detloss::check::Registration kRegister##name(#name, Test##name); \
  static void Test##name()

#define CHECK(condition)                                                                   \
  do {                                                                                     \
    if (!(condition)) ::detloss::check::Fail(__FILE__, __LINE__, "CHECK(" #condition ")"); \
  } while (false)

#define CHECK_EQUAL(got, want)                                                                             \
  do {                                                                                                     \
    const auto check_got = (got);                                                                          \
    const auto check_want = (want);                                                                        \
    if (!(check_got == check_want)) {                                                                      \
      ::detloss::check::Fail(__FILE__, __LINE__,                                                           \
                             #got " is " + ::detloss::check::Show(check_got) + ", expected " #want " = " + \
                                 ::detloss::check::Show(check_want));                                      \
    }                                                                                                      \
  } while (false)

#define CHECK_NEAR(got, want, tolerance)                                                                   \
  do {                                                                                                     \
    const double check_got = (got), check_want = (want), check_tolerance = (tolerance);                    \
    if (!::detloss::check::Near(check_got, check_want, check_tolerance)) {                                 \
      ::detloss::check::Fail(__FILE__, __LINE__,                                                           \
                             #got " is " + ::detloss::check::Show(check_got) + ", expected " #want " = " + \
                                 ::detloss::check::Show(check_want) + " within " +                         \
                                 ::detloss::check::Show(check_tolerance));                                 \
    }                                                                                                      \
  } while (false)

// For values and for vectors of them.
#define CHECK_BITS_EQUAL(got, want)                                                                    \
  do {                                                                                                 \
    const auto& check_got = (got);                                                                     \
    const auto& check_want = (want);                                                                   \
    if (!::detloss::check::SameBits(check_got, check_want)) {                                          \
      ::detloss::check::Fail(                                                                          \
          __FILE__, __LINE__,                                                                          \
          #got " differs from " #want ": " + ::detloss::check::ShowDifference(check_got, check_want)); \
    }                                                                                                  \
  } while (false)

#endif  // DETLOSS_TESTS_CC_CHECK_H_
