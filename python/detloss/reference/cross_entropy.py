"""Cross-entropies and focal losses of YOLOv3's objectness and classes in plain TensorFlow."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from detloss.reference.softmax import log_softmax

_FOCAL_ALPHA = 0.25
_SMALLEST_PROBABILITY = 1e-15
_CLIP = 1e-7


def smooth(labels: tf.Tensor, label_smoothing: float) -> tf.Tensor:
    """Labels moved towards one half."""
    return labels * (1 - label_smoothing) + label_smoothing / 2


def weighted(terms: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """The product, but 0 where the weight is: such a term may be infinite or NaN."""
    return tf.math.multiply_no_nan(terms, weights)


@tf.custom_gradient
def sigmoid_cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Elementwise binary cross-entropy on logits, of which infinite ones count as the largest numbers."""
    logits = _to_finite(logits)
    loss = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
    slope = tf.sigmoid(logits) - labels
    return loss, lambda upstream: (None, weighted(slope, upstream))


@tf.custom_gradient
def sigmoid_focal(labels: tf.Tensor, logits: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Elementwise focal loss (arXiv:1708.02002), gamma 2 and alpha 0.25."""
    probability, complement = tf.sigmoid(logits), tf.sigmoid(-logits)
    # One minus the probability of the label, summed from small numbers so that no digits cancel.
    missed = labels * complement + (1 - labels) * probability
    missed_slope = (1 - 2 * labels) * probability * complement
    alpha = labels * _FOCAL_ALPHA + (1 - labels) * (1 - _FOCAL_ALPHA)
    cross_entropy = _to_finite(sigmoid_cross_entropy(labels, logits))
    slope = alpha * missed * (2 * missed_slope * cross_entropy + missed * (probability - labels))
    return alpha * missed**2 * cross_entropy, lambda upstream: (None, weighted(slope, upstream))


@tf.custom_gradient
def softmax_cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Cross-entropy of every row of `[..., C]`, with TensorFlow's gradient: p - y even where y does not add up to 1."""
    logarithms = log_softmax(logits)
    loss = -tf.reduce_sum(weighted(logarithms, labels), axis=-1)
    slope = tf.exp(logarithms) - labels
    return loss, lambda upstream: (None, weighted(slope, tf.broadcast_to(upstream[..., tf.newaxis], tf.shape(slope))))


def _to_finite(values: tf.Tensor) -> tf.Tensor:
    """Infinities as the largest number of their sign; NaN stays."""
    largest = tf.constant(values.dtype.max, values.dtype)
    return tf.where(values > largest, largest, tf.where(values < -largest, -largest, values))


def class_loss(kind: str, focal: bool, labels: tf.Tensor, logits: tf.Tensor, weights: tuple[float, ...]) -> tf.Tensor:
    """Loss of every row of classes.

    Args:
      kind: `"sigmoid"`, `"softmax"` or `"normalized_sigmoid"`.
      focal: whether the focal variant is meant (not with `"normalized_sigmoid"`).
      labels: `[..., C]`, smoothed; one-hot for `"normalized_sigmoid"`.
      logits: `[..., C]`.
      weights: one per class, or none for equal weights.

    Returns:
      A tensor of shape `[...]`.
    """
    class_weights = tf.constant(weights or 1.0, logits.dtype)
    if kind == "sigmoid":
        elementwise = (sigmoid_focal if focal else sigmoid_cross_entropy)(labels, logits)
        return tf.reduce_sum(weighted(elementwise, class_weights), axis=-1)
    if kind == "normalized_sigmoid":
        return _normalized_sigmoid(labels, logits, class_weights)
    if focal:
        return tf.reduce_sum(weighted(_softmax_focal(labels, logits), class_weights), axis=-1)
    loss = softmax_cross_entropy(labels, logits)
    if not weights:
        return loss
    total = tf.reduce_sum(labels, axis=-1)
    mean_weight = tf.math.divide_no_nan(tf.reduce_sum(class_weights * labels, axis=-1), total)
    return weighted(loss, tf.where(total > 0, mean_weight, tf.ones_like(total)))


def _softmax_focal(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    logarithms = log_softmax(logits)
    smallest = tf.math.log(tf.constant(_SMALLEST_PROBABILITY, logits.dtype))
    # Not `tf.maximum`, whose gradient at NaN is zero.
    logarithms = tf.where(logarithms < smallest, smallest, logarithms)
    return _FOCAL_ALPHA * (1 - tf.exp(logarithms)) ** 2 * labels * -logarithms


def _normalized_sigmoid(labels: tf.Tensor, logits: tf.Tensor, class_weights: tf.Tensor) -> tf.Tensor:
    """Softmax cross-entropy over the logarithms of the clipped sigmoids, as zzh8829/yolov3-tf2 computes it."""
    probabilities = tf.sigmoid(logits)
    low, high = (tf.constant(bound, logits.dtype) for bound in (_CLIP, 1 - _CLIP))
    probabilities = tf.where(probabilities < low, low, tf.where(probabilities > high, high, probabilities))
    chosen = tf.one_hot(tf.argmax(labels, axis=-1), tf.shape(labels)[-1], dtype=logits.dtype)
    own = tf.reduce_sum(chosen * probabilities, axis=-1)
    weight = tf.reduce_sum(chosen * class_weights, axis=-1)
    return weighted(-tf.math.log(own / tf.reduce_sum(probabilities, axis=-1)), weight)
