"""Drop-in for `yolo_loss` in `yolo3/model.py` of qqwweee/keras-yolo3.

from detloss.compat.keras_yolo3 import yolo_loss

model_loss = Lambda(yolo_loss, output_shape=(1,), name="yolo_loss",
    arguments={"anchors": anchors, "num_classes": num_classes, "ignore_thresh": 0.5})([*model_body.output, *y_true])
model = Model([model_body.input, *y_true], model_loss)
model.compile(optimizer, loss={"yolo_loss": lambda y_true, y_pred: y_pred})

Compiled with `take_prediction` in place of the lambda, a saved model loads as it is. Under a half-precision policy a
`Lambda(..., dtype="float32")` keeps the labels exact; without it Keras hands them over in half precision.

The layer's output is one number for the whole batch. `fit(sample_weight=...)` and `class_weight` therefore multiply it
by the mean of the batch's weights, as they do with the original, and a warning says so: images cannot be weighted this
way. `detloss.YOLOv3LossLayer` takes a weight per image.
"""

from __future__ import annotations

import warnings
from typing import Any

import tensorflow as tf

from detloss.keras_common.yolov3_lambda import take_prediction, yolov3_loss_of_model
from detloss.keras_common.yolov3_settings import mean_over_batch
from detloss.ops import implementation
from detloss.option_checks import check_flag

__all__ = ["take_prediction", "yolo_loss"]

# Coarsest scale first. The tiny model's second scale has anchors 1 to 3, as in the original.
_ANCHOR_ROWS = {3: ((6, 7, 8), (3, 4, 5), (0, 1, 2)), 2: ((3, 4, 5), (1, 2, 3))}


# tf_keras stores the bytecode of a Lambda's function and its positional defaults, nothing else: the body is one call of
# what it finds in this module, and the option of ours has no place among keyword-only arguments.
def yolo_loss(
    args: Any,
    anchors: Any,
    num_classes: int,
    ignore_thresh: float = 0.5,
    print_loss: bool = False,
    invalid_targets: str = "ignore",
) -> tf.Tensor:
    """The loss of all scales of a model, divided by the batch size.

    Args:
      args: the outputs `[B, H, W, 3 * (5 + C)]` of all scales, coarsest first, then their labels
        `[B, H, W, 3, 5 + C]`: x, y, w, h relative to the image, objectness, classes.
      anchors: widths and heights in pixels, `[9, 2]` for three scales or `[6, 2]` for two; an array or a list.
      num_classes: classes.
      ignore_thresh: IoU with a true box from which a cell without an object is ignored.
      print_loss: whether to print the loss and its terms at every call. XLA cannot: under it a warning is all.
      invalid_targets: `"ignore"`, `"silent"` or `"error"`: what happens to invalid labels, see `detloss.yolov3_loss`.

    Returns:
      `[1]`, at least float32.

    Raises:
      ValueError: an argument or a static shape is wrong, that of sample weights which `fit` was given included.
    """
    return _yolo_loss(args, anchors, num_classes, ignore_thresh, print_loss, invalid_targets)


# tf_keras would rewrite the whole call tree below with AutoGraph.
@tf.autograph.experimental.do_not_convert
def _yolo_loss(
    args: Any, anchors: Any, num_classes: int, ignore_thresh: float, print_loss: bool, invalid_targets: str
) -> tf.Tensor:
    per_image, components = yolov3_loss_of_model(
        args, anchors, _ANCHOR_ROWS, num_classes, ignore_thresh=ignore_thresh, invalid_targets=invalid_targets
    )
    loss = mean_over_batch(per_image)
    if check_flag("print_loss", print_loss):
        loss = _printed(loss, components)
    # A scalar would break jit_compile=True and sample weights in tf_keras and replica scaling in Keras 3.
    return loss[tf.newaxis]


def _printed(loss: tf.Tensor, components: dict[str, tf.Tensor]) -> tf.Tensor:
    """`loss`, which prints itself and its terms whenever it is computed."""
    if implementation.xla_compiles():
        warnings.warn("yolo_loss: print_loss=True prints nothing where XLA compiles the loss", stacklevel=2)
        return loss
    xy, wh, with_object, no_object, classes = (
        mean_over_batch(components[term]) for term in ("xy", "wh", "object", "no_object", "class")
    )
    confidence = with_object + no_object
    # A graph of TensorFlow 1 runs only what its results depend on.
    with tf.control_dependencies(
        [tf.print("loss:", loss, "xy:", xy, "wh:", wh, "confidence:", confidence, "class:", classes)]
    ):
        return tf.identity(loss)
