"""Which predicted boxes overlap a true box enough to be ignored, in plain TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from detloss.ops import arguments
from detloss.reference import box_iou
from detloss.yolov3_options import check_ignore_options


def yolo_ignore_mask(
    boxes: Any,
    true_boxes: Any,
    *,
    ignore_thresh: float = 0.5,
    comparator: str = "<",
    name: str | None = None,
) -> tf.Tensor:
    """`detloss.yolo_ignore_mask` in plain TensorFlow, by way of the IoU of every pair.

    Args:
      boxes: `[B, ..., 4]`, float32, float16, bfloat16 or float64: x, y of the centre, w, h.
      true_boxes: `[B, M, 4]`, any numeric dtype, in the same form. A box with a width or height that is not positive,
        or with a value that is not finite, is padding.
      ignore_thresh: IoU from which on a box is ignored.
      comparator: a box counts when its best IoU is `"<"` or `"<="` the threshold.
      name: name scope of the operations.

    Returns:
      bool `[B, ...]`, True where the box is ignored. False where there is no true box or the box has a NaN.

    Raises:
      TypeError: a dtype is wrong.
      ValueError: an option or a static shape is wrong.
      tf.errors.InvalidArgumentError: a shape is wrong at run time. XLA drops the assertions that tell.
    """
    check_ignore_options(ignore_thresh, comparator)
    boxes = arguments.as_predictions("boxes", boxes)
    true_boxes = arguments.as_labels("true_boxes", true_boxes, boxes)
    with tf.name_scope(name or "yolo_ignore_mask"):
        boxes = tf.stop_gradient(tf.cast(boxes, true_boxes.dtype))
        _check_shapes(boxes, true_boxes)
        shape = tf.shape(boxes)
        rows = tf.reshape(boxes, [shape[0], tf.reduce_prod(shape[1:-1]), 4])
        predicted = box_iou.from_center(*tf.unstack(rows, num=4, axis=-1))
        true_boxes = tf.ensure_shape(true_boxes, [None, None, 4])
        true = box_iou.from_center(*tf.unstack(true_boxes, num=4, axis=-1))
        present = tf.reduce_all(tf.math.is_finite(true_boxes), axis=-1) & (true.w > 0) & (true.h > 0)
        ignored = reaches_threshold(predicted, true, present, ignore_thresh, comparator)
        ignored &= ~tf.reduce_any(tf.math.is_nan(rows), axis=-1)
        ignored = tf.reshape(ignored, shape[:-1])
        ignored.set_shape(boxes.shape[:-1])
        return ignored


def reaches_threshold(
    boxes: box_iou.Boxes, true: box_iou.Boxes, present: tf.Tensor, ignore_thresh: float, comparator: str
) -> tf.Tensor:
    """Whether the best IoU with a true box that is present (bool `[B, M]`) reaches the threshold: bool `[B, N]`."""
    iou = box_iou.pairwise_iou(boxes, true)
    # Below every threshold: an image without true boxes ignores nothing.
    iou = tf.where(present[:, tf.newaxis, :], iou, tf.constant(-1, iou.dtype))
    best = tf.reduce_max(iou, axis=-1)
    # TensorFlow's threads take a subnormal threshold for zero, which boxes that overlap nothing reach.
    smallest = np.finfo(np.float32).tiny
    threshold = tf.constant(max(ignore_thresh, smallest) if np.float32(ignore_thresh) > 0 else 0, best.dtype)
    return best >= threshold if comparator == "<" else best > threshold


def _check_shapes(boxes: tf.Tensor, true_boxes: tf.Tensor) -> None:
    rank = boxes.shape.rank
    if rank is not None and (rank < 2 or boxes.shape[-1] not in (None, 4)):
        raise ValueError(f"boxes: expected shape [batch, ..., 4], got {boxes.shape}")
    expected = tf.TensorShape([None if rank is None else boxes.shape[0], None, 4])
    if not true_boxes.shape.is_compatible_with(expected):
        raise ValueError(
            f"true_boxes: expected shape {expected}, with as many images as in boxes, got {true_boxes.shape}"
        )
    tf.debugging.assert_equal(
        tf.shape(true_boxes)[0], tf.shape(boxes)[0], "true_boxes: expected as many images as in boxes"
    )
