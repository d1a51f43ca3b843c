"""`detloss.yolov3_loss`: the fused YOLOv3 loss of one scale or of all scales of a model, and its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from detloss.ops import arguments, derivatives, implementation, library
from detloss.option_checks import check_flag
from detloss.yolov3_options import as_anchors, as_class_weights, as_grid_sense, as_strides, check_yolov3_options

COMPONENTS = ("box", "xy", "wh", "object", "no_object", "class", "num_invalid")

# Those of the gradient op that are the same for every scale.
_GRADIENT_ATTRIBUTES = (
    "box_loss",
    "class_loss",
    "class_focal",
    "label_smoothing",
    "box_weight",
    "class_weight",
    "class_weights",
    "target_format",
)


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
) -> tf.Tensor | tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """YOLOv3's loss, per image: the sum over all cells and anchors of one scale, or of all scales.

    After Redmon and Farhadi, "YOLOv3: An Incremental Improvement" (arXiv:1804.02767), as qqwweee/keras-yolo3,
    zzh8829/yolov3-tf2 and david8862/keras-YOLOv3-model-set wrote it. A cell decodes to the box
    `xy = (sigmoid(t_xy) + cell) / (W, H)`, `wh = exp(t_wh) * anchor`. With `obj` the objectness label:

    * box, where `obj` is not zero, times `obj * (2 - w * h)`: see `box_loss`;
    * object, `obj * BCE(t_obj, obj)`, and no object, `(1 - obj) * BCE(t_obj, obj)`, the latter unless the cell's box
      overlaps a true box of its image so well that it is ignored: see `ignore_thresh`;
    * class, times `obj`: see `class_loss`.

    An invalid label leaves every term and the true boxes, and is counted: a value of box or objectness that is not
    finite, an objectness below 0, and with an object a width or height of 0 or less (swapped corners), a class score
    that is not finite or below 0, a class index out of range, or anything beyond 1e6 in magnitude. All else is valid,
    as in the repositories: an objectness and scores above 1 are weights, no score need be above 0, and a centre may lie
    outside the image: the cell that holds the label says where it counts. A NaN among the five logits of box and
    objectness of any valid cell makes its image's loss NaN, whatever the weights are; class logits count only where the
    class term applies, and other elements are not read. An infinite logit costs nothing where the label is what it
    says, and else a huge or infinite number; what overflows is infinite. A term of weight 0 is not computed. Widths and
    heights are decoded from logits clamped to -20 to 20.

    Args:
      y_true: labels `[B, H, W, A, 5 + C]`, or a list of them, one per scale; any numeric dtype; rows as `target_format`
        says.
      y_pred: logits `[B, H, W, A * (5 + C)]` or `[B, H, W, A, 5 + C]`, or a list of them: x, y, w, h, objectness and
        classes; float32, float16, bfloat16 or float64. Half precision computes in float32.
      anchors: widths and heights `[A, 2]`, or `[S, A, 2]` for a list of S scales.
      stride: pixels per cell, one integer or one per scale, for anchors in pixels; None for anchors relative to the
        input.
      ignore_thresh: IoU with a true box from which a cell without an object is ignored.
      comparator: a cell without an object counts when its best IoU is `"<"` or `"<="` the threshold.
      ignore_scope: which true boxes of the image ignore a cell: those of its `"scale"`, or all of the `"image"` (as
        darknet and Paddle).
      box_loss: `"classic"`: BCE of the xy logits against the position in the cell and half the squared error of the wh
        logits; `"squared"`: squared errors of `sigmoid(t_xy)` and of the wh logits; `"iou"`, `"giou"`, `"diou"`,
        `"ciou"`, `"siou"`: 1 minus that overlap of the boxes.
      class_loss: `"sigmoid"`: BCE per class; `"softmax"`: cross-entropy, with gradient `p - y`;
        `"normalized_sigmoid"`: cross-entropy of the sigmoids, clipped to 1e-7 and divided by their sum; `"none"`.
      class_focal: whether the class loss, sigmoid or softmax, is its focal variant (gamma 2, alpha 0.25; Lin et al.,
        arXiv:1708.02002), which covers every cell.
      objectness_focal: whether the objectness loss is its focal variant in every cell, without ignoring.
      label_smoothing: s of `y * (1 - s) + s / 2`, for classes and for the objectness of cells with an object.
      grid_sense: s of `sigmoid(t) * s - (s - 1) / 2` in the decoded centre, one number or one per scale.
      box_weight: factor of the box term.
      object_weight: factor of the object term.
      no_object_weight: factor of the no-object term.
      class_weight: factor of the class term.
      class_weights: factor of every class, or None.
      target_format: `"center"`: rows `x, y, w, h, objectness, C classes`; `"corner"`:
        `x1, y1, x2, y2, objectness, class index`; coordinates relative to the image, 0 to 1.
      invalid_targets: what happens to invalid labels. `"ignore"`: they are left out, and a CPU logs one warning per
        process that says how many there are and which is the first; a GPU logs nothing. `"silent"`: they are left out.
        `"error"`: the first one raises (CPU only). `"class_error"`: a class index out of range raises on a CPU, and
        the rest is as with `"ignore"`.
      return_components: whether to return the components too.
      name: name of the op.

    Returns:
      The loss `[B]`, float32 (float64 for float64 predictions). With `return_components` a pair of it and a dict of
      `[B]` tensors without gradient: `box`, `object`, `no_object` and `class`, which add up to the loss; `xy` and `wh`,
      which add up to `box` unless it is an overlap; and `num_invalid` (int32).

    Raises:
      TypeError: `y_pred` is not floating point, `y_true` not numeric, a tensor is ragged or sparse, or an option is
        of a wrong type: a tensor or variable, too.
      ValueError: an option, the number of scales or a static shape is wrong.
      tf.errors.InvalidArgumentError: a shape is wrong at run time, or a label is what `invalid_targets` refuses.
    """
    options: dict[str, Any] = dict(
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
    if implementation.uses_reference():
        from detloss import reference

        return reference.yolov3_loss(
            y_true,
            y_pred,
            anchors,
            stride=stride,
            grid_sense=grid_sense,
            class_weights=class_weights,
            return_components=return_components,
            name=name,
            **options,
        )
    options = check_yolov3_options(options)
    check_flag("return_components", return_components)
    labels, predictions = _labels_and_predictions(y_true, y_pred)
    implementation.check_xla_device("yolov3_loss")
    outputs = library.ops().detloss_yolo_v3_loss(
        y_true=labels,
        y_pred=predictions,
        anchors=as_anchors(anchors, len(predictions)).ravel().tolist(),
        strides=as_strides(stride, len(predictions)),
        grid_sense=as_grid_sense(grid_sense, len(predictions)),
        class_weights=as_class_weights(class_weights, None),
        name=name or "yolov3_loss",
        **options,
    )
    if not return_components:
        return outputs.loss
    return outputs.loss, {key: tf.stop_gradient(getattr(outputs, _OUTPUTS.get(key, key))) for key in COMPONENTS}


_OUTPUTS = {"class": "class_term"}  # where a component's name is a Python keyword


def as_scales(tensors: Any, name: str, scales: int | None = None) -> list[Any]:
    """A tensor as a list of one scale, a list or tuple of scales as it is.

    Raises:
      ValueError: an empty list, or not `scales` of them.
    """
    as_list = list(tensors) if isinstance(tensors, list | tuple) else [tensors]
    if not as_list or (scales is not None and len(as_list) != scales):
        expected = "at least one" if scales is None else str(scales)
        raise ValueError(f"{name}: expected {expected} scale(s), got {len(as_list)}")
    return as_list


def _labels_and_predictions(y_true: Any, y_pred: Any) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Both as one tensor per scale."""
    labels, logits = as_scales(y_true, "y_true"), as_scales(y_pred, "y_pred")
    as_scales(labels, "y_true", len(logits))
    scales = [f"[{scale}]" for scale in range(len(logits))] if len(logits) > 1 else [""]
    predictions = [
        arguments.as_predictions(f"y_pred{scale}", tensor) for scale, tensor in zip(scales, logits, strict=True)
    ]
    dtypes = [tensor.dtype.name for tensor in predictions]
    if len(set(dtypes)) > 1:
        raise TypeError(f"y_pred: expected one dtype for all scales, got {', '.join(dtypes)}")
    triples = zip(scales, labels, predictions, strict=True)
    return [arguments.as_labels(f"y_true{scale}", tensor, like) for scale, tensor, like in triples], predictions


@tf.RegisterGradient("Detloss>YoloV3Loss")
def _yolov3_loss_gradient(op: tf.Operation, loss_gradient: tf.Tensor, *_: tf.Tensor) -> list[tf.Tensor | None]:
    scales = op.get_attr("N")
    gradients = [_scale_gradient(op, loss_gradient, scale, scales) for scale in range(scales)]
    return [None] * scales + gradients


def _scale_gradient(op: tf.Operation, loss_gradient: tf.Tensor, scale: int, scales: int) -> tf.Tensor:
    anchors, strides, grid_sense = (op.get_attr(name) for name in ("anchors", "strides", "grid_sense"))
    lengths = len(anchors) // scales
    return library.ops().detloss_yolo_v3_loss_grad(
        loss_gradient=loss_gradient,
        y_true=op.inputs[scale],
        y_pred=op.inputs[scales + scale],
        objectness_gradient=op.outputs[scale - 2 * scales],
        selection=op.outputs[scale - scales],
        anchors=anchors[scale * lengths : (scale + 1) * lengths],
        strides=[strides[scale]],
        grid_sense=[grid_sense[scale]],
        **{attribute: op.get_attr(attribute) for attribute in _GRADIENT_ATTRIBUTES},
    )


@tf.RegisterGradient("Detloss>YoloV3LossGrad")
def _no_second_derivative(op: tf.Operation, *_: tf.Tensor) -> None:
    raise derivatives.no_second_derivative("yolov3_loss")
