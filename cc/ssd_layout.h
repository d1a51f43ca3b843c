// Where an SSD head keeps classes, offsets and the positive flag in a row.
#ifndef DETLOSS_CC_SSD_LAYOUT_H_
#define DETLOSS_CC_SSD_LAYOUT_H_

#include <cstdint>

#include "cc/status.h"

namespace detloss {

// As the user gives it: negative columns count from the end of the row, no classes means the row's width minus 12
// (both SSD repositories append 12 columns to the classes). With an exact width, rows have 12 columns beside the
// classes, or 4 where the offsets follow classes that begin the row.
struct SsdLayout {
  int64_t num_classes = 0;
  int64_t class_column = 0;
  int64_t box_column = -12;
  bool has_positive_column = false;
  int64_t positive_column = 0;
  bool exact_width = false;
};

// Checks what can be said of the layout when the width of the rows is unknown.
Status CheckLayout(const SsdLayout& layout);

// Fills in what `layout` leaves to the width of the row, and checks that every column lies within it.
Status ResolveLayout(const SsdLayout& layout, int64_t width, SsdLayout* resolved);

}  // namespace detloss

#endif  // DETLOSS_CC_SSD_LAYOUT_H_
