#include "cc/ssd_layout.h"

#include <string>

namespace detloss {
namespace {

constexpr int64_t kNonClassColumns = 12;
constexpr int64_t kFewestClasses = 2;

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
  resolved->class_column = FromStart(layout.class_column, width);
  resolved->box_column = FromStart(layout.box_column, width);
  resolved->positive_column = FromStart(layout.positive_column, width);
  Status status = CheckSpan("class_column", resolved->class_column, resolved->num_classes, width);
  if (status.ok()) status = CheckSpan("box_column", resolved->box_column, 4, width);
  if (status.ok() && layout.has_positive_column) {
    status = CheckSpan("positive_column", resolved->positive_column, 1, width);
  }
  return status;
}

}  // namespace detloss
