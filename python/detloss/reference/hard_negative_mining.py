"""Hard negative mining in plain TensorFlow, with static shapes throughout, so that XLA compiles it."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from detloss.ops import arguments
from detloss.ssd_options import check_mining_options


def hard_negative_mask(
    negative_loss: Any,
    n_positive: Any,
    *,
    neg_pos_ratio: float = 3.0,
    n_neg_min: int = 0,
    mining_scope: str = "batch",
    name: str | None = None,
) -> tf.Tensor:
    """`detloss.hard_negative_mask` in plain TensorFlow.

    Args:
      negative_loss: `[B, N]`, float32, float16, bfloat16 or float64: the loss of every negative box, zero for boxes
        that are no candidates.
      n_positive: `[B]`, the positives of every image, any numeric dtype.
      neg_pos_ratio: hard negatives kept per positive.
      n_neg_min: hard negatives to keep at least per scope; with `"image_uniform"` the number if no image asks for any.
      mining_scope: `"batch"`, `"image"` or `"image_uniform"`, as in `detloss.ssd_loss`.
      name: name scope of the operations.

    Returns:
      bool `[B, N]`, True where the box is kept. It has no gradient.

    Raises:
      TypeError: a dtype is wrong.
      ValueError: an option or a static shape is wrong.
      tf.errors.InvalidArgumentError: a shape is wrong at run time. XLA drops the assertions that tell.
    """
    check_mining_options(neg_pos_ratio, n_neg_min, mining_scope)
    keys = arguments.as_predictions("negative_loss", negative_loss)
    counts = arguments.as_labels("n_positive", n_positive, keys)
    with tf.name_scope(name or "hard_negative_mask"):
        keys = tf.stop_gradient(tf.cast(keys, counts.dtype))
        keys = _of_rank("negative_loss", keys, 2)
        counts = _of_rank("n_positive", counts, 1)
        if not keys.shape[:1].is_compatible_with(counts.shape):
            raise ValueError(f"n_positive: expected shape [{keys.shape[0]}], as negative_loss has, got {counts.shape}")
        tf.debugging.assert_equal(
            tf.shape(counts), tf.shape(keys)[:1], "n_positive: expected as many images as in negative_loss"
        )
        eligible = tf.ones_like(keys, tf.bool)
        return select_hardest(keys, eligible, counts, neg_pos_ratio, n_neg_min, mining_scope)


def select_hardest(
    keys: tf.Tensor,
    eligible: tf.Tensor,
    n_positive: tf.Tensor,
    neg_pos_ratio: float,
    n_neg_min: int,
    mining_scope: str,
) -> tf.Tensor:
    """The boxes with the largest keys of every scope, lowest flat index first among equals.

    Args:
      keys: `[B, N]`, float32 or float64, zero for boxes that are no candidates. NaN ranks first.
      eligible: bool `[B, N]`; the other boxes rank last and are never kept.
      n_positive: `[B]`, of the keys' dtype.
      neg_pos_ratio: hard negatives kept per positive.
      n_neg_min: hard negatives to keep at least per scope.
      mining_scope: `"batch"`, `"image"` or `"image_uniform"`.

    Returns:
      bool `[B, N]`.
    """
    ordered = _ordered_integers(keys)
    ranks = tf.where(eligible, ordered, ordered.dtype.min)
    if mining_scope == "image_uniform":
        kept = _largest(ranks, _uniform_count_to_keep(n_positive, tf.shape(keys), neg_pos_ratio, n_neg_min))
        return kept & eligible
    candidates = _count((ordered != 0) & eligible)
    if mining_scope == "image":
        kept = _largest(ranks, _count_to_keep(n_positive, candidates, neg_pos_ratio, n_neg_min))
    else:
        n_positive = tf.reduce_sum(tf.cast(n_positive, tf.float64), keepdims=True)
        count = _count_to_keep(n_positive, tf.reduce_sum(candidates, keepdims=True), neg_pos_ratio, n_neg_min)
        kept = tf.reshape(_largest(tf.reshape(ranks, [1, -1]), count), tf.shape(keys))
    return kept & eligible


def _of_rank(name: str, tensor: tf.Tensor, rank: int) -> tf.Tensor:
    if tensor.shape.rank not in (None, rank):
        raise ValueError(f"{name}: expected rank {rank}, got shape {tensor.shape}")
    return tf.ensure_shape(tensor, [None] * rank)


def _count_to_keep(n_positive: tf.Tensor, candidates: tf.Tensor, neg_pos_ratio: float, n_neg_min: int) -> tf.Tensor:
    """`min(max(floor(ratio * floor(n_positive)), n_neg_min), candidates)`, one per scope."""
    # The product is rounded to float32 before the floor: a ratio of 0.1 and 10 positives ask for 1 box.
    wanted = tf.floor(_by_ratio(neg_pos_ratio, tf.floor(tf.cast(n_positive, tf.float32))))
    count = tf.minimum(tf.maximum(tf.cast(wanted, tf.float64), n_neg_min), tf.cast(candidates, tf.float64))
    return tf.cast(count, tf.int32)


def _uniform_count_to_keep(n_positive: tf.Tensor, shape: tf.Tensor, neg_pos_ratio: float, n_neg_min: int) -> tf.Tensor:
    """The smallest positive `min(ratio * n_positive, N - n_positive)`, the same for every image."""
    n_boxes = tf.cast(shape[1], tf.float32)
    n_positive = tf.cast(n_positive, tf.float32)
    wanted = tf.minimum(_by_ratio(neg_pos_ratio, n_positive), n_boxes - n_positive)
    # Where `wanted > 0`, but TensorFlow's threads take a subnormal product for zero.
    asks = (n_positive > 0) & (n_positive < n_boxes) & bool(np.float32(neg_pos_ratio) > 0)
    smallest = tf.reduce_min(tf.where(asks, wanted, float("inf")))
    count = tf.where(tf.reduce_any(asks), tf.floor(smallest), float(n_neg_min))
    return tf.fill(shape[:1], tf.cast(tf.minimum(count, n_boxes), tf.int32))


def _by_ratio(neg_pos_ratio: float, n_positive: tf.Tensor) -> tf.Tensor:
    """None where the ratio is 0, be the positives beyond float32."""
    return neg_pos_ratio * n_positive if neg_pos_ratio else tf.zeros_like(n_positive)


def _largest(ranks: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Marks the `count` largest integers of every row, lowest index first among equals."""

    def search() -> tf.Tensor:
        threshold = _kth_largest(ranks, count)[:, tf.newaxis]
        above = ranks > threshold
        equal = ranks == threshold
        room = (count - _count(above))[:, tf.newaxis]
        return above | (equal & (tf.cumsum(tf.cast(equal, tf.int32), axis=1) <= room))

    # Besides saving the search, the branch makes XLA store the mask, which it would else compute anew for every class.
    return tf.cond(tf.reduce_any(count > 0), search, lambda: tf.zeros_like(ranks, tf.bool))


def _ordered_integers(keys: tf.Tensor) -> tf.Tensor:
    """Integers in the order of the floating-point keys: 0 for both zeros, and the largest of all for NaN."""
    integer = tf.int64 if keys.dtype == tf.float64 else tf.int32
    bits = tf.bitcast(keys, integer)
    # A negative float has its sign bit set and grows in magnitude with the other bits: turning those over orders it.
    sign = tf.bitwise.right_shift(bits, tf.constant(integer.size * 8 - 1, integer))
    ordered = tf.bitwise.bitwise_xor(bits, tf.bitwise.bitwise_and(sign, tf.constant(integer.max, integer)))
    # That makes -0.0 to -1. Comparing the keys with zero would miss subnormal ones, which TensorFlow's threads flush.
    ordered = tf.where(ordered == -1, tf.zeros_like(ordered), ordered)
    return tf.where(tf.math.is_nan(keys), integer.max, ordered)


def _kth_largest(ranks: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """The largest integer that at least `count` entries of the row reach, found bit by bit.

    Counting once per bit takes a tenth of the time of a sort, and unlike `top_k` it needs no static k under XLA.
    """
    integer = ranks.dtype
    n_bits = integer.size * 8

    def settle_bit(bit: tf.Tensor, threshold: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Toggling, not adding: the first bit is the sign, which the smallest integer has set and zero has not.
        mask = tf.bitwise.left_shift(tf.constant(1, integer), tf.cast(bit, integer))
        higher = tf.bitwise.bitwise_xor(threshold, mask)
        reached = _count(ranks >= higher[:, tf.newaxis])
        return bit - 1, tf.where(reached >= count, higher, threshold)

    _, threshold = tf.while_loop(
        lambda bit, _: bit >= 0,
        settle_bit,
        (tf.constant(n_bits - 1), tf.fill(tf.shape(count), tf.constant(integer.min, integer))),
        maximum_iterations=n_bits,
    )
    return threshold


def _count(condition: tf.Tensor) -> tf.Tensor:
    """True entries of every row. `tf.math.count_nonzero` counts in int64, which takes twice as long."""
    return tf.reduce_sum(tf.cast(condition, tf.int32), axis=1)
