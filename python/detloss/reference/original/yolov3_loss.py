"""The graph of qqwweee/keras-yolo3's loss: a `tf.while_loop` over the images finds the cells to ignore.

It stands for what a user of that repository, and of the many that took its loss over, runs today: float32, masks by
multiplication, no rule for NaN or bad labels, one list of true boxes per image and scale picked by `tf.boolean_mask`.
What is computed, and with which TensorFlow operations, is theirs; `detloss.reference.yolov3_loss` is the same loss
without the loop and its limits.

XLA does not compile it: how many boxes `tf.boolean_mask` leaves is known only at run time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

# Pixels of the input per cell of the coarsest scale, which comes first.
_COARSEST_STRIDE = 32
_ANCHOR_ROWS = {3: ((6, 7, 8), (3, 4, 5), (0, 1, 2)), 2: ((3, 4, 5), (1, 2, 3))}


def keras_yolo3_loss(
    y_trues: Sequence[tf.Tensor],
    y_preds: Sequence[tf.Tensor],
    anchors: npt.ArrayLike,
    num_classes: int,
    ignore_thresh: float = 0.5,
) -> tf.Tensor:
    """`yolo_loss` of qqwweee/keras-yolo3, before it divides the sum over all images by their number.

    Args:
      y_trues: float32 `[B, H, W, 3, 5 + num_classes]` per scale, coarsest first: x, y, w, h relative to the input,
        objectness, classes.
      y_preds: float32 `[B, H, W, 3 * (5 + num_classes)]` per scale.
      anchors: `[9, 2]` for three scales, `[6, 2]` for two: widths and heights in pixels, smallest first.
      num_classes: number of classes.
      ignore_thresh: best IoU with a true box below which a background cell counts.

    Returns:
      The loss of every image, `[B]`.
    """
    anchors = np.asarray(anchors, np.float32)
    input_size = tf.cast(tf.shape(y_preds[0])[2:0:-1] * _COARSEST_STRIDE, tf.float32)
    rows = _ANCHOR_ROWS[len(y_preds)]
    losses = [
        _scale_loss(y_true, y_pred, anchors[list(row)] / input_size, num_classes, ignore_thresh)
        for y_true, y_pred, row in zip(y_trues, y_preds, rows, strict=True)
    ]
    return tf.add_n(losses)


def _scale_loss(
    y_true: tf.Tensor, y_pred: tf.Tensor, anchors: tf.Tensor, num_classes: int, ignore_thresh: float
) -> tf.Tensor:
    """Loss of every image at one scale, `[B]`; anchors `[3, 2]` relative to the input."""
    object_mask = y_true[..., 4:5]
    rows, columns = tf.shape(y_pred)[1], tf.shape(y_pred)[2]
    grid_size = tf.cast(tf.stack([columns, rows]), tf.float32)
    cells = tf.cast(tf.stack(tf.meshgrid(tf.range(columns), tf.range(rows)), axis=-1), tf.float32)[:, :, tf.newaxis]
    logits = tf.reshape(y_pred, [-1, rows, columns, anchors.shape[0], 5 + num_classes])
    predicted_xy = (tf.sigmoid(logits[..., :2]) + cells) / grid_size
    predicted_wh = tf.exp(logits[..., 2:4]) * anchors
    counts = _cells_that_count(y_true, tf.concat([predicted_xy, predicted_wh], axis=-1), ignore_thresh)

    true_xy = y_true[..., :2] * grid_size - cells
    true_wh = tf.math.log(y_true[..., 2:4] / anchors)
    true_wh = tf.where(tf.cast(object_mask, tf.bool), true_wh, tf.zeros_like(true_wh))
    box_weight = object_mask * (2 - y_true[..., 2:3] * y_true[..., 3:4])
    xy_loss = box_weight * _cross_entropy(true_xy, logits[..., :2])
    wh_loss = box_weight * 0.5 * tf.square(true_wh - logits[..., 2:4])
    objectness_loss = _cross_entropy(object_mask, logits[..., 4:5])
    confidence_loss = object_mask * objectness_loss + (1 - object_mask) * objectness_loss * counts
    class_loss = object_mask * _cross_entropy(y_true[..., 5:], logits[..., 5:])
    return tf.add_n([tf.reduce_sum(loss, [1, 2, 3, 4]) for loss in (xy_loss, wh_loss, confidence_loss, class_loss)])


def _cells_that_count(y_true: tf.Tensor, boxes: tf.Tensor, ignore_thresh: float) -> tf.Tensor:
    """1 where no true box of the image overlaps as much as the threshold, else 0: `[B, H, W, 3, 1]`."""
    is_object = tf.cast(y_true[..., 4], tf.bool)
    batch_size = tf.shape(y_true)[0]

    def one_image(image: tf.Tensor, counts: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        true_boxes = tf.boolean_mask(y_true[image, ..., :4], is_object[image])
        best_iou = tf.reduce_max(_iou(boxes[image], true_boxes), axis=-1)
        return image + 1, counts.write(image, tf.cast(best_iou < ignore_thresh, tf.float32))

    counts = tf.TensorArray(tf.float32, size=1, dynamic_size=True)
    _, counts = tf.while_loop(lambda image, _: image < batch_size, one_image, [0, counts])
    return tf.expand_dims(counts.stack(), -1)


def _iou(boxes: tf.Tensor, true_boxes: tf.Tensor) -> tf.Tensor:
    """IoU of `[H, W, 3, 4]` with `[M, 4]`, all by centre and size: `[H, W, 3, M]`."""
    boxes = tf.expand_dims(boxes, -2)
    xy, wh = boxes[..., :2], boxes[..., 2:4]
    true_xy, true_wh = true_boxes[..., :2], true_boxes[..., 2:4]
    overlap = tf.minimum(xy + wh / 2, true_xy + true_wh / 2) - tf.maximum(xy - wh / 2, true_xy - true_wh / 2)
    overlap = tf.maximum(overlap, 0.0)
    shared = overlap[..., 0] * overlap[..., 1]
    return shared / (wh[..., 0] * wh[..., 1] + true_wh[..., 0] * true_wh[..., 1] - shared)


def _cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
