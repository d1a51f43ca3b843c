"""What a comparison has to know of a kind of detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from digits.boxes import Detections
from digits.canvases import Canvas


class Detector(Protocol):
    """A kind of detector: its model, its labels, how it takes its loss."""

    def build(self) -> keras.Model:
        """A new model from images to predictions."""

    def compile(self, model: keras.Model, loss: Any, optimizer: keras.optimizers.Optimizer) -> keras.Model:
        """A compiled model that trains `model` with `loss`: `model` itself, or one that shares its layers."""

    def batch(self, canvases: Sequence[Canvas]) -> tuple[Any, Any]:
        """These canvases as the `x` and `y` that the compiled model takes."""

    def loss_value(self, loss: Any, x: Any, y: Any, predictions: Any) -> tf.Tensor:
        """The loss of `predictions`, as training computes it from `x` and `y`."""

    def decode(self, predictions: Any) -> list[Detections]:
        """The boxes that the model's predictions stand for, image by image."""


def images_of(canvases: Sequence[Canvas]) -> np.ndarray:
    """The canvases' images as one batch, float32 `[batch, IMAGE_SIZE, IMAGE_SIZE, 1]`."""
    return np.stack([canvas.image for canvas in canvases])
