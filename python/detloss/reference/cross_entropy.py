"""Cross-entropies and focal losses of YOLOv3's objectness and classes in plain TensorFlow."""

from __future__ import annotations

import tensorflow as tf

_FOCAL_ALPHA = 0.25
_SMALLEST_PROBABILITY = 1e-15
_CLIP = 1e-7


def smooth(labels: tf.Tensor, label_smoothing: float) -> tf.Tensor:
    """Labels moved towards one half."""
    return labels * (1 - label_smoothing) + label_smoothing / 2


def sigmoid_cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Elementwise binary cross-entropy on logits."""
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)


def sigmoid_focal(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Elementwise focal loss (arXiv:1708.02002), gamma 2 and alpha 0.25, for labels within [0, 1]."""
    # One minus the probability of the label, summed from small numbers so that no digits cancel.
    missed = labels * tf.sigmoid(-logits) + (1 - labels) * tf.sigmoid(logits)
    alpha = labels * _FOCAL_ALPHA + (1 - labels) * (1 - _FOCAL_ALPHA)
    return alpha * missed**2 * sigmoid_cross_entropy(labels, logits)


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
        return tf.reduce_sum(class_weights * elementwise, axis=-1)
    if kind == "normalized_sigmoid":
        return _normalized_sigmoid(labels, logits, class_weights)
    if focal:
        return tf.reduce_sum(class_weights * _softmax_focal(labels, logits), axis=-1)
    # TensorFlow's gradient is p - y even where the labels do not add up to 1.
    loss = tf.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    if not weights:
        return loss
    return loss * tf.math.divide_no_nan(tf.reduce_sum(class_weights * labels, axis=-1), tf.reduce_sum(labels, axis=-1))


def _softmax_focal(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    probabilities = tf.nn.softmax(logits)
    smallest = tf.constant(_SMALLEST_PROBABILITY, logits.dtype)
    # Not `tf.maximum`, whose gradient at NaN is zero.
    probabilities = tf.where(probabilities < smallest, smallest, probabilities)
    return _FOCAL_ALPHA * (1 - probabilities) ** 2 * labels * -tf.math.log(probabilities)


def _normalized_sigmoid(labels: tf.Tensor, logits: tf.Tensor, class_weights: tf.Tensor) -> tf.Tensor:
    """Softmax cross-entropy over the logarithms of the clipped sigmoids, as zzh8829/yolov3-tf2 computes it."""
    probabilities = tf.sigmoid(logits)
    low, high = (tf.constant(bound, logits.dtype) for bound in (_CLIP, 1 - _CLIP))
    probabilities = tf.where(probabilities < low, low, tf.where(probabilities > high, high, probabilities))
    chosen = tf.one_hot(tf.argmax(labels, axis=-1), tf.shape(labels)[-1], dtype=logits.dtype)
    own = tf.reduce_sum(chosen * probabilities, axis=-1)
    weight = tf.reduce_sum(chosen * class_weights, axis=-1)
    return weight * -tf.math.log(own / tf.reduce_sum(probabilities, axis=-1))
