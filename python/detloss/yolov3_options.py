"""Options of the YOLOv3 loss: their values, and the checks that op, reference and Keras losses share."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from detloss.option_checks import (
    as_numbers,
    as_sequence,
    check_count,
    check_flag,
    check_number,
    check_option,
)

COMPARATORS = ("<", "<=")
IGNORE_SCOPES = ("scale", "image")
IOU_LOSSES = ("iou", "giou", "diou", "ciou", "siou")
BOX_LOSSES = ("classic", "squared", *IOU_LOSSES)
CLASS_LOSSES = ("sigmoid", "softmax", "normalized_sigmoid", "none")
FOCAL_CLASS_LOSSES = ("sigmoid", "softmax")
TARGET_FORMATS = ("center", "corner")
INVALID_TARGETS = ("ignore", "silent", "error", "class_error")
WEIGHTS = ("box_weight", "object_weight", "no_object_weight", "class_weight")

# Anchors are divided by: no subnormal float32 is one.
_SMALLEST_ANCHOR = np.finfo(np.float32).tiny
_LARGEST_STRIDE = 2**20


def check_ignore_options(ignore_thresh: float, comparator: str) -> dict[str, Any]:
    """The options of the ignore mask as plain Python values.

    Raises:
      TypeError: an option is of a wrong type.
      ValueError: an option is out of its range.
    """
    return dict(
        ignore_thresh=check_number("ignore_thresh", ignore_thresh),
        comparator=check_option("comparator", comparator, COMPARATORS),
    )


def check_yolov3_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options of `yolov3_loss` as plain Python values, but for those with a value per scale or class, as they came.

    Raises:
      TypeError: an option is of a wrong type.
      ValueError: an option is out of its range by itself.
    """
    checked = dict(
        options,
        **check_ignore_options(options["ignore_thresh"], options["comparator"]),
        ignore_scope=check_option("ignore_scope", options["ignore_scope"], IGNORE_SCOPES),
        box_loss=check_option("box_loss", options["box_loss"], BOX_LOSSES),
        class_loss=check_option("class_loss", options["class_loss"], CLASS_LOSSES),
        class_focal=check_flag("class_focal", options["class_focal"]),
        objectness_focal=check_flag("objectness_focal", options["objectness_focal"]),
        label_smoothing=check_number("label_smoothing", options["label_smoothing"], below=1),
        target_format=check_option("target_format", options["target_format"], TARGET_FORMATS),
        invalid_targets=check_option("invalid_targets", options["invalid_targets"], INVALID_TARGETS),
        **{weight: check_number(weight, options[weight]) for weight in WEIGHTS},
    )
    if checked["class_focal"] and checked["class_loss"] not in FOCAL_CLASS_LOSSES:
        raise ValueError(
            f"class_focal: expected class_loss to be one of {sorted(FOCAL_CLASS_LOSSES)}, got {options['class_loss']!r}"
        )
    return checked


def as_anchors(anchors: Any, scales: int) -> npt.NDArray[np.float64]:
    """`anchors` as `[scales, A, 2]`.

    Raises:
      TypeError: anchors that are no numbers in an array or in lists.
      ValueError: another shape, or an anchor that is not finite and positive.
    """
    array = as_numbers("anchors", anchors)
    if array.ndim == 2 and scales == 1:
        array = array[None]
    if array.ndim != 3 or array.shape[0] != scales or array.shape[1] < 1 or array.shape[2] != 2:
        shape = "[A, 2]" if scales == 1 else f"[{scales}, A, 2]"
        raise ValueError(f"anchors: expected shape {shape} for {scales} scale(s), got {list(array.shape)}")
    with np.errstate(over="ignore"):
        rounded = array.astype(np.float32)  # as the kernels see them
    if not (np.isfinite(rounded) & (rounded >= _SMALLEST_ANCHOR)).all():
        raise ValueError(
            f"anchors: expected finite widths and heights above 0 within the range of float32, got {array.tolist()}"
        )
    return array


def as_strides(stride: int | Sequence[int] | None, scales: int) -> tuple[int, ...]:
    """One stride per scale; 0 where anchors are relative to the input.

    Raises:
      TypeError: a stride that is no integer.
      ValueError: a stride below 1 or above 2^20, or not as many as there are scales.
    """
    if stride is None:
        return (0,) * scales
    strides = _one_per_scale("stride", stride, "integer", scales)
    return tuple(check_count("stride", value, least=1, most=_LARGEST_STRIDE) for value in strides)


def as_grid_sense(grid_sense: float | Sequence[float] | None, scales: int) -> tuple[float, ...]:
    """One factor per scale, 1 where the sigmoid is taken as it is.

    Raises:
      TypeError: a factor that is no number.
      ValueError: a factor below 1, or not as many as there are scales.
    """
    if grid_sense is None:
        return (1.0,) * scales
    factors = _one_per_scale("grid_sense", grid_sense, "number", scales)
    return tuple(check_number("grid_sense", value, least=1) for value in factors)


def as_class_weights(class_weights: Sequence[float] | None, num_classes: int | None) -> tuple[float, ...]:
    """One weight per class; empty for equal weights.

    Raises:
      TypeError: a weight that is no number.
      ValueError: a negative weight, or not as many as there are classes.
    """
    if class_weights is None:
        return ()
    weights = as_sequence("class_weights", class_weights, "a list of numbers, one per class")
    if not weights or (num_classes is not None and len(weights) != num_classes):
        raise ValueError(f"class_weights: expected {num_classes or 'some'} weights, one per class, got {len(weights)}")
    return tuple(check_number("class_weights", value) for value in weights)


def _one_per_scale(name: str, value: Any, kind: str, scales: int) -> list[Any]:
    """A sequence of as many items as there are scales, or the one value for each of them."""
    if isinstance(value, numbers.Number):
        return [value] * scales
    values = as_sequence(name, value, f"one {kind} or a list of them, one per scale")
    if len(values) != scales:
        raise ValueError(f"{name}: expected one {kind} or {scales}, one per scale, got {value!r}")
    return values
