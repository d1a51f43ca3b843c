"""The block that all models here are made of."""

from __future__ import annotations

from keras import layers


def convolution(x, filters: int, size: int = 3, strides: int = 1, negative_slope: float = 0.0):
    """Convolution, batch normalisation, ReLU; `negative_slope` makes that a leaky ReLU."""
    x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
    # Keras' momentum of 0.99 is for long trainings: after a few hundred steps the averages still lag behind the
    # weights, and boxes found at inference come out too large.
    x = layers.BatchNormalization(momentum=0.9)(x)
    return layers.ReLU(negative_slope=negative_slope)(x)
