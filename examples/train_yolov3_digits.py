"""Trains a small YOLOv3 on handwritten digits with the reference loss and the fused one, and compares the two runs.

    python examples/train_yolov3_digits.py --output demo-output/yolov3

The loss is a layer of the model, as in keras-yolo3. Writes `loss_curves.png`, `detections.png` and `report.json`; exits
with status 1 if the fused run finds too few digits.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import detloss
from detloss.compat.keras_yolo3 import yolo_loss
from digits.boxes import Detections
from digits.canvases import CLASS_NAMES, IMAGE_SIZE, Canvas
from digits.comparison import argument_parser, compare
from digits.detector import images_of
from digits.yolov3_boxes import ANCHOR_MASKS, STRIDES, BoxDecoder, BoxEncoder
from digits.yolov3_model import ANCHORS, build_detector

LOSS_ARGUMENTS = {"anchors": ANCHORS, "num_classes": len(CLASS_NAMES), "ignore_thresh": 0.5}


def reference_loss(
    args: Sequence[tf.Tensor], anchors: np.ndarray, num_classes: int, ignore_thresh: float = 0.5
) -> tf.Tensor:
    """The same loss in plain TensorFlow: `[1]`, from the outputs of both scales and their `y_true`."""
    outputs, y_true = list(args[:2]), list(args[2:])
    masked_anchors = np.asarray(anchors)[np.array(ANCHOR_MASKS)]
    per_image = detloss.reference.yolov3_loss(
        y_true, outputs, masked_anchors, stride=STRIDES, ignore_thresh=ignore_thresh
    )
    return tf.reduce_mean(per_image, keepdims=True)


LOSSES = {
    "reference": reference_loss,
    # What a user of keras-yolo3 keeps; only the import above changes.
    "fused": yolo_loss,
}


class YOLOv3:
    """A YOLOv3 with two scales, labelled and compiled as in keras-yolo3."""

    def __init__(self) -> None:
        self._encode = BoxEncoder(ANCHORS, len(CLASS_NAMES), IMAGE_SIZE)
        self._decode = BoxDecoder(ANCHORS)

    def build(self) -> keras.Model:
        """A new model from images to the logits of both scales."""
        return build_detector(len(CLASS_NAMES), IMAGE_SIZE)

    def compile(self, model: keras.Model, loss: Any, optimizer: keras.optimizers.Optimizer) -> keras.Model:
        """A model from images and `y_true` to the loss, which shares the layers of `model`."""
        y_true = [
            keras.Input((IMAGE_SIZE // stride, IMAGE_SIZE // stride, len(mask), 5 + len(CLASS_NAMES)))
            for stride, mask in zip(STRIDES, ANCHOR_MASKS, strict=True)
        ]
        loss_layer = keras.layers.Lambda(loss, output_shape=(1,), name="yolo_loss", arguments=LOSS_ARGUMENTS)
        trainer = keras.Model([*model.inputs, *y_true], loss_layer([*model.outputs, *y_true]))
        # The model's output is the loss already.
        trainer.compile(optimizer=optimizer, loss={"yolo_loss": lambda y_true, y_pred: y_pred})
        return trainer

    def batch(self, canvases: Sequence[Canvas]) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """Images and `y_true` of both scales as inputs, and labels that the compiled loss does not look at."""
        encoded = [self._encode(canvas.boxes, canvas.labels) for canvas in canvases]
        y_true = (np.stack(scale) for scale in zip(*encoded, strict=True))
        return (images_of(canvases), *y_true), np.zeros(len(canvases), np.float32)

    def loss_value(
        self, loss: Any, x: Sequence[tf.Tensor], y: tf.Tensor, predictions: Sequence[tf.Tensor]
    ) -> tf.Tensor:
        """What the loss layer computes."""
        return tf.reduce_sum(loss([*predictions, *x[1:]], **LOSS_ARGUMENTS))

    def decode(self, predictions: Sequence[np.ndarray]) -> list[Detections]:
        """The boxes that the logits of both scales stand for."""
        return self._decode(predictions)


def main() -> int:
    """Trains, compares, reports. Returns the exit status."""
    parser = argument_parser(__doc__.splitlines()[0])
    # One place per digit to learn from, where SSD has many: more steps.
    parser.set_defaults(epochs=10, steps_per_epoch=80, batch_size=16)
    return compare(YOLOv3(), LOSSES, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
