"""What the labels of one YOLOv3 scale say: which cells hold an object, its box and classes, which cells are invalid."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

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


def read_targets(labels: tf.Tensor, num_classes: int | tf.Tensor, target_format: str) -> Targets:
    """Reads labels `[B, H, W, A, 5 + C]`, or `[B, H, W, A, 6]` in the `"corner"` format."""
    x1, y1, x2, y2, objectness = tf.unstack(labels[..., :BOX_COLUMNS], num=BOX_COLUMNS, axis=-1)
    boxes = (box_iou.from_corners if target_format == "corner" else box_iou.from_center)(x1, y1, x2, y2)
    if target_format == "corner":
        classes, has_class = _one_hot(labels[..., BOX_COLUMNS], num_classes)
    else:
        classes = labels[..., BOX_COLUMNS:]
        has_class = tf.reduce_all(_within(classes, 0, 1), axis=-1) & tf.reduce_any(classes > 0, axis=-1)

    finite = tf.reduce_all(tf.math.is_finite(labels[..., :BOX_COLUMNS]), axis=-1)
    is_object = objectness != 0
    good_object = _is_good_box(boxes) & has_class
    valid = finite & _within(objectness, 0, 1) & (~is_object | good_object)
    is_object &= valid
    return Targets(
        valid,
        is_object,
        tf.where(is_object, objectness, tf.zeros_like(objectness)),
        _replaced_where_absent(boxes, is_object),
        tf.where(is_object[..., tf.newaxis], classes, tf.zeros_like(classes)),
    )


def refuse_invalid(valid: tf.Tensor, labels: tf.Tensor, scale: int) -> None:
    """Raises `InvalidArgumentError` naming the first invalid cell, at run time."""

    def refuse() -> tf.Tensor:
        first = tf.argmax(tf.reshape(tf.cast(~valid, tf.int32), [-1]), output_type=tf.int32)
        _, height, width, anchors = tf.unstack(tf.shape(valid), num=4)
        cell, anchor = first // anchors, first % anchors
        row, column = cell // width % height, cell % width
        image = cell // width // height
        description = [
            "y_true: expected finite box and objectness labels, objectness within [0, 1] and, with an object, "
            "x and y within [0, 1], w and h above 0, w * h below 2 and a class in range, got in image",
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

    tf.cond(tf.reduce_all(valid), lambda: tf.constant(True), refuse)


def _within(values: tf.Tensor, low: float, high: float) -> tf.Tensor:
    """False for NaN."""
    return (values >= low) & (values <= high)


def _is_good_box(boxes: box_iou.Boxes) -> tf.Tensor:
    centred = _within(boxes.x, 0, 1) & _within(boxes.y, 0, 1)
    return centred & (boxes.w > 0) & (boxes.h > 0) & (boxes.w * boxes.h < 2)


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
