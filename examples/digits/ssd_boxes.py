"""Prior boxes, the encoder that turns true boxes into `y_true`, and the decoder that turns `y_pred` into boxes.

Both tensors have the layout of pierluigiferrari/ssd_keras, `[batch, priors, classes + 12]`: class scores with the
background first, 4 encoded offsets, the prior box, 4 variances.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from digits.boxes import Detections, iou, non_max_suppression

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


@dataclasses.dataclass(frozen=True)
class BoxEncoder:
    """Encodes the true boxes of an image as one image of `y_true`.

    Every true box gets the prior that overlaps it best; then every other prior gets the true box that it overlaps best,
    if their IoU reaches `positive_iou`. A prior left over is background, unless it overlaps a true box by more than
    `negative_iou`: that one is an example neither of the object nor of the background, and its all-zero class row keeps
    it out of the loss.

    Attributes:
      priors: float32 `[priors, 4]`.
      num_classes: classes with the background, which is class 0 here: the label 0 of a box becomes class 1.
      positive_iou: IoU from which a prior is responsible for a true box.
      negative_iou: largest IoU of a background prior.
    """

    priors: np.ndarray
    num_classes: int
    positive_iou: float = 0.5
    negative_iou: float = 0.4

    def __call__(self, boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Encodes `boxes` `[objects, 4]` with their `labels` `[objects]` as float32 `[priors, num_classes + 12]`."""
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
            classes[positive, 1 + labels[match[positive]]] = 1.0
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


def decode(predictions: np.ndarray) -> list[Detections]:
    """The boxes found in `predictions` `[batch, priors, classes + 12]`."""
    return non_max_suppression(decode_offsets(predictions), predictions[..., 1:-12])
