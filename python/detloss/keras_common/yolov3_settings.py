"""What the Keras losses and layers over `detloss.yolov3_loss` keep: its arguments, checked and as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

import detloss
from detloss.ops import arguments
from detloss.option_checks import as_numbers, check_count
from detloss.yolov3_options import as_anchors, as_class_weights, as_grid_sense, as_strides, check_yolov3_options

# x, y, w, h and objectness.
_BOX_COLUMNS = 5
_CORNER_COLUMNS = _BOX_COLUMNS + 1

#: The three scales of YOLOv3, coarsest first; the tiny model has the first two.
STRIDES = (32, 16, 8)


class YOLOv3Settings:
    """Arguments of `detloss.yolov3_loss` but labels and logits, checked when the Keras object is made.

    Args:
      anchors: `[A, 2]`, or `[S, A, 2]` for S scales.
      num_classes: classes, at least 1.
      scales: how many scales; `None`: as many as `anchors` has.
      stride: as `detloss.yolov3_loss` takes it.
      options: the other options of `detloss.yolov3_loss`.

    Raises:
      TypeError: an argument of a wrong type.
      ValueError: an argument out of its range.
    """

    def __init__(
        self,
        anchors: Any,
        num_classes: int,
        *,
        scales: int | None,
        stride: int | Sequence[int] | None,
        options: Mapping[str, Any],
    ) -> None:
        self.anchors = as_anchors(anchors, number_of_scales(anchors) if scales is None else scales)
        self.num_classes = as_num_classes(num_classes)
        self.options = check_yolov3_options(dict(options))
        as_strides(stride, self.scales)
        as_grid_sense(self.options["grid_sense"], self.scales)
        as_class_weights(self.options["class_weights"], self.num_classes)
        self.stride = _plain(stride)
        for sequence in ("grid_sense", "class_weights"):
            self.options[sequence] = _plain(self.options[sequence])

    @property
    def scales(self) -> int:
        """How many scales there are."""
        return len(self.anchors)

    def config(self) -> dict[str, Any]:
        """All arguments but the stride as plain Python values; the anchors `[A, 2]` where there is one scale."""
        anchors = self.anchors if self.scales > 1 else self.anchors[0]
        return {"anchors": anchors.tolist(), "num_classes": self.num_classes, **self.options}

    def loss(self, y_true: Sequence[Any], y_pred: Sequence[Any]) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Loss and components per image of lists of scales. See `detloss.yolov3_loss`.

        Raises:
          ValueError: labels or logits do not fit `num_classes`.
        """
        check_num_classes(
            y_true, y_pred, self.num_classes, self.anchors.shape[1], target_format=self.options["target_format"]
        )
        # Looked up here, not imported above: Keras' registry needs the class long before anyone needs the op library.
        return detloss.yolov3_loss(
            y_true, y_pred, self.anchors, stride=self.stride, return_components=True, **self.options
        )


def number_of_scales(anchors: Any) -> int:
    """How many scales anchors `[A, 2]` or `[S, A, 2]` are for; 1 for any other shape, which a later check refuses."""
    shape = as_numbers("anchors", anchors).shape
    return shape[0] if len(shape) == 3 else 1


def check_num_classes(
    y_true: Sequence[Any], y_pred: Sequence[Any], num_classes: int, num_anchors: int, target_format: str = "center"
) -> None:
    """Raises `ValueError` where the static shape of a scale's labels or logits does not fit the number of classes."""
    row = _BOX_COLUMNS + num_classes
    label_row = row if target_format == "center" else _CORNER_COLUMNS
    for scale, (labels, outputs) in enumerate(zip(y_true, y_pred, strict=True)):
        name = f"[{scale}]" if len(y_pred) > 1 else ""
        _check_columns(f"y_pred{name}", outputs, {4: num_anchors * row, 5: row}, num_classes, num_anchors)
        _check_columns(f"y_true{name}", labels, {5: label_row}, num_classes, num_anchors)


def _check_columns(name: str, tensor: Any, columns: Mapping[int, int], num_classes: int, num_anchors: int) -> None:
    shape = arguments.as_tensor(name, tensor).shape
    if shape.rank is None:
        return
    if shape.rank not in columns:
        raise ValueError(f"{name}: expected rank {' or '.join(map(str, columns))}, got shape {shape}")
    if shape[-1] not in (None, columns[shape.rank]):
        raise ValueError(
            f"{name}: expected {columns[shape.rank]} columns for num_classes={num_classes} and {num_anchors} anchors, "
            f"got shape {shape}"
        )


def mean_over_batch(per_image: tf.Tensor) -> tf.Tensor:
    """The mean of `[B]`, 0 for an empty batch."""
    return tf.math.divide_no_nan(tf.reduce_sum(per_image), tf.cast(tf.size(per_image), per_image.dtype))


def as_num_classes(num_classes: int) -> int:
    """A number of classes as a plain integer.

    Raises:
      TypeError: it is no integer.
      ValueError: it is below 1.
    """
    return check_count("num_classes", num_classes, least=1)


def _plain(value: Any) -> Any:
    # Configurations are JSON: no NumPy values, and no sequence type of Keras' own attribute tracking.
    return value if value is None or type(value) in (int, float) else np.asarray(value).tolist()
