"""Where an SSD head keeps classes, boxes and the positive flag in its last axis."""

from __future__ import annotations

import dataclasses
from typing import Any

# Both repositories append 12 columns to the classes: 4 offsets and 8 more (prior box and variances, or flag and prior).
_NON_CLASS_COLUMNS = 12


@dataclasses.dataclass(frozen=True)
class SSDLayout:
    """Columns of `y_true` and `y_pred` (`[batch, boxes, width]`). Negative columns count from the end.

    Attributes:
      num_classes: classes with the background as class 0; `None`: the width minus 12, as in both SSD repositories.
      class_column: first class column.
      box_column: first of the four box offset columns.
      positive_column: column of `y_true` that flags positives; `None`: a box is positive by its largest foreground
        class.
    """

    num_classes: int | None = None
    class_column: int = 0
    box_column: int = -12
    positive_column: int | None = None

    def __post_init__(self) -> None:
        if self.num_classes is not None and self.num_classes < 2:
            raise ValueError(f"num_classes: expected at least 2 (background and one more), got {self.num_classes}")

    def resolve(self, width: int) -> SSDLayout:
        """The same layout with every column counted from the start of a row of `width` columns.

        Raises:
          ValueError: the columns do not fit into `width`, or there are fewer than two classes.
        """
        num_classes = width - _NON_CLASS_COLUMNS if self.num_classes is None else self.num_classes
        if num_classes < 2:
            raise ValueError(
                f"layout: expected at least 2 classes (background and one more), got {num_classes} in rows of "
                f"{width} columns"
            )
        resolved = SSDLayout(
            num_classes,
            _from_start(self.class_column, width),
            _from_start(self.box_column, width),
            None if self.positive_column is None else _from_start(self.positive_column, width),
        )
        _check_span("class_column", resolved.class_column, num_classes, width)
        _check_span("box_column", resolved.box_column, 4, width)
        if resolved.positive_column is not None:
            _check_span("positive_column", resolved.positive_column, 1, width)
        return resolved


#: pierluigiferrari/ssd_keras: `[classes, 4 offsets, 8 unused]`.
SSD_KERAS = SSDLayout()
#: rykov8/ssd_keras: `[4 offsets, classes, positive flag, 7 unused]`.
SSD_KERAS_RYKOV8 = SSDLayout(class_column=4, box_column=0, positive_column=-8)

_NAMED = {"ssd_keras": SSD_KERAS, "ssd_keras_rykov8": SSD_KERAS_RYKOV8}


def as_layout(layout: SSDLayout | str | dict[str, Any]) -> SSDLayout:
    """A layout from itself, its name (`"ssd_keras"`, `"ssd_keras_rykov8"`) or its `dataclasses.asdict`."""
    if isinstance(layout, SSDLayout):
        return layout
    if isinstance(layout, dict):
        return SSDLayout(**layout)
    if isinstance(layout, str) and layout in _NAMED:
        return _NAMED[layout]
    raise ValueError(f"layout: expected an SSDLayout or one of {sorted(_NAMED)}, got {layout!r}")


def _from_start(column: int, width: int) -> int:
    return column + width if column < 0 else column


def _check_span(name: str, first: int, count: int, width: int) -> None:
    if first < 0 or first + count > width:
        raise ValueError(
            f"layout: expected {name} to name {count} columns within a row of {width}, got first column {first}"
        )
