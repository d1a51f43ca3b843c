"""Weights and masks of the images of a batch, of the shapes that a Keras takes for one value per image."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def as_image_weights(sample_weight: Any, per_image: tf.Tensor) -> tf.Tensor:
    """`sample_weight` as `[B]`.

    Args:
      sample_weight: `[B]`, a scalar, or `[B, 1]`, which both Kerases take for `[B]`; any numeric dtype.
      per_image: any tensor whose first axis is the images.

    Returns:
      `[B]`, in the dtype of `sample_weight`.

    Raises:
      TypeError: `sample_weight` is ragged or sparse.
      ValueError: its static shape is another.
      tf.errors.InvalidArgumentError: its shape is another at run time.
    """
    if isinstance(sample_weight, tf.RaggedTensor | tf.SparseTensor):
        raise TypeError(f"sample_weight: expected a dense tensor, got a {type(sample_weight).__name__}")
    # XLA names nothing of a failing op but its scope.
    with tf.name_scope("sample_weight"):
        weights = tf.convert_to_tensor(sample_weight)
        images = per_image.shape[0]
        check_static_shape(weights.shape, images)
        if weights.shape.rank == 1 and None not in (images, weights.shape[0]):
            return weights
        batch, is_scalar = tf.shape(per_image)[0], tf.equal(tf.rank(weights), 0)
        # Symbolic tensors of tf_keras take no assertion: the reshapes below are all of their check.
        if isinstance(weights, tf.Tensor) and isinstance(batch, tf.Tensor):
            with tf.control_dependencies([_assert_shape(weights, batch)]):
                weights = tf.identity(weights)
        # XLA drops assertions, but reshapes nothing to another number of elements: neither [B, k], k > 1, to [B] nor,
        # of another batch, [b] to [B]. The product over no axis is the 1 of a scalar.
        weights = tf.reshape(weights, [tf.reduce_prod(tf.shape(weights)[:1])])
        weights = tf.reshape(weights, [tf.where(is_scalar, 1, batch)])
        return tf.broadcast_to(weights, [batch])


def check_static_shape(shape: tf.TensorShape, images: int | None) -> None:
    """Raises `ValueError` for weights of a shape that no number of images has, or not this one."""
    if not tf.TensorShape([images, 1][: shape.rank]).is_compatible_with(shape):
        raise ValueError(f"{_EXPECTED}, got {shape}" + ("" if images is None else f" for a batch of {images}"))


def check_keras_weights(sample_weight: Any, mask: Any, per_image: tf.Tensor) -> tf.Tensor:
    """`per_image`, `[B]`, of which a Keras applies weights and mask itself, once their shapes are checked.

    Raises:
      TypeError, ValueError, tf.errors.InvalidArgumentError: as `as_image_weights` and `check_image_mask`.
    """
    if mask is not None:
        check_image_mask(mask)
    if sample_weight is None:
        return per_image
    # The check takes part in the graph only where the result does.
    return tf.reshape(per_image, tf.shape(as_image_weights(sample_weight, per_image)))


def check_image_mask(mask: Any) -> None:
    """Raises `ValueError` for a mask of predictions that has another shape than `[B]`."""
    if mask.shape.rank != 1:
        raise ValueError(
            f"mask: expected shape [batch], got {mask.shape}. It is the labels that leave single boxes out of the loss."
        )


_EXPECTED = "sample_weight: expected shape [batch], [batch, 1] or a scalar"


def _assert_shape(weights: tf.Tensor, batch: tf.Tensor) -> tf.Operation:
    shape, rank = tf.shape(weights), tf.rank(weights)
    expected = tf.concat([[batch], tf.ones_like(shape[1:])], 0)[:rank]
    fits = tf.logical_and(rank <= 2, tf.reduce_all(tf.equal(shape, expected)))
    return tf.debugging.Assert(fits, [f"{_EXPECTED}, got", shape, "for a batch of", batch])
