"""Boxes as every detector here has them: (centre x, centre y, width, height) as fractions of the image."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Detections:
    """The boxes found in one image, best first.

    Attributes:
      boxes: float32 `[detections, 4]`.
      labels: int `[detections]`.
      scores: float32 `[detections]`, probabilities.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray

    def above(self, score: float) -> Detections:
        """The detections with at least this score."""
        keep = self.scores >= score
        return Detections(self.boxes[keep], self.labels[keep], self.scores[keep])


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every box of `a` `[n, 4]` with every box of `b` `[m, 4]`: `[n, m]`."""
    a_low, a_high = _corners(a[:, np.newaxis])
    b_low, b_high = _corners(b[np.newaxis])
    intersection = _area(np.maximum(np.minimum(a_high, b_high) - np.maximum(a_low, b_low), 0.0))
    return intersection / (_area(a[:, np.newaxis, 2:]) + _area(b[np.newaxis, :, 2:]) - intersection)


def non_max_suppression(
    boxes: np.ndarray, scores: np.ndarray, *, min_score: float = 0.01, max_iou: float = 0.45, max_detections: int = 50
) -> list[Detections]:
    """Keeps, class by class, the best of overlapping boxes.

    Args:
      boxes: `[batch, boxes, 4]`.
      scores: `[batch, boxes, classes]`, probabilities.
      min_score: boxes below this probability are dropped.
      max_iou: of two boxes of one class that overlap more than this, the better one stays.
      max_detections: the most boxes kept per image.
    """
    kept_boxes, kept_scores, labels, counts = (
        result.numpy()
        for result in tf.image.combined_non_max_suppression(
            np.concatenate(_corners(boxes), axis=-1)[:, :, np.newaxis],
            scores,
            max_output_size_per_class=max_detections,
            max_total_size=max_detections,
            iou_threshold=max_iou,
            score_threshold=min_score,
            clip_boxes=False,
        )
    )
    return [
        Detections(_centres(kept_boxes[i, :n]), labels[i, :n].astype(int), kept_scores[i, :n])
        for i, n in enumerate(counts)
    ]


def _area(size: np.ndarray) -> np.ndarray:
    return size[..., 0] * size[..., 1]


def _corners(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    half = boxes[..., 2:] / 2
    return boxes[..., :2] - half, boxes[..., :2] + half


def _centres(corners: np.ndarray) -> np.ndarray:
    low, high = corners[..., :2], corners[..., 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=-1)
