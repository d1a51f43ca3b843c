"""Overlap of boxes in plain TensorFlow: IoU and the similarities built on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

_EPSILON = 1e-7


class Boxes(NamedTuple):
    """Boxes by centre, size and corners, all of the same shape and relative to the input."""

    x: tf.Tensor
    y: tf.Tensor
    w: tf.Tensor
    h: tf.Tensor
    left: tf.Tensor
    top: tf.Tensor
    right: tf.Tensor
    bottom: tf.Tensor

    def map(self, function: Callable[[tf.Tensor], tf.Tensor]) -> Boxes:
        """The boxes with the function applied to every coordinate."""
        return Boxes(*map(function, self))


def from_center(x: tf.Tensor, y: tf.Tensor, w: tf.Tensor, h: tf.Tensor) -> Boxes:
    """Boxes from centre and size."""
    return Boxes(x, y, w, h, x - w / 2, y - h / 2, x + w / 2, y + h / 2)


def from_corners(left: tf.Tensor, top: tf.Tensor, right: tf.Tensor, bottom: tf.Tensor) -> Boxes:
    """Boxes from corners, which stay as they are; width and height are negative where the corners are swapped."""
    return Boxes((left + right) / 2, (top + bottom) / 2, right - left, bottom - top, left, top, right, bottom)


def intersection(boxes: Boxes, others: Boxes) -> tf.Tensor:
    """Area that the boxes share with the others, of the broadcast shape.

    Where two corners coincide the first boxes' corner counts: the gradient goes there.
    """
    width = tf.minimum(boxes.right, others.right) - tf.maximum(boxes.left, others.left)
    height = tf.minimum(boxes.bottom, others.bottom) - tf.maximum(boxes.top, others.top)
    return tf.maximum(width, 0) * tf.maximum(height, 0)


def pairwise_iou(boxes: Boxes, others: Boxes) -> tf.Tensor:
    """IoU of every one of `boxes` (`[B, N]`) with every one of the same image's `others` (`[B, M]`): `[B, N, M]`."""
    boxes = boxes.map(lambda coordinate: coordinate[:, :, tf.newaxis])
    others = others.map(lambda coordinate: coordinate[:, tf.newaxis, :])
    shared = intersection(boxes, others)
    return shared / (boxes.w * boxes.h + others.w * others.h - shared)


def similarity(kind: str, true: Boxes, predicted: Boxes) -> tf.Tensor:
    """How well predicted boxes match the true ones: 1 where they are equal.

    As david8862/keras-YOLOv3-model-set defines them, with 1e-7 added to the denominators of IoU, GIoU, DIoU and CIoU.
    Where corners coincide the true box's corner counts, so that no gradient reaches the prediction.

    Args:
      kind: `"iou"` or one of the similarities that subtract a penalty from it: `"giou"` (arXiv:1902.09630), `"diou"`,
        `"ciou"` (arXiv:1911.08287), `"siou"` (arXiv:2205.12740).
      true: boxes of positive width and height.
      predicted: boxes of positive width and height, of the same shape.

    Returns:
      A tensor of the boxes' shape.
    """
    shared = intersection(true, predicted)
    union = true.w * true.h + predicted.w * predicted.h - shared
    iou = shared / (union + _EPSILON)
    if kind == "iou":
        return iou
    enclosing_w = tf.maximum(true.right, predicted.right) - tf.minimum(true.left, predicted.left)
    enclosing_h = tf.maximum(true.bottom, predicted.bottom) - tf.minimum(true.top, predicted.top)
    if kind == "giou":
        enclosing = enclosing_w * enclosing_h
        return iou - (enclosing - union) / (enclosing + _EPSILON)
    if kind == "siou":
        return iou - (_distance_cost(true, predicted, enclosing_w, enclosing_h) + _shape_cost(true, predicted)) / 2
    distance = (true.x - predicted.x) ** 2 + (true.y - predicted.y) ** 2
    diou = iou - distance / (enclosing_w**2 + enclosing_h**2 + _EPSILON)
    return diou - _aspect_cost(true, predicted, iou) if kind == "ciou" else diou


def _aspect_cost(true: Boxes, predicted: Boxes, iou: tf.Tensor) -> tf.Tensor:
    """CIoU's `alpha * v` of the aspect ratios; `alpha` has no gradient."""
    difference = tf.math.atan2(true.w, true.h) - tf.math.atan2(predicted.w, predicted.h)
    v = 4 / math.pi**2 * difference**2
    # Rounding may take the overlap above 1.
    rest = tf.maximum(1 + _EPSILON - iou + v, _EPSILON)
    return tf.stop_gradient(v / rest) * v


def _distance_cost(true: Boxes, predicted: Boxes, enclosing_w: tf.Tensor, enclosing_h: tf.Tensor) -> tf.Tensor:
    """SIoU's distance of the centres, which costs more along a diagonal."""
    dx, dy = predicted.x - true.x, predicted.y - true.y
    gamma = _angle_cost(dx, dy) - 2
    # Both are 0 where rounding leaves a point of either box.
    share_x, share_y = tf.math.divide_no_nan(dx, enclosing_w), tf.math.divide_no_nan(dy, enclosing_h)
    return 2 - tf.exp(gamma * share_x**2) - tf.exp(gamma * share_y**2)


def _angle_cost(dx: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    """`sin(2 a)` of the angle between the line of the centres and the nearer axis, without gradient at distance 0."""
    squared = dx**2 + dy**2
    apart = squared > 0
    # The root's slope at 0 is infinite; the branch alone would still send it into the gradient.
    distance = tf.where(apart, tf.sqrt(tf.where(apart, squared, tf.ones_like(squared))), tf.zeros_like(squared))
    sine_x = tf.abs(dx) / (distance + _EPSILON)
    sine_y = tf.abs(dy) / (distance + _EPSILON)
    sine = tf.where(sine_x > math.sqrt(0.5), sine_y, sine_x)
    return 2 * sine * tf.sqrt(1 - sine**2)


def _shape_cost(true: Boxes, predicted: Boxes) -> tf.Tensor:
    """SIoU's cost of differing widths and heights."""

    def cost(true_size: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        return (1 - tf.exp(-tf.abs(true_size - size) / tf.maximum(true_size, size))) ** 4

    return cost(true.w, predicted.w) + cost(true.h, predicted.h)
