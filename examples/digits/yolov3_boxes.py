"""The encoder that turns true boxes into `y_true`, and the decoder that turns the model's outputs into boxes.

The layout is that of qqwweee/keras-yolo3 with two scales, the coarse one first. For an image of `[height, width]` and
the strides 32 and 16, `y_true` is one array `[batch, height / stride, width / stride, 3, 5 + classes]` per scale: the
box as fractions of the image, objectness, one column per class. The outputs have the same rows, as logits, with the
last two axes in one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from digits.boxes import Detections, iou, non_max_suppression

STRIDES = (32, 16)
#: Rows of the anchors that each scale predicts with. As in YOLOv3-tiny, row 3 is in both and row 0 in none.
ANCHOR_MASKS = ((3, 4, 5), (1, 2, 3))


@dataclasses.dataclass(frozen=True)
class BoxEncoder:
    """Encodes the true boxes of an image as one image of `y_true`.

    Each true box goes to the cell that holds its centre and to the anchor whose shape overlaps it best, in every scale
    that has this anchor. If an earlier box has that place, the next best anchor takes it.

    Attributes:
      anchors: `[6, 2]`, width and height in pixels.
      num_classes: classes; there is none for the background.
      image_size: height and width in pixels.
    """

    anchors: np.ndarray
    num_classes: int
    image_size: int

    def __call__(self, boxes: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
        """Encodes `boxes` `[objects, 4]` with their `labels` `[objects]`: float32 `[cells, cells, 3, 5 + classes]`."""
        y_true = [
            np.zeros((self.image_size // stride, self.image_size // stride, 3, 5 + self.num_classes), np.float32)
            for stride in STRIDES
        ]
        overlaps = iou(_centred(boxes[:, 2:]), _centred(self.anchors / self.image_size))
        for box, label, overlap in zip(boxes, labels, overlaps, strict=True):
            for anchor in np.argsort(-overlap, kind="stable"):
                free = [row for row in self._rows(y_true, box, anchor) if row[4] == 0]
                if free:
                    break
            for row in free:
                row[:4] = box
                row[4] = row[5 + label] = 1.0
        return y_true

    @staticmethod
    def _rows(y_true: Sequence[np.ndarray], box: np.ndarray, anchor: int) -> list[np.ndarray]:
        """The rows of `y_true` that belong to the cell of `box` and to `anchor`."""
        rows = []
        for labels, mask in zip(y_true, ANCHOR_MASKS, strict=True):
            if anchor in mask:
                column, row = (box[:2] * labels.shape[:2]).astype(int)
                rows.append(labels[row, column, mask.index(anchor)])
        return rows


@dataclasses.dataclass(frozen=True)
class BoxDecoder:
    """Turns the outputs of the model into detections.

    Attributes:
      anchors: `[6, 2]`, width and height in pixels.
    """

    anchors: np.ndarray

    def __call__(self, outputs: Sequence[np.ndarray]) -> list[Detections]:
        """Decodes one array `[batch, cells, cells, 3 * (5 + classes)]` per scale."""
        scales = [
            self._decode(output, stride, self.anchors[list(mask)])
            for output, stride, mask in zip(outputs, STRIDES, ANCHOR_MASKS, strict=True)
        ]
        boxes, scores = (np.concatenate(parts, axis=1) for parts in zip(*scales, strict=True))
        return non_max_suppression(boxes, scores)

    @staticmethod
    def _decode(output: np.ndarray, stride: int, anchors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes `[batch, boxes, 4]` and scores `[batch, boxes, classes]` of one scale."""
        images, height, width, _ = output.shape
        logits = output.reshape(images, height, width, len(anchors), -1)
        y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
        cells = np.stack([x, y], axis=-1)[:, :, np.newaxis]
        boxes = np.concatenate(
            [
                (_sigmoid(logits[..., :2]) + cells) / (width, height),
                np.exp(logits[..., 2:4]) * anchors / (width * stride, height * stride),
            ],
            axis=-1,
        ).astype(np.float32)
        scores = _sigmoid(logits[..., 4:5]) * _sigmoid(logits[..., 5:])
        return boxes.reshape(images, -1, 4), scores.reshape(images, -1, scores.shape[-1])


def _centred(sizes: np.ndarray) -> np.ndarray:
    """Boxes of these sizes around one point."""
    return np.concatenate([np.zeros_like(sizes), sizes], axis=-1)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (np.tanh(0.5 * x) + 1.0)
