"""Drop-in for `yolo3_loss` in `yolo3/loss.py` of david8862/keras-YOLOv3-model-set.

from detloss.compat.keras_yolov3_model_set import yolo3_loss

model_loss, location_loss, confidence_loss, class_loss = Lambda(yolo3_loss, name="yolo_loss",
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

from typing import Any

import tensorflow as tf

from detloss.keras_common.yolov3_lambda import check_is_list, take_prediction, yolov3_loss_of_model
from detloss.keras_common.yolov3_settings import as_num_classes, mean_over_batch
from detloss.option_checks import check_flag, check_option
from detloss.yolov3_options import IOU_LOSSES

__all__ = ["take_prediction", "yolo3_loss"]

# Coarsest scale first.
_ANCHOR_ROWS = {3: ((6, 7, 8), (3, 4, 5), (0, 1, 2)), 2: ((3, 4, 5), (0, 1, 2))}
_GRID_SENSE = {3: (1.05, 1.1, 1.2), 2: (1.05, 1.05)}


# tf_keras stores the bytecode of a Lambda's function and its positional defaults, nothing else: the body is one call of
# what it finds in this module, and the option of ours has no place among keyword-only arguments.
def yolo3_loss(
    args: Any,
    anchors: Any,
    num_classes: int,
    ignore_thresh: float = 0.5,
    label_smoothing: float = 0,
    elim_grid_sense: bool = False,
    use_focal_loss: bool = False,
    use_focal_obj_loss: bool = False,
    use_softmax_loss: bool = False,
    iou_loss_type: str | None = "ciou",
    invalid_targets: str = "ignore",
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """The loss of all scales of a model and its terms, divided by the batch size.

    Args:
      args: the outputs `[B, H, W, 3 * (5 + C)]` of all scales, coarsest first, then their labels
        `[B, H, W, 3, 5 + C]`: x, y, w, h relative to the image, objectness, classes.
      anchors: widths and heights in pixels, `[9, 2]` for three scales or `[6, 2]` for two; an array or a list.
      num_classes: classes; the class loss of one class is 0.
      ignore_thresh: IoU with a true box from which a cell without an object is ignored.
      label_smoothing: s of `y * (1 - s) + s / 2`.
      elim_grid_sense: whether the sigmoid of the decoded centre is stretched beyond its cell.
      use_focal_loss: whether the class loss is focal, over every cell.
      use_focal_obj_loss: whether the objectness loss is focal, in every cell and without ignoring.
      use_softmax_loss: whether the classes are exclusive.
      iou_loss_type: `"iou"`, `"giou"`, `"diou"`, `"ciou"`, `"siou"`, or `None` for YOLOv3's own box loss.
      invalid_targets: `"ignore"`, `"silent"` or `"error"`: what happens to invalid labels, see `detloss.yolov3_loss`.

    Returns:
      The loss `[1]`, and the location, confidence and class loss as scalars without gradient; at least float32.

    Raises:
      ValueError: an argument or a static shape is wrong, that of sample weights which `fit` was given included.
    """
    return _yolo3_loss(
        args,
        anchors,
        num_classes,
        elim_grid_sense,
        use_softmax_loss,
        iou_loss_type,
        ignore_thresh=ignore_thresh,
        label_smoothing=label_smoothing,
        class_focal=use_focal_loss,
        objectness_focal=use_focal_obj_loss,
        invalid_targets=invalid_targets,
    )


# tf_keras would rewrite the whole call tree below with AutoGraph.
@tf.autograph.experimental.do_not_convert
def _yolo3_loss(
    args: Any,
    anchors: Any,
    num_classes: int,
    elim_grid_sense: bool,
    use_softmax_loss: bool,
    iou_loss_type: str | None,
    **options: Any,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    check_is_list(args)
    if iou_loss_type not in (None, False, ""):
        check_option("iou_loss_type", iou_loss_type, IOU_LOSSES, "None")
    check_flag("elim_grid_sense", elim_grid_sense)
    for name, option in (("use_focal_loss", "class_focal"), ("use_focal_obj_loss", "objectness_focal")):
        check_flag(name, options[option])
    class_loss = "softmax" if check_flag("use_softmax_loss", use_softmax_loss) else "sigmoid"
    if as_num_classes(num_classes) == 1:
        options.update(class_loss="none", class_focal=False)
    else:
        options.update(class_loss=class_loss)
    per_image, components = yolov3_loss_of_model(
        args,
        anchors,
        _ANCHOR_ROWS,
        num_classes,
        grid_sense=_GRID_SENSE.get(len(args) // 2) if elim_grid_sense else None,
        box_loss=iou_loss_type or "classic",
        **options,
    )
    location, with_object, no_object, classes = (
        mean_over_batch(components[term]) for term in ("box", "object", "no_object", "class")
    )
    # A scalar would break jit_compile=True and sample weights in tf_keras and replica scaling in Keras 3.
    return mean_over_batch(per_image)[tf.newaxis], location, with_object + no_object, classes
