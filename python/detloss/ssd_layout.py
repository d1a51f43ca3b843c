"""Where an SSD head keeps classes, boxes and the positive flag in its last axis."""

from __future__ import annotations

import dataclasses
from typing import Any

from detloss.option_checks import check_count, check_flag

# Both repositories append 12 columns to the classes: 4 offsets and 8 more (prior box and variances, or flag and prior).
_NON_CLASS_COLUMNS = 12
_OFFSETS = 4


@dataclasses.dataclass(frozen=True)
class SSDLayout:
    """Columns of `y_true` and `y_pred` (`[batch, boxes, width]`). Negative columns count from the end.

    Attributes:
      num_classes: classes with the background as class 0; `None`: the width minus 12, as in both SSD repositories.
      class_column: first class column.
      box_column: first of the four box offset columns.
      positive_column: column of `y_true` that flags positives; `None`: a box is positive by its largest foreground
        class.
      exact_width: whether rows have to be `num_classes + 12` columns wide, or `num_classes + 4` where the offsets
        follow classes that begin the row. Else they may have any number of unused columns.

    Raises:
      TypeError: a column that is no integer.
      ValueError: fewer than two classes, or columns that no row has.
    """

    num_classes: int | None = None
    class_column: int = 0
    box_column: int = -12
    positive_column: int | None = None
    exact_width: bool = False

    def __post_init__(self) -> None:
        if self.num_classes is not None:
            self._keep("num_classes", check_count("num_classes", self.num_classes, least=2))
        self._keep_column("class_column", self.num_classes or 2)
        self._keep_column("box_column", _OFFSETS)
        if self.positive_column is not None:
            self._keep_column("positive_column", 1)
        self._keep("exact_width", check_flag("exact_width", self.exact_width))

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
        if self.exact_width:
            self._check_exact_width(num_classes, width)
        class_column = _from_start("class_column", self.class_column, num_classes, width)
        box_column = _from_start("box_column", self.box_column, _OFFSETS, width)
        _check_apart(class_column, class_column + num_classes, box_column, box_column + _OFFSETS, width)
        positive_column = self.positive_column
        if positive_column is not None:
            positive_column = _from_start("positive_column", positive_column, 1, width)
        return SSDLayout(num_classes, class_column, box_column, positive_column, self.exact_width)

    def exact_widths(self, num_classes: int) -> tuple[int, ...]:
        """The widths that `exact_width` leaves rows of so many classes."""
        may_end_in_offsets = self.class_column == 0 and self.box_column == num_classes
        beside = (_OFFSETS, _NON_CLASS_COLUMNS) if may_end_in_offsets else (_NON_CLASS_COLUMNS,)
        return tuple(num_classes + columns for columns in beside)

    def _check_exact_width(self, num_classes: int, width: int) -> None:
        widths = self.exact_widths(num_classes)
        if width not in widths:
            expected = " or ".join(f"num_classes + {total - num_classes} = {total}" for total in widths)
            raise ValueError(
                f"num_classes: expected rows of {expected} columns for num_classes={num_classes}, which counts the "
                f"background, got {width} columns"
            )

    def _keep_column(self, name: str, count: int) -> None:
        column = check_count(name, getattr(self, name), least=None)
        if -count < column < 0:
            raise ValueError(f"layout: expected {name} to name {count} columns within a row, got first column {column}")
        self._keep(name, column)

    def _keep(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


#: pierluigiferrari/ssd_keras: `[classes, 4 offsets, 8 unused]`.
SSD_KERAS = SSDLayout()
#: rykov8/ssd_keras: `[4 offsets, classes, positive flag, 7 unused]`.
SSD_KERAS_RYKOV8 = SSDLayout(class_column=4, box_column=0, positive_column=-8)

_NAMED = {"ssd_keras": SSD_KERAS, "ssd_keras_rykov8": SSD_KERAS_RYKOV8}


def as_layout(layout: SSDLayout | str | dict[str, Any], num_classes: int | None = None) -> SSDLayout:
    """A layout from itself, its name (`"ssd_keras"`, `"ssd_keras_rykov8"`) or its `dataclasses.asdict`.

    With `num_classes` it takes rows of exactly that many classes and 12 more columns, and the layout of ssd_keras rows
    of classes and offsets alone, too; a layout that says its number of classes itself stays as it is.

    Raises:
      TypeError: an argument of a wrong type.
      ValueError: an unknown layout, or one with another number of classes.
    """
    columns = _as_columns(layout)
    if num_classes is None:
        return columns
    num_classes = check_count("num_classes", num_classes, least=2)
    if columns.num_classes is None:
        box_column = num_classes if columns == SSD_KERAS else columns.box_column
        return dataclasses.replace(columns, num_classes=num_classes, box_column=box_column, exact_width=True)
    if columns.num_classes != num_classes:
        raise ValueError(f"num_classes: expected {columns.num_classes}, which the layout says, got {num_classes}")
    return columns


def _as_columns(layout: SSDLayout | str | dict[str, Any]) -> SSDLayout:
    if isinstance(layout, SSDLayout):
        return layout
    if isinstance(layout, dict):
        fields = [field.name for field in dataclasses.fields(SSDLayout)]
        if unknown := sorted(set(layout) - set(fields), key=str):
            raise ValueError(f"layout: expected a dict of {', '.join(fields)}, got {unknown} in it")
        return SSDLayout(**layout)
    if not isinstance(layout, str):
        raise TypeError(f"layout: expected an SSDLayout or one of {sorted(_NAMED)}, got {layout!r}")
    if layout not in _NAMED:
        raise ValueError(f"layout: expected an SSDLayout or one of {sorted(_NAMED)}, got {layout!r}")
    return _NAMED[layout]


def _from_start(name: str, column: int, count: int, width: int) -> int:
    first = column + width if column < 0 else column
    if first < 0 or first + count > width:
        raise ValueError(
            f"layout: expected {name} to name {count} columns within a row of {width}, got first column {first}"
        )
    return first


def _check_apart(class_column: int, class_end: int, box_column: int, box_end: int, width: int) -> None:
    """Classes and offsets share no column, as those of a layout made for wider rows do."""
    if box_column < class_end and class_column < box_end:
        raise ValueError(
            f"layout: expected columns of their own for classes and offsets, got classes in {class_column} to "
            f"{class_end - 1} and offsets in {box_column} to {box_end - 1} of rows of {width} columns"
        )
