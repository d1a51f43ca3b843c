"""What the drop-ins share that run in a `Lambda` layer over the outputs and labels of a whole model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

import detloss
from detloss.keras_common.calling_keras import weights_of_fit
from detloss.keras_common.image_weights import check_static_shape
from detloss.keras_common.yolov3_settings import STRIDES, as_num_classes, check_num_classes
from detloss.ops import arguments
from detloss.option_checks import as_numbers

_ANCHORS_PER_SCALE = 3


def take_prediction(y_true: Any, y_pred: Any) -> Any:
    """The prediction: what to compile with where the model's output is the loss already.

    `model.compile(optimizer, loss={"yolo_loss": take_prediction})` is the repositories'
    `{"yolo_loss": lambda y_true, y_pred: y_pred}`, but Keras can load a saved model with it.
    """
    return y_pred


# tf_keras would rewrite the whole call tree below with AutoGraph.
@tf.autograph.experimental.do_not_convert
def yolov3_loss_of_model(
    args: Sequence[Any],
    anchors: Any,
    anchor_rows: Mapping[int, Sequence[Sequence[int]]],
    num_classes: int,
    **options: Any,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Loss and components per image of `args`, the outputs of a model followed by as many labels.

    Args:
      args: outputs, coarsest scale first, then labels.
      anchors: widths and heights in pixels, `[9, 2]` or `[6, 2]`; an array, a list or what Keras made of them.
      anchor_rows: rows of the anchors of every scale, by the number of scales.
      num_classes: classes.
      **options: options of `detloss.yolov3_loss`.

    Raises:
      TypeError: `args` is no list of dense tensors, or an option is of a wrong type.
      ValueError: the number of anchors or of tensors is wrong, a shape does not fit `num_classes`, or `fit` got sample
        weights of another shape than one per image.
    """
    _check_weights_of_fit()
    pixels, num_classes = _as_pixels(anchors), as_num_classes(num_classes)
    rows = anchor_rows.get(len(pixels) // _ANCHORS_PER_SCALE)
    if rows is None or len(pixels) % _ANCHORS_PER_SCALE:
        expected = " or ".join(str(_ANCHORS_PER_SCALE * scales) for scales in sorted(anchor_rows, reverse=True))
        raise ValueError(f"anchors: expected {expected} anchors, got {len(pixels)}")
    check_is_list(args)
    if len(args) != 2 * len(rows):
        raise ValueError(
            f"args: expected {len(rows)} outputs and as many labels for {len(pixels)} anchors, got {len(args)} tensors"
        )
    tensors = [arguments.as_tensor(f"args[{index}]", tensor) for index, tensor in enumerate(args)]
    outputs, labels = tensors[: len(rows)], tensors[len(rows) :]
    check_num_classes(labels, outputs, num_classes, _ANCHORS_PER_SCALE)
    return detloss.yolov3_loss(
        labels, outputs, pixels[np.array(rows)], stride=STRIDES[: len(rows)], return_components=True, **options
    )


def check_is_list(args: Any) -> None:
    """Raises `TypeError` unless `args` is a list or tuple: a tensor has a length, too, or, ragged, has none."""
    if not isinstance(args, list | tuple):
        raise TypeError(f"args: expected a list of outputs and labels, got {type(args).__name__}")


def _check_weights_of_fit() -> None:
    weights, _ = weights_of_fit()
    shapes = [tf.TensorShape(weight.shape) for weight in tf.nest.flatten(weights) if weight is not None]
    for shape in shapes:
        check_static_shape(shape, None)
    if shapes:
        warnings.warn(
            "sample_weight: a loss in a Lambda layer is one number for the batch, which Keras multiplies by the mean "
            "of the weights. Weights of single images are an input of detloss.YOLOv3LossLayer.",
            stacklevel=2,
        )


def _as_pixels(anchors: Any) -> npt.NDArray[np.float64]:
    # tf_keras hands the arguments of a loaded Lambda layer over as it stored them.
    if isinstance(anchors, Mapping):
        anchors = anchors.get("config", anchors).get("value")
    pixels = as_numbers("anchors", anchors)
    if pixels.ndim != 2 or pixels.shape[1] != 2:
        raise ValueError(f"anchors: expected shape [9, 2] or [6, 2], got {list(pixels.shape)}")
    return pixels
