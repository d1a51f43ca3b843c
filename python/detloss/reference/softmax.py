"""The logarithm of a softmax in plain TensorFlow, which has a limit where logits are infinite."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


@tf.custom_gradient
def log_softmax(logits: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Logarithms of the probabilities of `[..., C]` logits; NaN in a row where one is.

    `tf.nn.log_softmax` but where the largest logit of a row is infinite: those equal to it share the probability.
    """
    largest = tf.reduce_max(logits, axis=-1, keepdims=True)
    differences = tf.where(logits == largest, tf.zeros_like(logits), logits - largest)
    logarithms = differences - tf.math.log(tf.reduce_sum(tf.exp(differences), axis=-1, keepdims=True))

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return upstream - tf.exp(logarithms) * tf.reduce_sum(upstream, axis=-1, keepdims=True)

    return logarithms, gradient
