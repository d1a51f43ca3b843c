"""The graphs of the two SSD repositories' losses: `top_k` with a data-dependent k, then scatter or gather.

They stand for what a user of these repositories runs today: float32, masks by multiplication, no rule for NaN or bad
labels. What is computed, and with which TensorFlow operations, is theirs; `detloss.reference.ssd_loss` is the same loss
without their limits.

XLA wants the k of `top_k` at compile time. For `ssd_keras_loss` it therefore takes everything that k depends on, labels
and predictions, as constants: `jit_compile=True` works, but compiles anew for every batch of other values, computes the
loss while compiling (a minute at SSD300 and batch 32), and what then runs only writes the results out.
`ssd_keras_rykov8_loss` does not compile, because the shape it tiles to depends on k.
"""

from __future__ import annotations

import tensorflow as tf

_SMALLEST_PROBABILITY = 1e-15


def ssd_keras_loss(
    y_true: tf.Tensor, y_pred: tf.Tensor, neg_pos_ratio: int = 3, n_neg_min: int = 0, alpha: float = 1.0
) -> tf.Tensor:
    """`SSDLoss.compute_loss` of pierluigiferrari/ssd_keras.

    Args:
      y_true: float32 `[B, N, C + 12]`: classes (one-hot, background first), 4 offsets, 8 unused columns.
      y_pred: float32 `[B, N, C + 12]`: class probabilities, 4 offsets, 8 unused columns.
      neg_pos_ratio: negatives kept for one positive, over the batch.
      n_neg_min: negatives kept at least, over the batch.
      alpha: weight of the localisation loss.

    Returns:
      The loss of every image, `[B]`, divided by the positives of the batch and multiplied by B.
    """
    batch_size = tf.shape(y_pred)[0]
    n_boxes = tf.shape(y_pred)[1]
    probabilities = tf.maximum(y_pred[:, :, :-12], _SMALLEST_PROBABILITY)
    classification_loss = _log_loss(y_true[:, :, :-12], probabilities)
    localization_loss = _smooth_l1_loss(y_true[:, :, -12:-8], y_pred[:, :, -12:-8])

    negatives = y_true[:, :, 0]
    positives = tf.reduce_max(y_true[:, :, 1:-12], axis=-1)
    n_positive = tf.reduce_sum(positives)
    positive_class_loss = tf.reduce_sum(classification_loss * positives, axis=-1)

    negative_losses = classification_loss * negatives
    n_candidates = tf.math.count_nonzero(negative_losses, dtype=tf.int32)
    n_kept = tf.minimum(tf.maximum(neg_pos_ratio * tf.cast(n_positive, tf.int32), n_neg_min), n_candidates)

    def no_negatives() -> tf.Tensor:
        return tf.zeros([batch_size])

    def hardest_negatives() -> tf.Tensor:
        flat = tf.reshape(negative_losses, [-1])
        _, indices = tf.math.top_k(flat, k=n_kept, sorted=False)
        kept = tf.scatter_nd(tf.expand_dims(indices, 1), tf.ones_like(indices), tf.shape(flat))
        kept = tf.cast(tf.reshape(kept, [batch_size, n_boxes]), tf.float32)
        return tf.reduce_sum(classification_loss * kept, axis=-1)

    negative_class_loss = tf.cond(tf.equal(n_candidates, 0), no_negatives, hardest_negatives)
    class_loss = positive_class_loss + negative_class_loss
    location_loss = tf.reduce_sum(localization_loss * positives, axis=-1)
    total = (class_loss + alpha * location_loss) / tf.maximum(1.0, n_positive)
    return total * tf.cast(batch_size, tf.float32)


def ssd_keras_rykov8_loss(
    y_true: tf.Tensor,
    y_pred: tf.Tensor,
    num_classes: int,
    alpha: float = 1.0,
    neg_pos_ratio: float = 3.0,
    negatives_for_hard: float = 100.0,
) -> tf.Tensor:
    """`MultiboxLoss.compute_loss` of rykov8/ssd_keras.

    Args:
      y_true: float32 `[B, N, 4 + num_classes + 8]`: 4 offsets, classes (one-hot, background first), positive flag, 7
        unused columns.
      y_pred: float32 `[B, N, 4 + num_classes + 8]`: 4 offsets, class probabilities, 8 unused columns.
      num_classes: classes with the background.
      alpha: weight of the localisation loss.
      neg_pos_ratio: negatives kept for one positive of the image that has the fewest.
      negatives_for_hard: negatives kept in every image of a batch without positives.

    Returns:
      The loss of every image, `[B]`.
    """
    batch_size = tf.shape(y_true)[0]
    n_boxes = tf.shape(y_true)[1]
    class_columns = slice(4, 4 + num_classes)
    probabilities = tf.minimum(y_pred[:, :, class_columns], 1 - _SMALLEST_PROBABILITY)
    probabilities = tf.maximum(probabilities, _SMALLEST_PROBABILITY)
    confidence_loss = _log_loss(y_true[:, :, class_columns], probabilities)
    localization_loss = _smooth_l1_loss(y_true[:, :, :4], y_pred[:, :, :4])

    positives = y_true[:, :, -8]
    n_positive = tf.reduce_sum(positives, axis=-1)
    positive_location_loss = tf.reduce_sum(localization_loss * positives, axis=1)
    positive_confidence_loss = tf.reduce_sum(confidence_loss * positives, axis=1)

    wanted = tf.minimum(neg_pos_ratio * n_positive, tf.cast(n_boxes, tf.float32) - n_positive)
    has_positives = tf.cast(tf.reduce_any(wanted > 0), tf.float32)
    wanted = tf.concat([wanted, [(1 - has_positives) * negatives_for_hard]], axis=0)
    n_kept = tf.cast(tf.reduce_min(tf.boolean_mask(wanted, wanted > 0)), tf.int32)

    foreground = tf.reduce_max(y_pred[:, :, 5 : 4 + num_classes], axis=2)
    _, indices = tf.math.top_k(foreground * (1 - positives), k=n_kept)
    image_of_kept = tf.tile(tf.expand_dims(tf.range(batch_size), 1), [1, n_kept])
    flat_indices = tf.reshape(image_of_kept, [-1]) * n_boxes + tf.reshape(indices, [-1])
    negative_confidence_loss = tf.gather(tf.reshape(confidence_loss, [-1]), flat_indices)
    negative_confidence_loss = tf.reduce_sum(tf.reshape(negative_confidence_loss, [batch_size, n_kept]), axis=1)

    loss = (positive_confidence_loss + negative_confidence_loss) / (n_positive + tf.cast(n_kept, tf.float32))
    return loss + alpha * positive_location_loss / tf.where(n_positive != 0, n_positive, tf.ones_like(n_positive))


def _log_loss(labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
    return -tf.reduce_sum(labels * tf.math.log(probabilities), axis=-1)


def _smooth_l1_loss(labels: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
    distance = tf.abs(labels - predictions)
    return tf.reduce_sum(tf.where(distance < 1.0, 0.5 * (labels - predictions) ** 2, distance - 0.5), axis=-1)
