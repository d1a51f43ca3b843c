"""The registered ops, called as a loaded graph calls them: without what the Python functions check beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from detloss.ops import library

GEOMETRY = dict(anchors=[1.0, 1.0, 0.5, 0.5], strides=[32], grid_sense=[1.0])

Call = Callable[..., Any]


def ssd_loss(y_true: Any, y_pred: Any, **attributes: Any) -> Any:
    return library.ops().detloss_ssd_loss(y_true=y_true, y_pred=y_pred, **attributes)


def ssd_loss_grad(loss_gradient: Any, y_true: Any, y_pred: Any, selection: Any, **attributes: Any) -> Any:
    return library.ops().detloss_ssd_loss_grad(
        loss_gradient=loss_gradient,
        y_true=y_true,
        y_pred=y_pred,
        n_pos=loss_gradient,
        n_kept=loss_gradient,
        selection=tf.cast(selection, tf.uint8),
        **attributes,
    )


def hard_negative_mining(negative_loss: Any, n_positive: Any, **attributes: Any) -> Any:
    return library.ops().detloss_hard_negative_mining(negative_loss=negative_loss, n_positive=n_positive, **attributes)


def yolo_ignore_mask(boxes: Any, true_boxes: Any, **attributes: Any) -> Any:
    return library.ops().detloss_yolo_ignore_mask(boxes=boxes, true_boxes=true_boxes, **attributes)


def yolov3_loss(*y_true_and_y_pred: Any, **attributes: Any) -> Any:
    """Labels of every scale, then logits of every scale."""
    scales = len(y_true_and_y_pred) // 2
    return library.ops().detloss_yolo_v3_loss(
        y_true=y_true_and_y_pred[:scales], y_pred=y_true_and_y_pred[scales:], **{**GEOMETRY, **attributes}
    )


def yolov3_loss_grad(loss_gradient: Any, y_true: Any, y_pred: Any, objectness_gradient: Any, **attributes: Any) -> Any:
    return library.ops().detloss_yolo_v3_loss_grad(
        loss_gradient=loss_gradient,
        y_true=y_true,
        y_pred=y_pred,
        objectness_gradient=objectness_gradient,
        selection=tf.cast(objectness_gradient, tf.uint8),
        **{**GEOMETRY, **attributes},
    )


#: Every op, and shapes of its arguments that fit each other.
OPS: dict[str, tuple[Call, list[list[int]]]] = {
    "ssd_loss": (ssd_loss, [[2, 5, 15], [2, 5, 15]]),
    "ssd_loss_grad": (ssd_loss_grad, [[2], [2, 5, 15], [2, 5, 15], [2, 5]]),
    "hard_negative_mining": (hard_negative_mining, [[2, 5], [2]]),
    "yolo_ignore_mask": (yolo_ignore_mask, [[2, 3, 4], [2, 2, 4]]),
    "yolov3_loss": (yolov3_loss, [[2, 3, 4, 2, 7], [2, 3, 4, 14]]),
    "yolov3_loss_grad": (yolov3_loss_grad, [[2], [2, 3, 4, 2, 7], [2, 3, 4, 2, 7], [2, 24]]),
}
