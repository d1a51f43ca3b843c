"""Which labels `check_targets` is given, told by their shapes, and how it is called for those of every repository."""

from __future__ import annotations

from collections.abc import Sequence

from detloss.ssd_layout import SSDLayout

_FIRST_CLASS = 5
_CORNER_COLUMNS = 6

#: A shape as far as it is known: of a graph's tensor, dimensions or all of it may be `None`.
Shape = Sequence[int | None] | None

_CALLS = """
Labels of a whole batch, C classes, are checked so, those of
  keras-yolo3, keras-YOLOv3-model-set ([batch, rows, columns, anchors, 5 + C] or a list of them, one per scale):
    check_targets(y_true, num_classes=C)
  yolov3-tf2 ([batch, rows, columns, anchors, 6]):
    check_targets(y_true, target_format="corner", num_classes=C)
  pierluigiferrari's ssd_keras ([batch, boxes, C + 12], the background being a class):
    check_targets(y_true, layout="ssd_keras", num_classes=C)
  rykov8's ssd_keras (the same shape, offsets first):
    check_targets(y_true, layout="ssd_keras_rykov8", num_classes=C)"""


def check_yolov3_shape(name: str, shape: Shape, target_format: str | None, num_classes: int | None) -> None:
    """Checks that labels have the shape that the arguments say, `None` being what the caller left out.

    Raises:
      ValueError: another shape, or one that two formats have.
    """
    if shape is None:
        return
    last = shape[-1] if len(shape) == 5 else None
    if target_format is None and num_classes is None and last == _CORNER_COLUMNS:
        raise ValueError(
            f"{name}: expected target_format or num_classes for 6 columns, which are one class's scores or, in corner "
            f"labels, a class index, got shape {_text(shape)} alone.{_CALLS}"
        )
    if target_format == "corner":
        fits = last is None or last == _CORNER_COLUMNS
    else:
        fits = last is None or (last > _FIRST_CLASS if num_classes is None else last == _FIRST_CLASS + num_classes)
    if len(shape) != 5 or not fits:
        columns = "6" if target_format == "corner" else f"5 + {num_classes or 'C'}"
        raise ValueError(
            f"{name}: expected shape [batch, rows, columns, anchors, {columns}] for {target_format or 'center'} "
            f"labels, got {_text(shape)}.{_CALLS}"
        )


def check_ssd_shape(name: str, shape: Shape, layout: SSDLayout) -> None:
    """Checks that labels have the shape that the layout says.

    Raises:
      ValueError: another shape.
    """
    if shape is None:
        return
    if len(shape) != 3:
        raise ValueError(f"{name}: expected shape [batch, boxes, width] for SSD labels, got {_text(shape)}.{_CALLS}")
    if shape[-1] is not None:
        try:
            layout.resolve(shape[-1])
        except ValueError as error:
            raise ValueError(f"{error}: {name} has shape {_text(shape)}.{_CALLS}") from None


def _text(shape: Sequence[int | None]) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"
