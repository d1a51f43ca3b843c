"""Mean average precision as PASCAL VOC defines it since 2010: area under the precision envelope, mean over classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from digits.boxes import Detections, iou
from digits.canvases import Canvas


def mean_average_precision(detections: Sequence[Detections], truth: Sequence[Canvas], min_iou: float = 0.5) -> float:
    """Averages the average precision over the classes that occur in `truth`.

    Args:
      detections: the boxes found in each image.
      truth: the boxes that each image has.
      min_iou: a detection is right if the true box of its class that it overlaps best has at least this IoU with it and
        was not found by a better detection before.

    Returns:
      A value in 0..1.
    """
    classes = np.unique(np.concatenate([canvas.labels for canvas in truth]))
    return float(np.mean([average_precision(detections, truth, label, min_iou) for label in classes]))


def average_precision(
    detections: Sequence[Detections], truth: Sequence[Canvas], label: int, min_iou: float = 0.5
) -> float:
    """The average precision of one class over all images."""
    scores, hits, objects = [], [], 0
    for found, canvas in zip(detections, truth, strict=True):
        of_class = found.labels == label
        true_boxes = canvas.boxes[canvas.labels == label]
        order = np.argsort(-found.scores[of_class], kind="stable")
        scores.append(found.scores[of_class][order])
        hits.append(_hits(found.boxes[of_class][order], true_boxes, min_iou))
        objects += len(true_boxes)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return _area_under_envelope(np.concatenate(hits)[order], objects)


def _hits(boxes: np.ndarray, true_boxes: np.ndarray, min_iou: float) -> np.ndarray:
    """Which of `boxes`, best first, find a true box; each true box is found once."""
    hits = np.zeros(len(boxes), bool)
    if len(true_boxes) == 0:
        return hits
    overlaps = iou(boxes, true_boxes)
    found = np.zeros(len(true_boxes), bool)
    for i, best in enumerate(overlaps.argmax(axis=1)):
        if overlaps[i, best] >= min_iou and not found[best]:
            hits[i] = found[best] = True
    return hits


def _area_under_envelope(hits: np.ndarray, objects: int) -> float:
    """Area under the precision-recall curve of `hits`, best first, after precision is made to fall with recall."""
    if objects == 0 or len(hits) == 0:
        return 0.0
    right = np.cumsum(hits)
    precision = right / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    recall_steps = np.diff(right / objects, prepend=0.0)
    return float(np.sum(recall_steps * envelope))
