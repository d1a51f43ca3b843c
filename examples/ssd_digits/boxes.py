"""Prior boxes, the encoder that turns true boxes into `y_true`, and the decoder that turns `y_pred` into boxes.

Both tensors have the layout of pierluigiferrari/ssd_keras, `[batch, priors, classes + 12]`: class scores with the
background first, 4 encoded offsets, the prior box, 4 variances. Boxes are (centre x, centre y, width, height) as
fractions of the image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

#: Divisors of the encoded offsets, from Caffe's SSD: they bring all four to a similar scale.
VARIANCES = (0.1, 0.1, 0.2, 0.2)


@dataclasses.dataclass(frozen=True)
class AnchorGrid:
    """The prior boxes of one feature map.

    Attributes:
      cells: the feature map has `cells` x `cells` cells.
      sizes: `(width, height)` of the priors centred on each cell, as fractions of the image.
    """

    cells: int
    sizes: tuple[tuple[float, float], ...]

    def priors(self) -> np.ndarray:
        """float32 `[cells * cells * len(sizes), 4]`, row by row, cell by cell, size by size, as a head's output."""
        centres = (np.arange(self.cells) + 0.5) / self.cells
        y, x, size = np.meshgrid(centres, centres, np.arange(len(self.sizes)), indexing="ij")
        width, height = np.moveaxis(np.array(self.sizes)[size], -1, 0)
        return np.stack([x, y, width, height], axis=-1).reshape(-1, 4).astype(np.float32)


def prior_boxes(grids: Sequence[AnchorGrid]) -> np.ndarray:
    """The priors of all `grids`, one after the other: float32 `[priors, 4]`."""
    return np.concatenate([grid.priors() for grid in grids])


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every box of `a` `[n, 4]` with every box of `b` `[m, 4]`: `[n, m]`."""
    a_low, a_high = _corners(a[:, np.newaxis])
    b_low, b_high = _corners(b[np.newaxis])
    intersection = _area(np.maximum(np.minimum(a_high, b_high) - np.maximum(a_low, b_low), 0.0))
    return intersection / (_area(a[:, np.newaxis, 2:]) + _area(b[np.newaxis, :, 2:]) - intersection)


@dataclasses.dataclass(frozen=True)
class BoxEncoder:
    """Encodes the true boxes of an image as one image of `y_true`.

    Every true box gets the prior that overlaps it best; then every other prior gets the true box that it overlaps best,
    if their IoU reaches `positive_iou`. A prior left over is background, unless it overlaps a true box by more than
    `negative_iou`: that one is an example neither of the object nor of the background, and its all-zero class row keeps
    it out of the loss.

    Attributes:
      priors: float32 `[priors, 4]`.
      num_classes: classes with the background.
      positive_iou: IoU from which a prior is responsible for a true box.
      negative_iou: largest IoU of a background prior.
    """

    priors: np.ndarray
    num_classes: int
    positive_iou: float = 0.5
    negative_iou: float = 0.4

    def __call__(self, boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Encodes `boxes` `[objects, 4]` of classes `labels` `[objects]` as float32 `[priors, num_classes + 12]`."""
        classes = np.zeros((len(self.priors), self.num_classes), np.float32)
        offsets = np.zeros_like(self.priors)
        variances = np.broadcast_to(np.float32(VARIANCES), self.priors.shape)
        if len(boxes) == 0:
            classes[:, 0] = 1.0
        else:
            overlaps = iou(boxes, self.priors)
            match = self._match(overlaps)
            positive = match >= 0
            classes[~positive & (overlaps.max(axis=0) <= self.negative_iou), 0] = 1.0
            classes[positive, labels[match[positive]]] = 1.0
            offsets[positive] = encode_offsets(boxes[match[positive]], self.priors[positive])
        return np.concatenate([classes, offsets, self.priors, variances], axis=1)

    def _match(self, overlaps: np.ndarray) -> np.ndarray:
        """The index of the true box of each prior, -1 for none, from the IoUs `[objects, priors]`."""
        match = np.where(overlaps.max(axis=0) >= self.positive_iou, overlaps.argmax(axis=0), -1)
        free = overlaps.copy()
        # The best pair first, so that two objects that share their best prior end up with one prior each.
        for _ in range(len(overlaps)):
            box, prior = np.unravel_index(free.argmax(), free.shape)
            match[prior] = box
            free[box, :] = -1.0
            free[:, prior] = -1.0
        return match


def encode_offsets(boxes: np.ndarray, priors: np.ndarray) -> np.ndarray:
    """Offsets `[n, 4]` of `boxes` from `priors`: shift of the centre in prior sizes, logarithm of the size ratio."""
    shift = (boxes[:, :2] - priors[:, :2]) / priors[:, 2:]
    ratio = np.log(boxes[:, 2:] / priors[:, 2:])
    return (np.concatenate([shift, ratio], axis=1) / VARIANCES).astype(np.float32)


def decode_offsets(predictions: np.ndarray) -> np.ndarray:
    """Boxes `[..., 4]` from the last 12 columns of `y_pred` (or `y_true`): offsets, prior and variances."""
    offsets, prior, variances = np.split(predictions[..., -12:], 3, axis=-1)
    scaled = offsets * variances
    return np.concatenate(
        [prior[..., :2] + scaled[..., :2] * prior[..., 2:], prior[..., 2:] * np.exp(scaled[..., 2:])], axis=-1
    )


@dataclasses.dataclass(frozen=True)
class Detections:
    """The boxes found in one image, best first.

    Attributes:
      boxes: float32 `[detections, 4]`.
      labels: int `[detections]`, classes from 1.
      scores: float32 `[detections]`, probabilities.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray

    def above(self, score: float) -> Detections:
        """The detections with at least this score."""
        keep = self.scores >= score
        return Detections(self.boxes[keep], self.labels[keep], self.scores[keep])


@dataclasses.dataclass(frozen=True)
class BoxDecoder:
    """Turns `y_pred` into detections: decodes every prior and keeps, class by class, the best of overlapping boxes.

    Attributes:
      min_score: boxes below this probability are dropped.
      max_iou: of two boxes of one class that overlap more than this, the better one stays.
      max_detections: the most boxes kept per image.
    """

    min_score: float = 0.01
    max_iou: float = 0.45
    max_detections: int = 50

    def __call__(self, predictions: np.ndarray) -> list[Detections]:
        """Decodes `predictions` `[batch, priors, classes + 12]`."""
        low, high = _corners(decode_offsets(predictions))
        boxes, scores, classes, counts = (
            result.numpy()
            for result in tf.image.combined_non_max_suppression(
                np.concatenate([low, high], axis=-1)[:, :, np.newaxis],
                predictions[..., 1:-12],
                max_output_size_per_class=self.max_detections,
                max_total_size=self.max_detections,
                iou_threshold=self.max_iou,
                score_threshold=self.min_score,
                clip_boxes=False,
            )
        )
        return [
            Detections(_centres(boxes[i, :n]), classes[i, :n].astype(int) + 1, scores[i, :n])
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
