"""The SSD loss in plain TensorFlow: vectorised, compilable by XLA, differentiated by TensorFlow."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from detloss.label_range import LARGEST_LABEL
from detloss.ops import arguments
from detloss.option_checks import check_flag
from detloss.reference.hard_negative_mining import select_hardest
from detloss.reference.softmax import log_softmax
from detloss.ssd_layout import SSDLayout, as_layout
from detloss.ssd_options import check_ssd_loss_options

_SMALLEST_PROBABILITY = 1e-15
_N_OFFSETS = 4
# Both repositories append 12 columns to the classes.
_NON_CLASS_COLUMNS = 12
_FEWEST_POSITIVES = 1e-30
_VALUES_SHOWN = 100


def ssd_loss(
    y_true: Any,
    y_pred: Any,
    *,
    neg_pos_ratio: float = 3.0,
    n_neg_min: int = 0,
    alpha: float = 1.0,
    mining_scope: str = "batch",
    rank_by: str = "loss",
    normalizer: str = "batch",
    from_logits: bool = False,
    layout: SSDLayout | str = "ssd_keras",
    num_classes: int | None = None,
    invalid_targets: str = "ignore",
    return_components: bool = False,
    name: str | None = None,
) -> tf.Tensor | tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """`detloss.ssd_loss` in plain TensorFlow; arguments and results are explained there.

    XLA drops assertions: compiled with `jit_compile=True`, `invalid_targets="error"` behaves as `"ignore"`, and shapes
    are checked only as far as they are known when the function is traced.

    Args:
      y_true: labels `[B, N, width]`, any numeric dtype.
      y_pred: predictions `[B, N, width]`, float32, float16, bfloat16 or float64. Half precision computes in float32.
      neg_pos_ratio: hard negatives kept per positive.
      n_neg_min: hard negatives to keep at least per scope; with `"image_uniform"` the number if no image asks for any.
      alpha: weight of the localization loss.
      mining_scope: `"batch"`, `"image"` or `"image_uniform"`.
      rank_by: `"loss"` or `"foreground"`.
      normalizer: `"batch"`, `"image"` or `"image_selected"`.
      from_logits: whether the class columns of `y_pred` are logits rather than softmax probabilities.
      layout: an `SSDLayout`, `"ssd_keras"` or `"ssd_keras_rykov8"`.
      num_classes: classes with the background, compared with the width.
      invalid_targets: `"ignore"` or `"silent"`, which are the same here, or `"error"`.
      return_components: whether to return the components too.
      name: name scope of the operations.

    Returns:
      The loss `[B]`, float32 (float64 for float64 predictions), or a pair of it and the dict of components.

    Raises:
      TypeError: `y_pred` is not floating point, `y_true` not numeric.
      ValueError: an option or a static shape is wrong.
      tf.errors.InvalidArgumentError: a shape is wrong at run time, or a label under `invalid_targets="error"`.
    """
    check_ssd_loss_options(
        dict(
            neg_pos_ratio=neg_pos_ratio,
            n_neg_min=n_neg_min,
            alpha=alpha,
            mining_scope=mining_scope,
            rank_by=rank_by,
            normalizer=normalizer,
            from_logits=from_logits,
            invalid_targets=invalid_targets,
        )
    )
    check_flag("return_components", return_components)
    row = as_layout(layout, num_classes)
    predictions = arguments.as_predictions("y_pred", y_pred)
    labels = arguments.as_labels("y_true", y_true, predictions)

    with tf.name_scope(name or "ssd_loss"):
        labels, predictions = _of_equal_shape(labels, tf.cast(predictions, labels.dtype))
        columns = _columns(row, predictions)
        targets = _read_targets(labels, columns)
        if invalid_targets == "error":
            _refuse_invalid(targets.invalid, labels, columns)
        scores = predictions[:, :, columns.classes]

        # Mining reads cls without a gradient. The loss computes it anew from the labels of the boxes that take part:
        # no NaN or infinity of another box can then reach the gradient.
        cls = tf.stop_gradient(_cross_entropy(targets.classes, scores, from_logits))
        keys = _ranking_keys(rank_by, cls, tf.stop_gradient(scores), targets.negative, from_logits)
        n_pos = tf.cast(tf.reduce_sum(tf.cast(targets.positive, tf.float64), axis=1), cls.dtype)
        kept = select_hardest(keys, ~targets.invalid, n_pos, neg_pos_ratio, n_neg_min, mining_scope)
        kept = tf.cast(kept, cls.dtype)
        weights = (targets.positive + kept)[:, :, tf.newaxis]
        if from_logits:
            # A softmax mixes its whole row, so the rows that take no part must not enter it.
            scores = tf.where(weights != 0, scores, tf.zeros_like(scores))
        confidence = tf.reduce_sum(_cross_entropy(targets.classes * weights, scores, from_logits), axis=1)
        localization = _localization(targets, predictions[:, :, columns.offsets], alpha)

        n_kept = tf.reduce_sum(kept, axis=1)
        confidence_scale, localization_scale = _scales(normalizer, n_pos, n_kept)
        hidden_nan = _nan_of_candidates(targets.negative, cls, keys)
        localization *= localization_scale
        loss = confidence * confidence_scale + localization + hidden_nan
        if not return_components:
            return loss
        components = {
            "positive": _weighted_sum(cls, targets.positive) * confidence_scale,
            "negative": _weighted_sum(cls, kept) * confidence_scale + hidden_nan,
            "localization": localization,
            "n_pos": n_pos,
            "n_kept": n_kept,
            "num_invalid": tf.math.count_nonzero(targets.invalid, axis=1, dtype=tf.int32),
        }
        return loss, {key: tf.stop_gradient(component) for key, component in components.items()}


class _Columns(NamedTuple):
    classes: slice
    offsets: slice
    positive: int | tf.Tensor | None


class _Targets(NamedTuple):
    classes: tf.Tensor  # [B, N, C], finite everywhere
    offsets: tf.Tensor  # [B, N, 4], finite for positive boxes
    positive: tf.Tensor  # [B, N], zero for invalid boxes
    negative: tf.Tensor  # [B, N], zero for invalid boxes
    invalid: tf.Tensor  # bool [B, N]


def _of_equal_shape(labels: tf.Tensor, predictions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    for argument, tensor in (("y_true", labels), ("y_pred", predictions)):
        if tensor.shape.rank not in (None, 3):
            raise ValueError(f"{argument}: expected shape [batch, boxes, width], got {tensor.shape}")
    if not labels.shape.is_compatible_with(predictions.shape):
        raise ValueError(f"y_true: expected the shape of y_pred, {predictions.shape}, got {labels.shape}")
    labels = tf.ensure_shape(labels, [None, None, None])
    predictions = tf.ensure_shape(predictions, [None, None, None])
    tf.debugging.assert_equal(tf.shape(labels), tf.shape(predictions), "y_true: expected the shape of y_pred")
    return labels, predictions


def _columns(layout: SSDLayout, predictions: tf.Tensor) -> _Columns:
    """The layout's columns, counted from the start: tensors where the width is known only at run time."""
    width = predictions.shape[2]
    if width is None:
        return _columns_at_run_time(layout, tf.shape(predictions)[2])
    try:
        resolved = layout.resolve(width)
    except ValueError as error:
        raise ValueError(f"{error}: y_true and y_pred have shape {predictions.shape}") from None
    assert resolved.num_classes is not None
    return _Columns(
        slice(resolved.class_column, resolved.class_column + resolved.num_classes),
        slice(resolved.box_column, resolved.box_column + _N_OFFSETS),
        resolved.positive_column,
    )


def _columns_at_run_time(layout: SSDLayout, width: tf.Tensor) -> _Columns:
    num_classes = width - _NON_CLASS_COLUMNS if layout.num_classes is None else tf.constant(layout.num_classes)
    tf.debugging.assert_greater_equal(num_classes, 2, "layout: expected at least 2 classes")
    if layout.exact_width and layout.num_classes is not None:
        widths = list(layout.exact_widths(layout.num_classes))
        expected = f"num_classes: expected rows of {' or '.join(map(str, widths))} columns, got"
        tf.debugging.Assert(tf.reduce_any(width == widths), [expected, width, "for num_classes=", num_classes])

    def span(name: str, column: int, count: int | tf.Tensor) -> slice:
        first = tf.constant(column) if column >= 0 else width + column
        inside = (first >= 0) & (first + count <= width)
        tf.debugging.Assert(inside, [f"layout: expected {name} inside the row, got column", first, "of", width])
        return slice(first, first + count)

    classes = span("class_column", layout.class_column, num_classes)
    offsets = span("box_column", layout.box_column, _N_OFFSETS)
    apart = (classes.stop <= offsets.start) | (offsets.stop <= classes.start)
    tf.debugging.Assert(apart, ["layout: expected columns of their own for classes and offsets in rows of", width])
    if layout.positive_column is None:
        return _Columns(classes, offsets, None)
    return _Columns(classes, offsets, span("positive_column", layout.positive_column, 1).start)


def _read_targets(labels: tf.Tensor, columns: _Columns) -> _Targets:
    classes = labels[:, :, columns.classes]
    offsets = labels[:, :, columns.offsets]
    valid = tf.reduce_all(_is_weight(classes), axis=-1)
    if columns.positive is None:
        positive = tf.reduce_max(classes[:, :, 1:], axis=-1)
        negative = classes[:, :, 0]
    else:
        positive = labels[:, :, columns.positive]
        negative = 1 - positive
        valid &= _is_weight(positive)
    valid &= (positive == 0) | tf.reduce_all(tf.abs(offsets) <= LARGEST_LABEL, axis=-1)
    zero = tf.zeros([], labels.dtype)
    return _Targets(
        tf.where(_is_weight(classes), classes, zero),
        offsets,
        tf.where(valid, positive, zero),
        tf.where(valid, negative, zero),
        ~valid,
    )


def _is_weight(labels: tf.Tensor) -> tf.Tensor:
    """False for NaN."""
    return (labels >= 0) & (labels <= LARGEST_LABEL)


def _refuse_invalid(invalid: tf.Tensor, labels: tf.Tensor, columns: _Columns) -> None:
    """Raises `InvalidArgumentError` naming the first invalid box, at run time."""

    def refuse() -> tf.Tensor:
        first = tf.argmax(tf.reshape(tf.cast(invalid, tf.int32), [-1]), output_type=tf.int32)
        n_boxes = tf.shape(invalid)[1]
        row = labels[first // n_boxes, first % n_boxes]
        description = [
            f"y_true: expected class labels from 0 to {LARGEST_LABEL:g} and offsets of positive boxes within "
            f"{LARGEST_LABEL:g}, got in image",
            first // n_boxes,
            "box",
            first % n_boxes,
            "with class labels",
            row[columns.classes],
            "and offsets",
            row[columns.offsets],
        ]
        if columns.positive is not None:
            description += ["and positive flag", row[columns.positive]]
        tf.debugging.Assert(False, description, summarize=_VALUES_SHOWN)
        return tf.constant(False)

    tf.cond(tf.reduce_any(invalid), refuse, lambda: tf.constant(True))


def _cross_entropy(labels: tf.Tensor, scores: tf.Tensor, from_logits: bool) -> tf.Tensor:
    """`-sum y_c log p_c` of every box, over the classes whose label is not zero: `[B, N]`."""
    if from_logits:
        return -tf.reduce_sum(tf.math.multiply_no_nan(log_softmax(scores), labels), axis=-1)
    # Not `tf.clip_by_value`, whose gradient at NaN is zero.
    smallest, largest = (tf.constant(bound, scores.dtype) for bound in (_SMALLEST_PROBABILITY, scores.dtype.max))
    clipped = tf.where(scores < smallest, smallest, tf.where(scores > largest, largest, scores))
    return -tf.reduce_sum(tf.math.xlogy(labels, clipped), axis=-1)


def _ranking_keys(rank_by: str, cls: tf.Tensor, scores: tf.Tensor, negative: tf.Tensor, from_logits: bool) -> tf.Tensor:
    if rank_by == "loss":
        return tf.math.multiply_no_nan(cls, negative)
    foreground = (tf.exp(log_softmax(scores)) if from_logits else scores)[:, :, 1:]
    # Under XLA the maximum over an axis passes over NaN.
    has_nan = tf.reduce_any(tf.math.is_nan(foreground), axis=-1)
    largest = tf.where(has_nan, _nan(scores.dtype), tf.reduce_max(foreground, axis=-1))
    return tf.math.multiply_no_nan(largest, negative)


def _localization(targets: _Targets, offsets: tf.Tensor, alpha: float) -> tf.Tensor:
    """Smooth L1 of the positive boxes, weighted and summed per image: `[B]`."""
    counts = ((targets.positive != 0) & (alpha != 0))[:, :, tf.newaxis]
    error = tf.where(counts, offsets - targets.offsets, tf.zeros_like(offsets))
    # With the slope s = clip(error, -1, 1) smooth L1 is s * (error - s / 2), whose derivative is s.
    slope = tf.stop_gradient(tf.clip_by_value(error, -1, 1))
    smooth_l1 = tf.reduce_sum(slope * (error - slope / 2), axis=-1)
    return alpha * tf.reduce_sum(smooth_l1 * targets.positive, axis=1)


def _scales(normalizer: str, n_pos: tf.Tensor, n_kept: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Factors of the confidence and of the localization sums, both `[B]`."""
    if normalizer == "batch":
        batch_size = tf.cast(tf.size(n_pos), n_pos.dtype)
        scale = tf.fill(tf.shape(n_pos), batch_size / tf.maximum(tf.reduce_sum(n_pos), 1))
        return scale, scale
    by_positives = 1 / tf.maximum(n_pos, 1)
    if normalizer == "image":
        return by_positives, by_positives
    # Fractions of one positive divide, too; what is next to none does not overflow.
    by_positives = tf.where(n_pos > 0, 1 / tf.maximum(n_pos, _FEWEST_POSITIVES), 1)
    return tf.math.divide_no_nan(tf.ones_like(n_pos), n_pos + n_kept), by_positives


def _nan_of_candidates(negative: tf.Tensor, cls: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
    """NaN for images with a NaN among their negatives, kept or not, else zero: `[B]`."""
    is_nan = (negative != 0) & (tf.math.is_nan(cls) | tf.math.is_nan(keys))
    return tf.where(tf.reduce_any(is_nan, axis=1), _nan(cls.dtype), tf.zeros([], cls.dtype))


def _nan(dtype: tf.DType) -> tf.Tensor:
    return tf.constant(float("nan"), dtype)


def _weighted_sum(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.math.multiply_no_nan(values, weights), axis=1)
