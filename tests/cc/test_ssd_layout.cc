#include <cstdint>
#include <limits>
#include <string>

#include "cc/ssd_layout.h"
#include "tests/cc/check.h"

namespace detloss {
namespace {

void CheckResolves(const SsdLayout& layout, int64_t width, const SsdLayout& want) {
  SsdLayout got;
  const Status status = ResolveLayout(layout, width, &got);
  CHECK_EQUAL(status.message(), "");
  CHECK(status.ok());
  CHECK_EQUAL(got.num_classes, want.num_classes);
  CHECK_EQUAL(got.class_column, want.class_column);
  CHECK_EQUAL(got.box_column, want.box_column);
  CHECK_EQUAL(got.has_positive_column, want.has_positive_column);
  if (want.has_positive_column) CHECK_EQUAL(got.positive_column, want.positive_column);
}

void CheckRefuses(const SsdLayout& layout, int64_t width, const std::string& message) {
  SsdLayout resolved;
  const Status status = ResolveLayout(layout, width, &resolved);
  CHECK(!status.ok());
  CHECK_EQUAL(status.message(), message);
}

}  // namespace

TEST(TheDefaultIsTheLayoutOfSsdKeras) {
  CheckResolves({}, 33, {21, 0, 21, false, 0});
  CheckResolves({}, 14, {2, 0, 2, false, 0});
}

TEST(ColumnsCountFromEitherEnd) {
  CheckResolves({0, 4, 0, true, -8}, 33, {21, 4, 0, true, 25});
  CheckResolves({5, -5, 2, true, 7}, 16, {5, 11, 2, true, 7});
  CheckResolves({2, -2, -6, true, -7}, 7, {2, 5, 1, true, 0});
  CheckResolves({2, 0, -4, false, 0}, 6, {2, 0, 2, false, 0});
}

TEST(ThePositiveColumnMattersOnlyWhereThereIsOne) { CheckResolves({2, 0, 2, false, 99}, 6, {2, 0, 2, false, 0}); }

TEST(TwoClassesAtLeast) {
  const std::string expected = "layout: expected at least 2 classes (background and one more), got ";
  CheckRefuses({}, 13, expected + "1 in rows of 13 columns");
  CheckRefuses({}, 12, expected + "0 in rows of 12 columns");
  CheckRefuses({}, 9, expected + "-3 in rows of 9 columns");
  CheckRefuses({}, 0, expected + "-12 in rows of 0 columns");
  CheckRefuses({1, 0, 4, false, 0}, 33, expected + "1 in rows of 33 columns");
  CheckRefuses({-5, 0, 4, false, 0}, 33, expected + "-5 in rows of 33 columns");
}

TEST(TooFewClassesAreRefusedForAnyWidth) {
  const std::string expected = "layout: expected at least 2 classes (background and one more), got ";
  CHECK_EQUAL(CheckLayout({1, 0, 4, false, 0}).message(), expected + "1");
  CHECK_EQUAL(CheckLayout({-5, 0, 4, false, 0}).message(), expected + "-5");
  CHECK(CheckLayout({}).ok());
  CHECK(CheckLayout({2, 0, 4, false, 0}).ok());
}

TEST(ClassesLieWithinTheRow) {
  const std::string expected = "layout: expected class_column to name 21 columns within a row of 33, got first column ";
  CheckRefuses({0, 13, -12, false, 0}, 33, expected + "13");
  CheckRefuses({0, -20, -12, false, 0}, 33, expected + "13");
  CheckRefuses({0, -34, -12, false, 0}, 33, expected + "-1");
  CheckRefuses({34, 0, 0, false, 0}, 33,
               "layout: expected class_column to name 34 columns within a row of 33, got first column 0");
}

TEST(OffsetsLieWithinTheRow) {
  const std::string expected = "layout: expected box_column to name 4 columns within a row of 33, got first column ";
  CheckRefuses({0, 0, 30, false, 0}, 33, expected + "30");
  CheckRefuses({0, 0, -3, false, 0}, 33, expected + "30");
  CheckRefuses({0, 0, -36, false, 0}, 33, expected + "-3");
}

TEST(ThePositiveFlagLiesWithinTheRow) {
  const std::string expected =
      "layout: expected positive_column to name 1 columns within a row of 33, got first column ";
  CheckRefuses({0, 4, 0, true, 33}, 33, expected + "33");
  CheckRefuses({0, 4, 0, true, -34}, 33, expected + "-1");
}

TEST(ClassesAndOffsetsShareNoColumn) {
  const std::string expected = "layout: expected columns of their own for classes and offsets, got classes in ";
  CheckRefuses({21, 0, -12, false, 0}, 25, expected + "0 to 20 and offsets in 13 to 16 of rows of 25 columns");
  CheckRefuses({3, 2, 0, false, 0}, 9, expected + "2 to 4 and offsets in 0 to 3 of rows of 9 columns");
  CheckResolves({3, 2, 5, false, 0}, 9, {3, 2, 5, false, 0});
}

TEST(AnExactWidthIsThatOfTheClasses) {
  const SsdLayout ssd_keras = {21, 0, 21, false, 0, true}, rykov8 = {21, 4, 0, true, -8, true};
  CheckResolves(ssd_keras, 25, {21, 0, 21, false, 0});
  CheckResolves(ssd_keras, 33, {21, 0, 21, false, 0});
  CheckResolves(rykov8, 33, {21, 4, 0, true, 25});
  const std::string counted = " columns for num_classes=21, which counts the background, got ";
  for (int64_t width : {0, 24, 26, 29, 32, 34, 4096}) {
    CheckRefuses(ssd_keras, width,
                 "num_classes: expected rows of num_classes + 4 = 25 or num_classes + 12 = 33" + counted +
                     std::to_string(width) + " columns");
  }
  CheckRefuses(rykov8, 25, "num_classes: expected rows of num_classes + 12 = 33" + counted + "25 columns");
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  CheckRefuses({kMost, 0, kMost, false, 0, true}, 33,
               "num_classes: expected rows of num_classes + 4 = 9223372036854775811 or num_classes + 12 = "
               "9223372036854775819 columns for num_classes=9223372036854775807, which counts the background, got 33 "
               "columns");
}

TEST(ColumnsBeyondAnyRowAreRefused) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max(), kLeast = std::numeric_limits<int64_t>::min();
  for (const SsdLayout& layout :
       {SsdLayout{kMost, 2, 0, false, 0}, SsdLayout{kLeast, 0, 0, false, 0}, SsdLayout{2, kMost, 0, false, 0},
        SsdLayout{2, kLeast, 0, false, 0}, SsdLayout{2, 0, kMost, false, 0}, SsdLayout{2, 0, kLeast, false, 0},
        SsdLayout{2, 0, 2, true, kMost}, SsdLayout{2, 0, 2, true, kLeast}}) {
    SsdLayout resolved;
    CHECK(!ResolveLayout(layout, 33, &resolved).ok());
  }
}

}  // namespace detloss
