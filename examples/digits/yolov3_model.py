"""The detector: a few convolutions, and heads on two of their feature maps that score and shift anchor boxes."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from digits.convolution import convolution

#: Width and height in pixels. Rows 1 to 5 are typical digits; no scale uses row 0.
ANCHORS = np.array([(9, 13), (12, 18), (16, 22), (20, 28), (25, 36), (32, 44)], np.float32)

_ANCHORS_PER_SCALE = 3


def build_detector(num_classes: int, image_size: int) -> keras.Model:
    """A YOLOv3 for grey images `[image_size, image_size, 1]` with two outputs, at strides of 32 and 16 pixels.

    The outputs are logits, `[batch, cells, cells, 3 * (5 + num_classes)]`.
    """
    image = keras.Input((image_size, image_size, 1), name="image")
    x = _convolution(image, 16, strides=2)
    x = _convolution(x, 32, strides=2)
    x = layers.MaxPooling2D()(_convolution(x, 64))
    x = layers.MaxPooling2D()(_convolution(_convolution(x, 128), 128))
    coarse = _convolution(layers.MaxPooling2D()(x), 192)
    from_coarse = layers.UpSampling2D()(_convolution(coarse, 64, size=1))
    fine = _convolution(layers.Concatenate()([_convolution(x, 128, size=1), from_coarse]), 128)

    filters = _ANCHORS_PER_SCALE * (5 + num_classes)
    # Whatever the policy of the layers, logits leave in float32.
    outputs = [
        layers.Conv2D(filters, 1, dtype="float32", name=name)(features)
        for name, features in (("coarse", coarse), ("fine", fine))
    ]
    return keras.Model(image, outputs, name="yolov3")


def _convolution(x, filters: int, size: int = 3, strides: int = 1):
    return convolution(x, filters, size, strides, negative_slope=0.1)
