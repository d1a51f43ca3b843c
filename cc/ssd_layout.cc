#include "cc/ssd_layout.h"

#include <cstdint>
#include <string>

namespace detloss {
namespace {

constexpr int64_t kNonClassColumns = 12;
constexpr int64_t kOffsets = 4;
constexpr int64_t kFewestClasses = 2;

// That the row is as wide as its classes say.
Status CheckExactWidth(const SsdLayout& layout, int64_t width) {
  const int64_t classes = layout.num_classes, more = width - classes;
  const bool may_end_in_offsets = layout.class_column == 0 && layout.box_column == classes;
  if (more == kNonClassColumns || (may_end_in_offsets && more == kOffsets)) return Status::Ok();
  const auto sum = [&](int64_t columns) {
    const uint64_t total = static_cast<uint64_t>(classes) + static_cast<uint64_t>(columns);
    return "num_classes + " + std::to_string(columns) + " = " + std::to_string(total);
  };
  return Status::InvalidArgument("num_classes: expected rows of " +
                                 (may_end_in_offsets ? sum(kOffsets) + " or " : std::string()) + sum(kNonClassColumns) +
                                 " columns for num_classes=" + std::to_string(classes) +
                                 ", which counts the background, got " + std::to_string(width) + " columns");
}

// That classes and offsets share no column, as those of a layout made for wider rows do.
Status CheckApart(const SsdLayout& resolved, int64_t width) {
  const int64_t class_end = resolved.class_column + resolved.num_classes, box_end = resolved.box_column + kOffsets;
  if (class_end <= resolved.box_column || box_end <= resolved.class_column) return Status::Ok();
  const auto span = [](int64_t first, int64_t end) { return std::to_string(first) + " to " + std::to_string(end - 1); };
  return Status::InvalidArgument("layout: expected columns of their own for classes and offsets, got classes in " +
                                 span(resolved.class_column, class_end) + " and offsets in " +
                                 span(resolved.box_column, box_end) + " of rows of " + std::to_string(width) +
                                 " columns");
}

Status FewClasses(const std::string& found) {
  return Status::InvalidArgument("layout: expected at least " + std::to_string(kFewestClasses) +
                                 " classes (background and one more), got " + found);
}

Status CheckSpan(const char* name, int64_t first, int64_t count, int64_t width) {
  if (first >= 0 && count <= width && first <= width - count) return Status::Ok();
  return Status::InvalidArgument("layout: expected " + std::string(name) + " to name " + std::to_string(count) +
                                 " columns within a row of " + std::to_string(width) + ", got first column " +
                                 std::to_string(first));
}

int64_t FromStart(int64_t column, int64_t width) { return column < 0 ? column + width : column; }

}  // namespace

Status CheckLayout(const SsdLayout& layout) {
  if (layout.num_classes == 0 || layout.num_classes >= kFewestClasses) return Status::Ok();
  return FewClasses(std::to_string(layout.num_classes));
}

Status ResolveLayout(const SsdLayout& layout, int64_t width, SsdLayout* resolved) {
  *resolved = layout;
  if (layout.num_classes == 0) resolved->num_classes = width - kNonClassColumns;
  if (resolved->num_classes < kFewestClasses) {
    return FewClasses(std::to_string(resolved->num_classes) + " in rows of " + std::to_string(width) + " columns");
  }
  if (layout.exact_width) {
    const Status status = CheckExactWidth(*resolved, width);
    if (!status.ok()) return status;
  }
  resolved->class_column = FromStart(layout.class_column, width);
  resolved->box_column = FromStart(layout.box_column, width);
  resolved->positive_column = FromStart(layout.positive_column, width);
  Status status = CheckSpan("class_column", resolved->class_column, resolved->num_classes, width);
  if (status.ok()) status = CheckSpan("box_column", resolved->box_column, kOffsets, width);
  if (status.ok()) status = CheckApart(*resolved, width);
  if (status.ok() && layout.has_positive_column) {
    status = CheckSpan("positive_column", resolved->positive_column, 1, width);
  }
  return status;
}

}  // namespace detloss
