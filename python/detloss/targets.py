"""`detloss.check_targets`: the losses' rules for labels, on NumPy arrays, for a data pipeline."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from detloss.label_range import LARGEST_LABEL
from detloss.option_checks import check_count, check_option
from detloss.ssd_layout import SSDLayout, as_layout
from detloss.target_shapes import Shape, check_ssd_shape, check_yolov3_shape
from detloss.yolov3_options import TARGET_FORMATS

_FIRST_CLASS = 5
_MOST_SHOWN = 5
_MOST_VALUES_SHOWN = 30

_Mask = npt.NDArray[np.bool_]
_Labels = npt.NDArray[np.float32]
#: What a label has to be, and where it is not.
_Rule = tuple[str, _Mask]


def check_targets(
    y_true: Any,
    *,
    target_format: str | None = None,
    num_classes: int | None = None,
    layout: SSDLayout | str | None = None,
) -> None:
    """Checks labels by the rules of `yolov3_loss`, or of `ssd_loss` if a layout is given; TensorFlow is not needed.

    A YOLOv3 label is invalid if one of the five box and objectness values is not finite or the objectness is negative;
    with an object (objectness not 0) also if w or h is not above 0, as with swapped corners, a class score is negative
    or not finite, or a class index is not from 0 to below `num_classes`. Anything else is valid: an objectness or class
    score above 1 weights its terms, a row of scores may be all zero, a centre may lie outside the image. Nothing of an
    object may exceed 1e6 in magnitude. The losses leave an invalid cell out and count it in `num_invalid`.

    An SSD label is invalid if a class label (or the positive flag) is not from 0 to 1e6, or an offset of a positive box
    is not within 1e6.

    In a data pipeline, after batching; in a graph the check runs whenever the graph does, and a failure reaches the
    user as `InvalidArgumentError` with the same text:

        def checked(images, y_true):
            detloss.check_targets(y_true, num_classes=80)
            return images, y_true

        dataset = dataset.batch(16).map(checked, num_parallel_calls=tf.data.AUTOTUNE)

    Args:
      y_true: YOLOv3: labels `[B, H, W, A, 5 + C]` (`[B, H, W, A, 6]` for `"corner"`), or a list or tuple of them, one
        per scale. SSD: labels `[B, N, width]`. Any numeric dtype; checked as float32, as the losses read them.
      target_format: `"center"` (x, y, w, h of the centre, relative to the input) or `"corner"` (x1, y1, x2, y2). `None`
        is `"center"`, but labels of 6 columns then need `num_classes`: they could be of either format.
      num_classes: number of classes; needed for `"corner"`, compared with the shape otherwise if given. SSD counts the
        background.
      layout: an `SSDLayout`, `"ssd_keras"` or `"ssd_keras_rykov8"` for SSD labels.

    Raises:
      ValueError: labels are invalid: the text names the first few by image, scale, cell, anchor (image and box for
        SSD), the rule they break and their values, and says how many there are; or an argument is wrong, or labels
        have another shape than the arguments say, and the text tells how labels of every repository are checked.
      TypeError: labels that are no numbers, or are ragged or sparse.
      NotImplementedError: in a function that XLA compiles, which cannot call Python.
    """
    several = layout is None and isinstance(y_true, list | tuple)
    values = list(y_true) if several else [y_true]
    names = [f"y_true[{scale}]" for scale in range(len(values))] if several else ["y_true"]
    if not values:
        raise ValueError("y_true: expected at least one scale, got none")
    kind = _kind_of_labels(target_format, num_classes, layout)

    def check(arrays: Sequence[npt.ArrayLike]) -> None:
        labels = [_as_labels(name, value) for name, value in zip(names, arrays, strict=True)]
        for name, value in zip(names, labels, strict=True):
            kind.check_shape(name, value.shape)
        kind.check(labels)

    # There are tensors of TensorFlow only where somebody imported it.
    if sys.modules.get("tensorflow") is not None:
        from detloss.ops import arguments, target_checks

        for name, value in zip(names, values, strict=True):
            arguments.check_dense(name, value)
        if any(map(target_checks.is_symbolic, values)):
            for name, shape in zip(names, target_checks.check_when_run(check, names, values), strict=True):
                kind.check_shape(name, shape)
            return
    check(values)


class _SSDLabels(NamedTuple):
    layout: SSDLayout

    def check_shape(self, name: str, shape: Shape) -> None:
        check_ssd_shape(name, shape, self.layout)

    def check(self, labels: Sequence[_Labels]) -> None:
        _check_ssd_targets(labels[0], self.layout)


class _YOLOv3Labels(NamedTuple):
    target_format: str | None
    num_classes: int | None

    def check_shape(self, name: str, shape: Shape) -> None:
        check_yolov3_shape(name, shape, self.target_format, self.num_classes)

    def check(self, labels: Sequence[_Labels]) -> None:
        """Of all scales."""
        target_format = self.target_format or "center"
        descriptions: list[str] = []
        invalid = 0
        for scale, values in enumerate(labels):
            rules = _yolov3_rules(values, target_format, self.num_classes)
            names = _YOLOV3_NAMES[target_format]
            found, lines = _broken(values, rules, functools.partial(_name_cell, scale), names)
            invalid += found
            descriptions += lines
        _raise_for(descriptions, invalid, "cells")


def _kind_of_labels(
    target_format: str | None, num_classes: int | None, layout: SSDLayout | str | None
) -> _SSDLabels | _YOLOv3Labels:
    if layout is not None:
        if target_format is not None:
            raise ValueError(f"target_format: expected none beside a layout of SSD labels, got {target_format!r}")
        return _SSDLabels(as_layout(layout, num_classes))
    if target_format is not None:
        check_option("target_format", target_format, TARGET_FORMATS)
    if target_format == "corner" and num_classes is None:
        raise ValueError("num_classes: expected the number of classes, which corner labels do not tell, got None")
    if num_classes is not None:
        check_count("num_classes", num_classes, least=1)
    return _YOLOv3Labels(target_format, num_classes)


_YOLOV3_NAMES = {
    "center": "x, y, w, h, objectness, classes",
    "corner": "x1, y1, x2, y2, objectness, class index",
}


def _name_cell(scale: int, index: Sequence[int]) -> str:
    image, row, column, anchor = index
    return f"image {image}, scale {scale}, cell (row {row}, column {column}), anchor {anchor}"


def _yolov3_rules(labels: _Labels, target_format: str, num_classes: int | None) -> list[_Rule]:
    corner = target_format == "corner"
    with np.errstate(invalid="ignore", over="ignore"):
        w, h = _size(labels, corner)
        objectness = labels[..., 4]
        is_object = objectness != 0
        return [
            ("box and objectness must be finite", ~np.isfinite(labels[..., :_FIRST_CLASS]).all(axis=-1)),
            (f"objectness must be within [0, {LARGEST_LABEL:g}]", ~_is_weight(objectness)),
            (f"coordinates must be within {LARGEST_LABEL:g}", is_object & ~_is_within(labels[..., :4]).all(axis=-1)),
            ("w and h must be above 0", is_object & ~((w > 0) & (h > 0))),
            _class_rule(labels, is_object, num_classes if corner else None),
        ]


def _size(labels: _Labels, corner: bool) -> tuple[_Labels, _Labels]:
    a, b, c, d = np.moveaxis(labels[..., :4], -1, 0)
    return (c - a, d - b) if corner else (c, d)


def _class_rule(labels: _Labels, is_object: _Mask, num_classes: int | None) -> _Rule:
    """`num_classes` for a class index, `None` for class scores."""
    if num_classes is not None:
        index = labels[..., _FIRST_CLASS]
        return f"the class index must be within [0, {num_classes})", is_object & ~((index >= 0) & (index < num_classes))
    # Most cells hold no object: only the others' scores are read.
    bad = np.zeros(is_object.shape, np.bool_)
    bad[is_object] = ~_is_weight(labels[is_object, _FIRST_CLASS:]).all(axis=-1)
    return f"class scores must be within [0, {LARGEST_LABEL:g}]", bad


def _check_ssd_targets(labels: _Labels, layout: SSDLayout) -> None:
    columns = layout.resolve(labels.shape[-1])
    assert columns.num_classes is not None
    classes = labels[..., columns.class_column : columns.class_column + columns.num_classes]
    offsets = labels[..., columns.box_column : columns.box_column + 4]
    rules: list[_Rule] = [
        (f"class labels must be within [0, {LARGEST_LABEL:g}]", np.any(~_is_weight(classes), axis=-1))
    ]
    if columns.positive_column is None:
        positive = classes[..., 1:].max(axis=-1)
    else:
        positive = labels[..., columns.positive_column]
        rules.append((f"the positive flag must be within [0, {LARGEST_LABEL:g}]", ~_is_weight(positive)))
    bad_offsets = (positive != 0) & np.any(~_is_within(offsets), axis=-1)
    rules.append((f"offsets of a positive box must be within {LARGEST_LABEL:g}", bad_offsets))
    found, lines = _broken(labels, rules, lambda index: f"image {index[0]}, box {index[1]}", "labels")
    _raise_for(lines, found, "boxes")


def _is_weight(labels: _Labels) -> _Mask:
    """False for NaN, here and below."""
    return (labels >= 0) & (labels <= LARGEST_LABEL)


def _is_within(labels: _Labels) -> _Mask:
    return (labels >= -LARGEST_LABEL) & (labels <= LARGEST_LABEL)


def _as_labels(name: str, value: Any) -> _Labels:
    try:
        labels = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected an array of numbers, got {type(value).__name__}: {error}") from error
    # ml_dtypes' bfloat16 is of kind V, and a number all the same.
    if labels.dtype.kind not in "fiub" and labels.dtype.name != "bfloat16":
        raise TypeError(f"{name}: expected a numeric dtype, got {labels.dtype} from {type(value).__name__}")
    with np.errstate(over="ignore", invalid="ignore"):
        return labels.astype(np.float32, copy=False)


def _broken(
    labels: _Labels, rules: list[_Rule], name_of: Callable[[Sequence[int]], str], names: str
) -> tuple[int, list[str]]:
    """How many labels break a rule, and a line about each of the first few."""
    invalid = np.any([broken for _, broken in rules], axis=0)
    lines = []
    for index in np.argwhere(invalid)[:_MOST_SHOWN]:
        place = tuple(int(part) for part in index)
        reason = next(rule for rule, broken in rules if broken[place])
        lines.append(f"{name_of(place)}: {reason}, got {names} = {_shown(labels[place])}")
    return int(np.count_nonzero(invalid)), lines


def _shown(values: _Labels) -> str:
    shown = ", ".join(f"{value:g}" for value in values[:_MOST_VALUES_SHOWN])
    return shown if len(values) <= _MOST_VALUES_SHOWN else f"{shown}, ... ({len(values)} values)"


def _raise_for(lines: list[str], invalid: int, what: str) -> None:
    if not invalid:
        return
    shown = lines[:_MOST_SHOWN]
    more = f"\n  and {invalid - len(shown)} more" if invalid > len(shown) else ""
    raise ValueError(f"y_true: expected valid labels, got {invalid} invalid {what}:\n  " + "\n  ".join(shown) + more)
