"""What the labels of one YOLOv3 scale say: which cells hold an object, its box and classes, which cells are invalid."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from detloss.label_range import LARGEST_LABEL
from detloss.reference import box_iou

BOX_COLUMNS = 5
_VALUES_SHOWN = 100


class Targets(NamedTuple):
    """Labels of one scale, safe to compute with: whatever takes no part is replaced."""

    valid: tf.Tensor  # bool [B, H, W, A]
    is_object: tf.Tensor  # bool [B, H, W, A]
    objectness: tf.Tensor  # [B, H, W, A], 0 for invalid cells
    boxes: box_iou.Boxes  # of [B, H, W, A], the whole input where there is no object
    classes: tf.Tensor  # [B, H, W, A, C] before smoothing, 0 where there is no object
    class_out_of_range: tf.Tensor  # bool [B, H, W, A]: an invalid cell for its class index, whatever else is wrong


def read_targets(labels: tf.Tensor, num_classes: int | tf.Tensor, target_format: str) -> Targets:
    """Reads labels `[B, H, W, A, 5 + C]`, or `[B, H, W, A, 6]` in the `"corner"` format."""
    x1, y1, x2, y2, objectness = tf.unstack(labels[..., :BOX_COLUMNS], num=BOX_COLUMNS, axis=-1)
    boxes = (box_iou.from_corners if target_format == "corner" else box_iou.from_center)(x1, y1, x2, y2)
    if target_format == "corner":
        classes, good_class = _one_hot(labels[..., BOX_COLUMNS], num_classes)
    else:
        classes = labels[..., BOX_COLUMNS:]
        good_class = tf.reduce_all(_within(classes, 0, LARGEST_LABEL), axis=-1)

    finite = tf.reduce_all(tf.math.is_finite(labels[..., :BOX_COLUMNS]), axis=-1)
    is_object = objectness != 0
    good_coordinates = tf.reduce_all(_within(labels[..., :4], -LARGEST_LABEL, LARGEST_LABEL), axis=-1)
    good_object = good_coordinates & (boxes.w > 0) & (boxes.h > 0) & good_class
    valid = finite & _within(objectness, 0, LARGEST_LABEL) & (~is_object | good_object)
    class_out_of_range = is_object & ~good_class if target_format == "corner" else tf.zeros_like(valid)
    is_object &= valid
    return Targets(
        valid,
        is_object,
        tf.where(is_object, objectness, tf.zeros_like(objectness)),
        _replaced_where_absent(boxes, is_object),
        tf.where(is_object[..., tf.newaxis], classes, tf.zeros_like(classes)),
        class_out_of_range,
    )


def refuse_invalid(targets: Targets, labels: tf.Tensor, scale: int, invalid_targets: str) -> None:
    """Raises `InvalidArgumentError` naming the first cell that `invalid_targets` refuses, at run time."""
    if invalid_targets == "error":
        _refuse_first(
            ~targets.valid,
            labels,
            scale,
            "y_true: expected finite box and objectness labels, objectness of at least 0 and, with an object, "
            f"w and h above 0, nothing beyond {LARGEST_LABEL:g} and a class in range",
        )
    elif invalid_targets == "class_error":
        _refuse_first(targets.class_out_of_range, labels, scale, "y_true: expected a class index in range")


def _refuse_first(refused: tf.Tensor, labels: tf.Tensor, scale: int, expected: str) -> None:

    def refuse() -> tf.Tensor:
        first = tf.argmax(tf.reshape(tf.cast(refused, tf.int32), [-1]), output_type=tf.int32)
        _, height, width, anchors = tf.unstack(tf.shape(refused), num=4)
        cell, anchor = first // anchors, first % anchors
        row, column = cell // width % height, cell % width
        image = cell // width // height
        description = [
            f"{expected}, got in image",
            image,
            "scale",
            scale,
            "cell (row, column)",
            tf.stack([row, column]),
            "anchor",
            anchor,
            "the labels",
            labels[image, row, column, anchor],
        ]
        tf.debugging.Assert(False, description, summarize=_VALUES_SHOWN)
        return tf.constant(False)

    tf.cond(tf.reduce_any(refused), refuse, lambda: tf.constant(True))


def _within(values: tf.Tensor, low: float, high: float) -> tf.Tensor:
    """False for NaN."""
    return (values >= low) & (values <= high)


def _one_hot(index: tf.Tensor, num_classes: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """One-hot rows of class indices, whose fractional part is dropped, and whether the index is in range."""
    in_range = (index >= 0) & (index < tf.cast(num_classes, index.dtype))
    # The cast of a number beyond int32 is undefined.
    integer = tf.cast(tf.where(in_range, index, tf.zeros_like(index)), tf.int32)
    return tf.one_hot(integer, num_classes, dtype=index.dtype), in_range


def _replaced_where_absent(boxes: box_iou.Boxes, is_object: tf.Tensor) -> box_iou.Boxes:
    """The same boxes where there is an object, the whole input elsewhere."""

    def replaced(coordinate: tf.Tensor, by: float) -> tf.Tensor:
        return tf.where(is_object, coordinate, tf.constant(by, coordinate.dtype))

    whole = box_iou.Boxes(x=0.5, y=0.5, w=1.0, h=1.0, left=0.0, top=0.0, right=1.0, bottom=1.0)
    return box_iou.Boxes(*map(replaced, boxes, whole))
