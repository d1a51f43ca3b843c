"""The losses of the five original repositories in plain NumPy, for any label: float32, as they stand.

Nothing is rescued. A mask is multiplied in wherever the originals multiply it in, so that 0 times NaN is NaN; `where`
chooses where the originals' `switch` or `where` does; the logarithm of 0 is minus infinity. What a loss raises on a CPU
is `ValueError` here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[np.float32]

_EPSILON = np.float32(1e-7)  # of Keras
_COARSEST_STRIDE = 32
#: Rows of the anchors of every scale, coarsest first, by repository and number of scales.
_ANCHOR_ROWS = {
    "keras_yolo3": {3: ((6, 7, 8), (3, 4, 5), (0, 1, 2)), 2: ((3, 4, 5), (1, 2, 3))},
    "keras_yolov3_model_set": {3: ((6, 7, 8), (3, 4, 5), (0, 1, 2)), 2: ((3, 4, 5), (0, 1, 2))},
}


def _as_ieee(function: Callable[..., Any]) -> Callable[..., Any]:
    """Lets NaN and infinities through without a warning."""

    @functools.wraps(function)
    def quiet(*arguments: Any, **options: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*arguments, **options)

    return quiet


# ---- YOLOv3 with x, y, w, h and a score per class ----


@_as_ieee
def keras_yolo3_loss(
    y_true: Sequence[_Array], y_pred: Sequence[_Array], anchors: _Array, num_classes: int, ignore_thresh: float = 0.5
) -> np.float32:
    """`yolo_loss` of qqwweee/keras-yolo3, divided by the batch size.

    Args:
      y_true: `[B, H, W, 3, 5 + C]` per scale, coarsest first.
      y_pred: `[B, H, W, 3 * (5 + C)]` per scale.
      anchors: `[9, 2]` or `[6, 2]`, pixels.
      num_classes: C.
      ignore_thresh: best IoU below which a cell without an object counts.
    """
    scales = _scales("keras_yolo3", y_true, y_pred, anchors, num_classes)
    total = sum(
        _classic_box(*scale) + _confidence(*scale, ignore_thresh) + _sigmoid_classes(*scale) for scale in scales
    )
    return np.float32(total / len(y_true[0]))


@_as_ieee
def keras_yolov3_model_set_loss(
    y_true: Sequence[_Array],
    y_pred: Sequence[_Array],
    anchors: _Array,
    num_classes: int,
    ignore_thresh: float = 0.5,
    use_softmax_loss: bool = False,
    iou_loss_type: str | None = "ciou",
) -> np.float32:
    """`yolo3_loss` of david8862/keras-YOLOv3-model-set, the first of its results; arguments as above.

    Raises:
      ValueError: `iou_loss_type` is neither None nor `"ciou"`, the two that are written down here.
    """
    if iou_loss_type not in (None, "ciou"):
        raise ValueError(f"iou_loss_type: expected None or 'ciou', got {iou_loss_type!r}")
    box = _classic_box if iou_loss_type is None else _ciou_box
    classes = _softmax_classes if use_softmax_loss else _sigmoid_classes
    total = np.float32(0)
    for scale in _scales("keras_yolov3_model_set", y_true, y_pred, anchors, num_classes):
        total += box(*scale) + _confidence(*scale, ignore_thresh)
        if num_classes != 1:
            total += classes(*scale)
    return np.float32(total / len(y_true[0]))


_Scale = tuple[_Array, _Array, _Array]  # labels, logits, anchors relative to the input


def _scales(
    repository: str, y_true: Sequence[_Array], y_pred: Sequence[_Array], anchors: _Array, num_classes: int
) -> list[_Scale]:
    input_size = np.array(y_pred[0].shape[2:0:-1], np.float32) * _COARSEST_STRIDE
    rows = _ANCHOR_ROWS[repository][len(y_true)]
    return [
        (labels, logits.reshape(*logits.shape[:3], 3, 5 + num_classes), anchors[list(row)] / input_size)
        for labels, logits, row in zip(y_true, y_pred, rows, strict=True)
    ]


def _classic_box(labels: _Array, logits: _Array, anchors: _Array) -> np.float32:
    object_mask = labels[..., 4:5]
    raw_true_xy = labels[..., :2] * _grid_size(logits) - _cells(logits)
    raw_true_wh = np.where(object_mask.astype(bool), np.log(labels[..., 2:4] / anchors), np.float32(0))
    weight = object_mask * _box_loss_scale(labels)
    xy = weight * _cross_entropy(raw_true_xy, logits[..., :2])
    wh = weight * np.float32(0.5) * np.square(raw_true_wh - logits[..., 2:4])
    return np.sum(xy) + np.sum(wh)


def _ciou_box(labels: _Array, logits: _Array, anchors: _Array) -> np.float32:
    iou = _ciou(labels[..., :4], _decoded(logits, anchors))
    return np.sum(labels[..., 4:5] * _box_loss_scale(labels) * (1 - iou[..., np.newaxis]))


def _box_loss_scale(labels: _Array) -> _Array:
    return 2 - labels[..., 2:3] * labels[..., 3:4]


def _confidence(labels: _Array, logits: _Array, anchors: _Array, ignore_thresh: float) -> np.float32:
    object_mask = labels[..., 4:5]
    loss = _cross_entropy(object_mask, logits[..., 4:5])
    true, predicted = _corners(labels[..., :4]), _corners(_decoded(logits, anchors))
    counts = _cells_that_count(true, object_mask[..., 0], predicted, ignore_thresh)[..., np.newaxis]
    return np.sum(object_mask * loss + (1 - object_mask) * loss * counts)


def _sigmoid_classes(labels: _Array, logits: _Array, anchors: _Array) -> np.float32:
    return np.sum(labels[..., 4:5] * _cross_entropy(labels[..., 5:], logits[..., 5:]))


def _softmax_classes(labels: _Array, logits: _Array, anchors: _Array) -> np.float32:
    return np.sum(labels[..., 4] * -np.sum(labels[..., 5:] * _log_softmax(logits[..., 5:]), axis=-1))


# ---- YOLOv3 with x1, y1, x2, y2 and a class index ----


@_as_ieee
def yolov3_tf2_loss(
    y_true: _Array, y_pred: _Array, anchors: _Array, classes: int, ignore_thresh: float = 0.5
) -> _Array:
    """`YoloLoss(anchors, classes)(y_true, y_pred)` of zzh8829/yolov3-tf2, as `fit` computes it on a CPU: `[B]`.

    Args:
      y_true: `[B, G, G, A, 6]`.
      y_pred: `[B, G, G, A, 5 + C]`.
      anchors: `[A, 2]`, relative to the input.
      classes: C.
      ignore_thresh: best IoU below which a cell without an object counts.

    Raises:
      ValueError: a class index, of a cell with an object or without, is out of range.
    """
    true_box, object_mask, index = y_true[..., :4], y_true[..., 4], y_true[..., 5].astype(np.int64)
    true_xy = (true_box[..., :2] + true_box[..., 2:]) / 2
    true_size = true_box[..., 2:] - true_box[..., :2]
    weight = object_mask * (2 - true_size[..., 0] * true_size[..., 1])
    true_xy = true_xy * _grid_size(y_pred) - _cells(y_pred)
    true_wh = np.log(true_size / anchors)
    true_wh = np.where(np.isinf(true_wh), np.float32(0), true_wh)
    xy = weight * np.sum(np.square(true_xy - _sigmoid(y_pred[..., :2])), axis=-1)
    wh = weight * np.sum(np.square(true_wh - y_pred[..., 2:4]), axis=-1)

    counts = _cells_that_count(true_box, object_mask, _corners(_decoded(y_pred, anchors)), ignore_thresh)
    confidence = _cross_entropy(object_mask, y_pred[..., 4])
    confidence = object_mask * confidence + (1 - object_mask) * counts * confidence

    if np.any((index < 0) | (index >= classes)):
        raise ValueError(f"a label value outside the valid range of [0, {classes})")
    probabilities = np.clip(_sigmoid(y_pred[..., 5:]), _EPSILON, 1 - _EPSILON)
    of_the_class = np.take_along_axis(_log_softmax(np.log(probabilities)), index[..., np.newaxis], axis=-1)[..., 0]
    return np.sum(xy + wh + confidence - object_mask * of_the_class, axis=(1, 2, 3))


# ---- Boxes and cross-entropies ----


def _grid_size(logits: _Array) -> _Array:
    return np.array(logits.shape[2:0:-1], np.float32)


def _cells(logits: _Array) -> _Array:
    """`[H, W, 1, 2]`: column and row."""
    rows, columns = np.indices(logits.shape[1:3], np.float32)
    return np.stack([columns, rows], axis=-1)[:, :, np.newaxis]


def _decoded(logits: _Array, anchors: _Array) -> _Array:
    """x, y, w, h."""
    xy = (_sigmoid(logits[..., :2]) + _cells(logits)) / _grid_size(logits)
    return np.concatenate([xy, np.exp(logits[..., 2:4]) * anchors], axis=-1)


def _corners(boxes: _Array) -> _Array:
    half = boxes[..., 2:] / 2
    return np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], axis=-1)


def _cells_that_count(true: _Array, object_mask: _Array, predicted: _Array, ignore_thresh: float) -> _Array:
    """1 where no true box of the image overlaps as much as the threshold, else 0: `[B, H, W, A]`; boxes by corners."""
    is_object = object_mask.astype(bool)
    best = [_best_iou(predicted[image], true[image][is_object[image]]) for image in range(len(true))]
    return (np.array(best, np.float32).reshape(object_mask.shape) < ignore_thresh).astype(np.float32)


def _best_iou(predicted: _Array, true: _Array) -> _Array:
    predicted = predicted[..., np.newaxis, :]
    overlap = np.minimum(predicted[..., 2:], true[:, 2:]) - np.maximum(predicted[..., :2], true[:, :2])
    shared = np.prod(np.maximum(overlap, 0), axis=-1)
    areas = [np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1) for boxes in (predicted, true)]
    return np.max(shared / (areas[0] + areas[1] - shared), axis=-1, initial=-np.inf)


def _ciou(true: _Array, predicted: _Array) -> _Array:
    """Of x, y, w, h."""
    corners = _corners(true), _corners(predicted)
    shared_size = np.minimum(corners[0][..., 2:], corners[1][..., 2:]) - np.maximum(
        corners[0][..., :2], corners[1][..., :2]
    )
    shared = np.prod(np.maximum(shared_size, 0), axis=-1)
    union = np.prod(true[..., 2:], axis=-1) + np.prod(predicted[..., 2:], axis=-1) - shared
    iou = shared / (union + _EPSILON)
    enclosing = np.maximum(corners[0][..., 2:], corners[1][..., 2:]) - np.minimum(
        corners[0][..., :2], corners[1][..., :2]
    )
    diagonal = np.sum(np.square(np.maximum(enclosing, 0)), axis=-1)
    distance = np.sum(np.square(true[..., :2] - predicted[..., :2]), axis=-1)
    angles = np.arctan2(true[..., 2], true[..., 3]) - np.arctan2(predicted[..., 2], predicted[..., 3])
    v = np.float32(4 / np.pi**2) * np.square(angles)
    return iou - distance / (diagonal + _EPSILON) - v / (1 + _EPSILON - iou + v) * v


def _sigmoid(logits: _Array) -> _Array:
    return 1 / (1 + np.exp(-logits))


def _cross_entropy(labels: _Array, logits: _Array) -> _Array:
    """Binary cross-entropy from logits."""
    return np.maximum(logits, 0) - logits * labels + np.log1p(np.exp(-np.abs(logits)))


def _log_softmax(logits: _Array) -> _Array:
    shifted = logits - np.max(logits, axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))


# ---- SSD ----

_SMALLEST_PROBABILITY = np.float32(1e-15)


@_as_ieee
def ssd_keras_loss(
    y_true: _Array, y_pred: _Array, neg_pos_ratio: int = 3, n_neg_min: int = 0, alpha: float = 1.0
) -> _Array:
    """`SSDLoss(...).compute_loss` of pierluigiferrari/ssd_keras: `[B]`.

    Args:
      y_true: `[B, N, C + 12]`: classes, offsets, 8 unused.
      y_pred: the same, with probabilities.
      neg_pos_ratio: negatives for a positive.
      n_neg_min: negatives at least.
      alpha: weight of the localization.
    """
    labels = y_true[..., :-12]
    cross_entropy = _cross_entropy_of(labels, y_pred[..., :-12])
    positives = np.max(labels[..., 1:], axis=-1)
    n_positive = np.sum(positives)
    keys = cross_entropy * labels[..., 0]
    # An int32, which wraps around.
    wanted = (n_positive.astype(np.int32).reshape(1) * np.int32(neg_pos_ratio)).item()
    n_kept = min(max(wanted, n_neg_min), np.count_nonzero(keys))
    kept = np.zeros(keys.size, np.float32)
    kept[np.argsort(-keys.ravel(), kind="stable")[:n_kept]] = 1
    kept = kept.reshape(keys.shape)

    localization = _smooth_l1(y_true[..., -12:-8], y_pred[..., -12:-8])
    classes = np.sum(cross_entropy * positives, axis=-1) + np.sum(cross_entropy * kept, axis=-1)
    total = classes + np.float32(alpha) * np.sum(localization * positives, axis=-1)
    return total / np.maximum(1, n_positive) * len(y_true)


@_as_ieee
def ssd_keras_rykov8_loss(
    y_true: _Array,
    y_pred: _Array,
    num_classes: int,
    alpha: float = 1.0,
    neg_pos_ratio: float = 3.0,
    negatives_for_hard: float = 100.0,
) -> _Array:
    """`MultiboxLoss(...).compute_loss` of rykov8/ssd_keras: `[B]`.

    Args:
      y_true: `[B, N, 4 + C + 8]`: offsets, classes, the positive flag, 7 unused.
      y_pred: the same, with probabilities.
      num_classes: C, with the background.
      alpha: weight of the localization.
      neg_pos_ratio: negatives for a positive.
      negatives_for_hard: negatives of a batch without positives.
    """
    classes, n_boxes = slice(4, 4 + num_classes), np.float32(y_true.shape[1])
    cross_entropy = _cross_entropy_of(y_true[..., classes], np.minimum(y_pred[..., classes], 1 - _SMALLEST_PROBABILITY))
    positives = y_true[..., -8]
    n_positive = np.sum(positives, axis=-1)

    wanted = np.minimum(np.float32(neg_pos_ratio) * n_positive, n_boxes - n_positive)
    wanted = wanted[wanted > 0] if np.any(wanted > 0) else np.array([negatives_for_hard])
    n_kept = int(np.min(wanted))
    keys = np.max(y_pred[..., 5 : 4 + num_classes], axis=-1) * (1 - positives)
    kept = np.argsort(-keys, axis=-1, kind="stable")[:, :n_kept]

    localization = _smooth_l1(y_true[..., :4], y_pred[..., :4])
    negative = np.sum(np.take_along_axis(cross_entropy, kept, axis=-1), axis=-1)
    confidence = (np.sum(cross_entropy * positives, axis=-1) + negative) / (n_positive + n_kept)
    location = np.float32(alpha) * np.sum(localization * positives, axis=-1)
    return confidence + location / np.where(n_positive != 0, n_positive, np.float32(1))


def _cross_entropy_of(labels: _Array, probabilities: _Array) -> _Array:
    return -np.sum(labels * np.log(np.maximum(probabilities, _SMALLEST_PROBABILITY)), axis=-1)


def _smooth_l1(labels: _Array, predictions: _Array) -> _Array:
    distance = np.abs(labels - predictions)
    return np.sum(np.where(distance < 1, np.float32(0.5) * np.square(labels - predictions), distance - 0.5), axis=-1)
