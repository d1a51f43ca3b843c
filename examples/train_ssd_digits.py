"""Trains a small SSD on handwritten digits with the reference loss and with the fused loss, and compares the two runs.

    python examples/train_ssd_digits.py --output demo-output/ssd

Writes `loss_curves.png`, `detections.png` and `report.json`; exits with status 1 if the fused run finds too few digits.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import detloss
from detloss.compat.ssd_keras import SSDLoss
from digits.boxes import Detections
from digits.canvases import CLASS_NAMES, IMAGE_SIZE, Canvas
from digits.comparison import argument_parser, compare
from digits.detector import images_of
from digits.ssd_boxes import BoxEncoder, decode, prior_boxes
from digits.ssd_model import ANCHOR_GRIDS, build_detector

NUM_CLASSES = 1 + len(CLASS_NAMES)  # with the background


def reference_loss(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """The same loss in plain TensorFlow."""
    return detloss.reference.ssd_loss(y_true, y_pred, neg_pos_ratio=3, alpha=1.0)


LOSSES = {
    "reference": reference_loss,
    # The line that a user of ssd_keras keeps; only the import above it changes.
    "fused": SSDLoss(neg_pos_ratio=3, alpha=1.0).compute_loss,
}


class SSD:
    """A single-shot detector with three heads, labelled and compiled as in ssd_keras."""

    def __init__(self) -> None:
        self._encode = BoxEncoder(prior_boxes(ANCHOR_GRIDS), NUM_CLASSES)

    def build(self) -> keras.Model:
        """A new model from images to `y_pred`."""
        return build_detector(NUM_CLASSES, IMAGE_SIZE)

    def compile(self, model: keras.Model, loss: Any, optimizer: keras.optimizers.Optimizer) -> keras.Model:
        """`model`, compiled with `loss`."""
        model.compile(optimizer=optimizer, loss=loss)
        return model

    def batch(self, canvases: Sequence[Canvas]) -> tuple[np.ndarray, np.ndarray]:
        """Images and `y_true`."""
        return images_of(canvases), np.stack([self._encode(canvas.boxes, canvas.labels) for canvas in canvases])

    def loss_value(self, loss: Any, x: tf.Tensor, y: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
        """The mean over the images, as Keras takes it."""
        return tf.reduce_mean(loss(y, predictions))

    def decode(self, predictions: np.ndarray) -> list[Detections]:
        """The boxes that `y_pred` stands for."""
        return decode(predictions)


def main() -> int:
    """Trains, compares, reports. Returns the exit status."""
    return compare(SSD(), LOSSES, argument_parser(__doc__.splitlines()[0]).parse_args())


if __name__ == "__main__":
    sys.exit(main())
