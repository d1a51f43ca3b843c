"""Options of the YOLOv3 loss: their values, and the checks that op, reference and Keras losses share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from detloss.option_checks import check_count, check_non_negative, check_option

COMPARATORS = ("<", "<=")
IGNORE_SCOPES = ("scale", "image")
IOU_LOSSES = ("iou", "giou", "diou", "ciou", "siou")
BOX_LOSSES = ("classic", "squared", *IOU_LOSSES)
CLASS_LOSSES = ("sigmoid", "softmax", "normalized_sigmoid", "none")
FOCAL_CLASS_LOSSES = ("sigmoid", "softmax")
TARGET_FORMATS = ("center", "corner")
INVALID_TARGETS = ("ignore", "error")
WEIGHTS = ("box_weight", "object_weight", "no_object_weight", "class_weight")


def check_ignore_options(ignore_thresh: float, comparator: str) -> None:
    """Raises `TypeError` or `ValueError` for an option of the ignore mask that is out of its range."""
    check_non_negative("ignore_thresh", ignore_thresh)
    check_option("comparator", comparator, COMPARATORS)


def check_yolov3_options(options: dict[str, Any]) -> None:
    """Raises `TypeError` or `ValueError` for an option of `yolov3_loss` that is out of its range by itself."""
    check_ignore_options(options["ignore_thresh"], options["comparator"])
    check_option("ignore_scope", options["ignore_scope"], IGNORE_SCOPES)
    check_option("box_loss", options["box_loss"], BOX_LOSSES)
    check_option("class_loss", options["class_loss"], CLASS_LOSSES)
    check_option("target_format", options["target_format"], TARGET_FORMATS)
    check_option("invalid_targets", options["invalid_targets"], INVALID_TARGETS)
    if options["class_focal"] and options["class_loss"] not in FOCAL_CLASS_LOSSES:
        raise ValueError(
            f"class_focal: expected class_loss to be one of {sorted(FOCAL_CLASS_LOSSES)}, got {options['class_loss']!r}"
        )
    check_non_negative("label_smoothing", options["label_smoothing"])
    if options["label_smoothing"] >= 1:
        raise ValueError(f"label_smoothing: expected a number below 1, got {options['label_smoothing']!r}")
    for weight in WEIGHTS:
        check_non_negative(weight, options[weight])


def as_anchors(anchors: Any, scales: int) -> npt.NDArray[np.float64]:
    """`anchors` as `[scales, A, 2]`.

    Raises:
      ValueError: another shape, or an anchor that is not finite and positive.
    """
    array = np.asarray(anchors, np.float64)
    if array.ndim == 2 and scales == 1:
        array = array[None]
    if array.ndim != 3 or array.shape[0] != scales or array.shape[1] < 1 or array.shape[2] != 2:
        shape = "[A, 2]" if scales == 1 else f"[{scales}, A, 2]"
        raise ValueError(f"anchors: expected shape {shape} for {scales} scale(s), got {list(array.shape)}")
    if not (np.isfinite(array).all() and (array > 0).all()):
        raise ValueError(f"anchors: expected finite widths and heights above 0, got {array.tolist()}")
    return array


def as_strides(stride: int | Sequence[int] | None, scales: int) -> tuple[int, ...]:
    """One stride per scale; 0 where anchors are relative to the input.

    Raises:
      TypeError: a stride that is no integer.
      ValueError: a stride below 1, or not as many as there are scales.
    """
    if stride is None:
        return (0,) * scales
    strides = tuple(stride) if isinstance(stride, Sequence | np.ndarray) else (stride,) * scales
    if len(strides) != scales:
        raise ValueError(f"stride: expected one integer or {scales}, one per scale, got {stride!r}")
    for value in strides:
        check_count("stride", value)
        if value < 1:
            raise ValueError(f"stride: expected at least 1, got {stride!r}")
    return tuple(int(value) for value in strides)


def as_grid_sense(grid_sense: float | Sequence[float] | None, scales: int) -> tuple[float, ...]:
    """One factor per scale, 1 where the sigmoid is taken as it is.

    Raises:
      TypeError: a factor that is no number.
      ValueError: a factor below 1, or not as many as there are scales.
    """
    if grid_sense is None:
        return (1.0,) * scales
    factors = tuple(grid_sense) if isinstance(grid_sense, Sequence | np.ndarray) else (grid_sense,) * scales
    if len(factors) != scales:
        raise ValueError(f"grid_sense: expected one number or {scales}, one per scale, got {grid_sense!r}")
    for value in factors:
        check_non_negative("grid_sense", value)
        if value < 1:
            raise ValueError(f"grid_sense: expected at least 1, got {grid_sense!r}")
    return tuple(float(value) for value in factors)


def as_class_weights(class_weights: Sequence[float] | None, num_classes: int | None) -> tuple[float, ...]:
    """One weight per class; empty for equal weights.

    Raises:
      TypeError: a weight that is no number.
      ValueError: a negative weight, or not as many as there are classes.
    """
    if class_weights is None:
        return ()
    weights = tuple(class_weights)
    if not weights or (num_classes is not None and len(weights) != num_classes):
        raise ValueError(f"class_weights: expected {num_classes or 'some'} weights, one per class, got {len(weights)}")
    for value in weights:
        check_non_negative("class_weights", value)
    return tuple(float(value) for value in weights)
