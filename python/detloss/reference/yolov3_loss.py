"""The YOLOv3 loss in plain TensorFlow: vectorised over images, cells and true boxes, compilable by XLA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from detloss.ops import arguments
from detloss.option_checks import check_count, check_flag
from detloss.reference import box_iou, cross_entropy
from detloss.reference.cross_entropy import weighted
from detloss.reference.yolo_ignore_mask import reaches_threshold
from detloss.reference.yolov3_targets import BOX_COLUMNS, Targets, read_targets, refuse_invalid
from detloss.yolov3_options import (
    IOU_LOSSES,
    as_anchors,
    as_class_weights,
    as_grid_sense,
    as_strides,
    check_yolov3_options,
)

# exp(20) is half a billion times the anchor: a logit beyond it says no more.
_LARGEST_SIZE_LOGIT = 20.0
_CORNER_COLUMNS = 6


def yolov3_loss(
    y_true: Any,
    y_pred: Any,
    anchors: Any,
    *,
    stride: int | Sequence[int] | None = None,
    ignore_thresh: float = 0.5,
    comparator: str = "<",
    ignore_scope: str = "scale",
    box_loss: str = "classic",
    class_loss: str = "sigmoid",
    class_focal: bool = False,
    objectness_focal: bool = False,
    label_smoothing: float = 0.0,
    grid_sense: float | Sequence[float] | None = None,
    box_weight: float = 1.0,
    object_weight: float = 1.0,
    no_object_weight: float = 1.0,
    class_weight: float = 1.0,
    class_weights: Sequence[float] | None = None,
    target_format: str = "center",
    invalid_targets: str = "ignore",
    return_components: bool = False,
    name: str | None = None,
    max_boxes: int = 100,
) -> tf.Tensor | tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """`detloss.yolov3_loss` in plain TensorFlow; arguments and results are explained there.

    The IoU of every predicted box with every true box is held in memory, so the number of true boxes is limited. XLA
    drops assertions: compiled with `jit_compile=True`, an image with more than `max_boxes` gives a NaN loss instead of
    an error, `invalid_targets="error"` and `"class_error"` behave as `"ignore"`, and shapes are checked only as far as
    they are known when the function is traced. Nothing is logged about invalid labels.

    Args:
      y_true: labels `[B, H, W, A, 5 + C]` (`[B, H, W, A, 6]` for `"corner"`), any numeric dtype, or one per scale.
      y_pred: logits `[B, H, W, A * (5 + C)]` or `[B, H, W, A, 5 + C]`, float32, float16, bfloat16 or float64, or one
        tensor per scale. Half precision computes in float32.
      anchors: `[A, 2]` for one scale, `[S, A, 2]` for several: widths and heights.
      stride: `None`: anchors are relative to the input; else the pixels per cell, one integer or one per scale.
      ignore_thresh: IoU from which on a background cell is ignored.
      comparator: a background cell counts when its best IoU is `"<"` or `"<="` the threshold.
      ignore_scope: `"scale"` or `"image"`: whose true boxes a cell is compared with.
      box_loss: `"classic"`, `"squared"`, `"iou"`, `"giou"`, `"diou"`, `"ciou"` or `"siou"`.
      class_loss: `"sigmoid"`, `"softmax"`, `"normalized_sigmoid"` or `"none"`.
      class_focal: whether the class loss is focal and covers every valid cell.
      objectness_focal: whether the objectness loss is focal, without ignored cells.
      label_smoothing: how far class and object targets are moved towards one half.
      grid_sense: scale of the sigmoid in decoded boxes, one number or one per scale.
      box_weight: weight of the box term.
      object_weight: weight of the objectness of object cells.
      no_object_weight: weight of the objectness of background cells.
      class_weight: weight of the class term.
      class_weights: one weight per class.
      target_format: `"center"` or `"corner"`.
      invalid_targets: `"ignore"` or `"silent"`, which are the same here, `"error"` or `"class_error"`.
      return_components: whether to return the components too.
      name: name scope of the operations.
      max_boxes: most true boxes that an image may have, per scale or in all as `ignore_scope` says.

    Returns:
      The loss `[B]`, float32 (float64 for float64 predictions), or a pair of it and the dict of components.

    Raises:
      TypeError: `y_pred` is not floating point, `y_true` not numeric.
      ValueError: an option or a static shape is wrong.
      tf.errors.InvalidArgumentError: a shape is wrong at run time, an image has too many true boxes, or a label is
        invalid under `invalid_targets="error"`.
    """
    values: dict[str, Any] = dict(
        ignore_thresh=ignore_thresh,
        comparator=comparator,
        ignore_scope=ignore_scope,
        box_loss=box_loss,
        class_loss=class_loss,
        class_focal=class_focal,
        objectness_focal=objectness_focal,
        label_smoothing=label_smoothing,
        box_weight=box_weight,
        object_weight=object_weight,
        no_object_weight=no_object_weight,
        class_weight=class_weight,
        target_format=target_format,
        invalid_targets=invalid_targets,
    )
    values = check_yolov3_options(values)
    check_flag("return_components", return_components)
    check_count("max_boxes", max_boxes, most=2**31 - 1)
    options = _Options(**values, class_weights=as_class_weights(class_weights, None), max_boxes=max_boxes)
    with tf.name_scope(name or "yolov3_loss"):
        scales = _as_scales(y_true, y_pred, anchors, stride, grid_sense, options)
        ignored, too_many = _ignored_cells(scales, options)
        terms = [_terms(scale, mask, options) for scale, mask in zip(scales, ignored, strict=True)]
        box, xy, wh, object_, no_object, class_ = (tf.add_n(list(term)) for term in zip(*terms, strict=True))
        has_nan = tf.reduce_any([_has_nan(scale) for scale in scales], axis=0)
        classes_have_nan = tf.reduce_any([_classes_have_nan(scale, options) for scale in scales], axis=0)
        box, xy, wh, object_, no_object = (_overflowed(term, has_nan) for term in (box, xy, wh, object_, no_object))
        class_ = _overflowed(class_, classes_have_nan)
        hidden_nan = has_nan | too_many
        no_object += tf.where(hidden_nan, tf.constant(float("nan"), no_object.dtype), tf.zeros_like(no_object))
        loss = _overflowed(box + object_ + no_object + class_, hidden_nan | classes_have_nan)
        if not return_components:
            return loss
        components = {
            "box": box,
            "xy": xy,
            "wh": wh,
            "object": object_,
            "no_object": no_object,
            "class": class_,
            "num_invalid": tf.add_n([_count(~scale.targets.valid) for scale in scales]),
        }
        return loss, {key: tf.stop_gradient(component) for key, component in components.items()}


class _Options(NamedTuple):
    ignore_thresh: float
    comparator: str
    ignore_scope: str
    box_loss: str
    class_loss: str
    class_focal: bool
    objectness_focal: bool
    label_smoothing: float
    box_weight: float
    object_weight: float
    no_object_weight: float
    class_weight: float
    class_weights: tuple[float, ...]
    target_format: str
    invalid_targets: str
    max_boxes: int


class _Scale(NamedTuple):
    """One scale's logits and labels."""

    logits: tf.Tensor  # [B, H, W, A, 5 + C]
    targets: Targets
    width: tf.Tensor  # cells
    height: tf.Tensor
    column: tf.Tensor  # of every cell, broadcasts to [B, H, W, A]
    row: tf.Tensor
    anchor_w: tf.Tensor  # [A], relative to the input
    anchor_h: tf.Tensor
    grid_sense: float


class _Terms(NamedTuple):
    """Parts of the loss per image, `[B]`, with their weights."""

    box: tf.Tensor
    xy: tf.Tensor
    wh: tf.Tensor
    object: tf.Tensor
    no_object: tf.Tensor
    classes: tf.Tensor


def _as_scales(
    y_true: Any,
    y_pred: Any,
    anchors: Any,
    stride: int | Sequence[int] | None,
    grid_sense: float | Sequence[float] | None,
    options: _Options,
) -> list[_Scale]:
    names, true, predicted = _as_lists(y_true, y_pred)
    predicted = [arguments.as_predictions(f"y_pred{name}", value) for name, value in zip(names, predicted, strict=True)]
    if len({predictions.dtype for predictions in predicted}) > 1:
        dtypes = [predictions.dtype.name for predictions in predicted]
        raise TypeError(f"y_pred: expected one dtype for all scales, got {dtypes}")
    sizes = as_anchors(anchors, len(true))
    strides = as_strides(stride, len(true))
    factors = as_grid_sense(grid_sense, len(true))
    scales = []
    for index, name in enumerate(names):
        labels = arguments.as_labels(f"y_true{name}", true[index], predicted[index])
        logits = tf.cast(predicted[index], labels.dtype)
        labels, logits = _of_matching_shape(name, labels, logits, len(sizes[index]), options.target_format)
        num_classes = _num_classes(logits, options.class_weights)
        targets = read_targets(labels, num_classes, options.target_format)
        refuse_invalid(targets, labels, index, options.invalid_targets)
        scales.append(_scale(logits, targets, sizes[index], strides[index], factors[index]))
    return scales


def _as_lists(y_true: Any, y_pred: Any) -> tuple[list[str], list[Any], list[Any]]:
    """What follows the arguments' names in errors, and labels and logits of every scale."""
    true, predicted = (list(value) if isinstance(value, list | tuple) else [value] for value in (y_true, y_pred))
    if len(true) != len(predicted) or not true:
        raise ValueError(f"y_true: expected as many scales as in y_pred, {len(predicted)}, got {len(true)}")
    names = [f"[{index}]" for index in range(len(true))] if isinstance(y_pred, list | tuple) else [""]
    return names, true, predicted


def _of_matching_shape(
    name: str, labels: tf.Tensor, logits: tf.Tensor, n_anchors: int, target_format: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """Labels and logits of rank 5, checked as far as their shapes are known and else at run time."""
    logits = _of_rank_5(f"y_pred{name}", logits, n_anchors)
    width = _CORNER_COLUMNS if target_format == "corner" else logits.shape[-1]
    expected = tf.TensorShape([*logits.shape[:-1], width])
    if not labels.shape.is_compatible_with(expected):
        raise ValueError(
            f"y_true{name}: expected shape {expected}, as y_pred{name} and anchors have it, got {labels.shape}"
        )
    labels = tf.ensure_shape(labels, [None, None, None, n_anchors, width])
    tf.debugging.assert_equal(
        tf.shape(labels)[:-1],
        tf.shape(logits)[:-1],
        f"y_true{name}: expected images, rows, columns and anchors as in y_pred{name}",
    )
    if target_format == "center":
        columns = tf.shape(labels)[-1], tf.shape(logits)[-1]
        tf.debugging.assert_equal(*columns, f"y_true{name}: expected as many columns as in y_pred{name}")
    return labels, logits


def _of_rank_5(name: str, logits: tf.Tensor, n_anchors: int) -> tf.Tensor:
    """Logits as `[B, H, W, A, 5 + C]`, C at least 1."""
    rank, columns = logits.shape.rank, None if logits.shape.rank is None else logits.shape[-1]
    smallest = BOX_COLUMNS + 1 if rank == 5 else n_anchors * (BOX_COLUMNS + 1)
    bad_columns = columns is not None and (columns < smallest or (rank == 4 and columns % n_anchors))
    if rank not in (None, 4, 5) or bad_columns or (rank == 5 and logits.shape[3] not in (None, n_anchors)):
        raise ValueError(
            f"{name}: expected shape [batch, rows, columns, {n_anchors} * (5 + C)] or [batch, rows, columns, "
            f"{n_anchors}, 5 + C] for {n_anchors} anchors and C >= 1 classes, got {logits.shape}"
        )
    if rank != 5:
        shape = tf.shape(logits)
        values = tf.reduce_prod(shape[3:])
        tf.debugging.assert_equal(values % n_anchors, 0, f"{name}: expected columns for {n_anchors} anchors")
        known = [None] * 3 if rank is None else logits.shape[:3]
        logits = tf.reshape(logits, tf.concat([shape[:3], [n_anchors, values // n_anchors]], axis=0))
        logits.set_shape([*known, n_anchors, None if columns is None or rank is None else columns // n_anchors])
    tf.debugging.assert_greater(tf.shape(logits)[-1], BOX_COLUMNS, f"{name}: expected at least one class")
    return tf.ensure_shape(logits, [None, None, None, n_anchors, None])


def _num_classes(logits: tf.Tensor, class_weights: tuple[float, ...]) -> int | tf.Tensor:
    """The number of classes: a tensor where it is known only at run time."""
    columns = logits.shape[-1]
    if columns is not None:
        as_class_weights(class_weights or None, columns - BOX_COLUMNS)
        return columns - BOX_COLUMNS
    num_classes = tf.shape(logits)[-1] - BOX_COLUMNS
    if class_weights:
        tf.debugging.assert_equal(num_classes, len(class_weights), "class_weights: expected one weight per class")
    return num_classes


def _scale(
    logits: tf.Tensor, targets: Targets, anchors: npt.NDArray[np.float64], stride: int, grid_sense: float
) -> _Scale:
    dtype = logits.dtype
    _, rows, columns, _, _ = tf.unstack(tf.shape(logits), num=5)
    width, height = tf.cast(columns, dtype), tf.cast(rows, dtype)
    anchor_w, anchor_h = tf.unstack(tf.constant(anchors, dtype), axis=1)
    if stride:
        anchor_w, anchor_h = anchor_w / (stride * width), anchor_h / (stride * height)
    column = tf.cast(tf.range(columns), dtype)[:, tf.newaxis]
    row = tf.cast(tf.range(rows), dtype)[:, tf.newaxis, tf.newaxis]
    return _Scale(logits, targets, width, height, column, row, anchor_w, anchor_h, grid_sense)


def _decoded(scale: _Scale, logits: tf.Tensor) -> box_iou.Boxes:
    """Predicted boxes relative to the input, of the logits `[B, H, W, A, 4 or more]`."""

    def center(logit: tf.Tensor, cell: tf.Tensor, cells: tf.Tensor) -> tf.Tensor:
        return (scale.grid_sense * tf.sigmoid(logit) - (scale.grid_sense - 1) / 2 + cell) / cells

    return box_iou.from_center(
        center(logits[..., 0], scale.column, scale.width),
        center(logits[..., 1], scale.row, scale.height),
        _clamped_exp(logits[..., 2]) * scale.anchor_w,
        _clamped_exp(logits[..., 3]) * scale.anchor_h,
    )


@tf.custom_gradient
def _clamped_exp(logits: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """The exponential of logits within -20 and 20, beyond them value and slope as there."""
    largest = tf.constant(_LARGEST_SIZE_LOGIT, logits.dtype)
    # Not `tf.clip_by_value`, which need not pass NaN on.
    clamped = tf.where(logits > largest, largest, tf.where(logits < -largest, -largest, logits))
    power = tf.exp(clamped)
    return power, lambda gradient: gradient * power


def _ignored_cells(scales: list[_Scale], options: _Options) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Which cells' boxes overlap a true box, bool `[B, H, W, A]` per scale, and which images have too many: `[B]`."""
    if options.objectness_focal:
        return [tf.zeros_like(scale.targets.valid) for scale in scales], _no_image(scales[0])
    if options.ignore_scope == "image":
        true = _true_boxes([scale.targets for scale in scales], options)
        true_boxes = [true] * len(scales)
    else:
        true_boxes = [_true_boxes([scale.targets], options) for scale in scales]
    masks = [_overlapping(scale, true, options) for scale, true in zip(scales, true_boxes, strict=True)]
    return masks, tf.reduce_any([true.too_many for true in true_boxes], axis=0)


class _TrueBoxes(NamedTuple):
    boxes: box_iou.Boxes  # of [B, max_boxes], fewer where there are fewer cells
    present: tf.Tensor  # bool [B, max_boxes]
    too_many: tf.Tensor  # bool [B]


def _true_boxes(targets: list[Targets], options: _Options) -> _TrueBoxes:
    """The boxes of the object cells, gathered to the front, with a number of places that does not depend on them."""
    is_object = tf.concat([_per_image(target.is_object) for target in targets], axis=1)
    coordinates = [tf.concat([_per_image(part) for part in parts], axis=1) for parts in _zip_boxes(targets)]
    count = _count(is_object)
    scope = "image and scale" if options.ignore_scope == "scale" else "image"
    tf.debugging.assert_less_equal(
        count,
        options.max_boxes,
        f"y_true: expected at most {options.max_boxes} true boxes per {scope} (max_boxes of the reference)",
    )
    cells = is_object.shape[1]
    places = tf.minimum(options.max_boxes, tf.shape(is_object)[1]) if cells is None else min(options.max_boxes, cells)
    present, index = tf.math.top_k(tf.cast(is_object, tf.int32), k=places)
    boxes = box_iou.Boxes(*(tf.gather(coordinate, index, batch_dims=1) for coordinate in coordinates))
    return _TrueBoxes(boxes, present > 0, count > options.max_boxes)


def _zip_boxes(targets: list[Targets]) -> list[list[tf.Tensor]]:
    return [[target.boxes[part] for target in targets] for part in range(len(box_iou.Boxes._fields))]


def _overlapping(scale: _Scale, true: _TrueBoxes, options: _Options) -> tf.Tensor:
    logits = tf.stop_gradient(scale.logits)
    predicted = _decoded(scale, logits).map(_per_image)
    ignored = reaches_threshold(predicted, true.boxes, true.present, options.ignore_thresh, options.comparator)
    return tf.reshape(ignored, tf.shape(logits)[:-1])


def _terms(scale: _Scale, ignored: tf.Tensor, options: _Options) -> _Terms:
    box, xy, wh = _box_terms(scale, options)
    object_, no_object = _objectness_terms(scale, ignored, options)
    return _Terms(box, xy, wh, object_, no_object, _class_term(scale, options))


def _box_terms(scale: _Scale, options: _Options) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The whole box term, and its parts for centre and size, which the IoU losses do not have."""
    targets = scale.targets
    weights = targets.objectness * (2 - targets.boxes.w * targets.boxes.h)
    counts = targets.is_object & (options.box_weight != 0)
    logits = _where(counts[..., tf.newaxis], scale.logits[..., :4])
    if options.box_loss in IOU_LOSSES:
        mismatch = 1 - box_iou.similarity(options.box_loss, targets.boxes, _decoded(scale, logits))
        box = options.box_weight * _sum(weighted(mismatch, weights))
        return box, tf.zeros_like(box), tf.zeros_like(box)
    differences = _classic_differences if options.box_loss == "classic" else _squared_differences
    xy, wh = (options.box_weight * _sum(weighted(difference, weights)) for difference in differences(scale, logits))
    return xy + wh, xy, wh


def _classic_differences(scale: _Scale, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Cross-entropy of the centre within its cell, and half the squared error of the size's logarithm."""
    x, y, w, h = tf.unstack(logits, num=4, axis=-1)
    true_x, true_y = _center_targets(scale)
    true_w, true_h = _size_targets(scale)
    xy = cross_entropy.sigmoid_cross_entropy(true_x, x) + cross_entropy.sigmoid_cross_entropy(true_y, y)
    return xy, _half_square(w - true_w) + _half_square(h - true_h)


def _squared_differences(scale: _Scale, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Squared errors of the centre within its cell and of the size's logarithm."""
    x, y, w, h = tf.unstack(logits, num=4, axis=-1)
    true_x, true_y = _center_targets(scale)
    true_w, true_h = _size_targets(scale)
    xy = (tf.sigmoid(x) - true_x) ** 2 + (tf.sigmoid(y) - true_y) ** 2
    return xy, 2 * (_half_square(w - true_w) + _half_square(h - true_h))


@tf.custom_gradient
def _half_square(values: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Half the square, whose slope may be infinite where nothing depends on it."""
    return values**2 / 2, lambda upstream: weighted(values, upstream)


def _center_targets(scale: _Scale) -> tuple[tf.Tensor, tf.Tensor]:
    """The true centre within its cell, in cells: from 0 to 1 where the label lies in the cell that holds it."""
    boxes = scale.targets.boxes
    return boxes.x * scale.width - scale.column, boxes.y * scale.height - scale.row


def _size_targets(scale: _Scale) -> list[tf.Tensor]:
    """The logarithm of the true size over the anchor's, a ratio that is kept within the normal numbers."""
    boxes = scale.targets.boxes
    normal = np.finfo(boxes.w.dtype.as_numpy_dtype)
    ratios = boxes.w / scale.anchor_w, boxes.h / scale.anchor_h
    return [tf.math.log(tf.clip_by_value(ratio, normal.tiny, normal.max)) for ratio in ratios]


def _objectness_terms(scale: _Scale, ignored: tf.Tensor, options: _Options) -> tuple[tf.Tensor, tf.Tensor]:
    """Objectness of object cells and of background cells; a fractional label divides its cell between both."""
    targets, logits = scale.targets, scale.logits[..., 4]
    labels = targets.objectness
    smoothed = cross_entropy.smooth(labels, options.label_smoothing)
    has_object = targets.is_object & (options.object_weight != 0)
    lacks_object = targets.valid & (labels != 1) & (options.no_object_weight != 0)
    if options.objectness_focal:
        object_ = cross_entropy.sigmoid_focal(smoothed, _where(has_object, logits))
        no_object = cross_entropy.sigmoid_focal(smoothed, _where(lacks_object, logits))
    else:
        lacks_object &= ~ignored
        object_ = cross_entropy.sigmoid_cross_entropy(smoothed, _where(has_object, logits))
        no_object = cross_entropy.sigmoid_cross_entropy(labels, _where(lacks_object, logits))
    object_, no_object = weighted(object_, labels), weighted(no_object, _where(lacks_object, 1 - labels))
    return options.object_weight * _sum(object_), options.no_object_weight * _sum(no_object)


def _class_term(scale: _Scale, options: _Options) -> tf.Tensor:
    """Class loss of the object cells, weighted by their objectness; of every valid cell if it is focal."""
    targets = scale.targets
    if options.class_loss == "none":
        return tf.zeros(tf.shape(targets.valid)[:1], targets.objectness.dtype)
    takes_part = _has_class_term(scale, options)
    weights = tf.ones_like(targets.objectness) if options.class_focal else targets.objectness
    labels = targets.classes
    if options.class_loss != "normalized_sigmoid":
        labels = cross_entropy.smooth(labels, options.label_smoothing)
    logits = _where(takes_part[..., tf.newaxis], scale.logits[..., BOX_COLUMNS:])
    loss = cross_entropy.class_loss(options.class_loss, options.class_focal, labels, logits, options.class_weights)
    return options.class_weight * _sum(weighted(loss, _where(takes_part, weights)))


def _has_class_term(scale: _Scale, options: _Options) -> tf.Tensor:
    """Which cells' classes count, bool `[B, H, W, A]`."""
    targets = scale.targets
    if options.class_loss == "none" or options.class_weight == 0:
        return tf.zeros_like(targets.valid)
    if options.class_focal:
        return targets.valid
    if options.class_loss == "normalized_sigmoid":  # the label names the class, if any
        return targets.is_object & tf.reduce_any(targets.classes > 0, axis=-1)
    return targets.is_object


def _overflowed(total: tf.Tensor, has_nan: tf.Tensor) -> tf.Tensor:
    """A sum whose terms overflow in both directions is infinite: NaN is left to NaN logits. The gradient passes."""

    @tf.custom_gradient
    def infinite_where_needed(total: tf.Tensor) -> tuple[tf.Tensor, Any]:
        infinity = tf.constant(float("inf"), total.dtype)
        return tf.where(tf.math.is_nan(total) & ~has_nan, infinity, total), lambda upstream: upstream

    return infinite_where_needed(total)


def _has_nan(scale: _Scale) -> tf.Tensor:
    """Whether a box or objectness logit of a valid cell is NaN, in an ignored one too: bool `[B]`."""
    is_nan = tf.reduce_any(tf.math.is_nan(scale.logits[..., :BOX_COLUMNS]), axis=-1)
    return tf.reduce_any(is_nan & scale.targets.valid, axis=[1, 2, 3])


def _classes_have_nan(scale: _Scale, options: _Options) -> tf.Tensor:
    """Whether a class logit that counts is NaN: bool `[B]`."""
    is_nan = tf.reduce_any(tf.math.is_nan(scale.logits[..., BOX_COLUMNS:]), axis=-1)
    return tf.reduce_any(is_nan & _has_class_term(scale, options), axis=[1, 2, 3])


def _where(condition: tf.Tensor, tensor: tf.Tensor) -> tf.Tensor:
    """The tensor where the condition holds, else zero: neither value nor gradient of the rest gets through."""
    return tf.where(condition, tensor, tf.zeros_like(tensor))


def _sum(tensor: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tensor, axis=[1, 2, 3])


def _count(condition: tf.Tensor) -> tf.Tensor:
    """True entries per image, int32 `[B]`."""
    return tf.reduce_sum(tf.cast(_per_image(condition), tf.int32), axis=1)


def _per_image(tensor: tf.Tensor) -> tf.Tensor:
    """`[B, ...]` as `[B, N]`."""
    shape = tf.shape(tensor)
    flat = tf.reshape(tensor, [shape[0], tf.reduce_prod(shape[1:])])
    flat.set_shape([tensor.shape[0], tensor.shape[1:].num_elements()])
    return flat


def _no_image(scale: _Scale) -> tf.Tensor:
    return tf.zeros(tf.shape(scale.logits)[:1], tf.bool)
