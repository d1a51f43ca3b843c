"""`detloss.YOLOv3Loss` for Keras 3."""

from __future__ import annotations

import keras

from detloss.keras_common.yolov3_loss import YOLOv3LossMixin
from detloss.losses.per_image_loss import PerImageLoss


@keras.saving.register_keras_serializable("detloss")
class YOLOv3Loss(YOLOv3LossMixin, PerImageLoss):
    """YOLOv3's loss of one scale as a loss of Keras 3.

    `model.compile(optimizer, loss=[YOLOv3Loss(anchors, num_classes, stride=stride) for anchors, stride in ...])` takes
    one for every output of the model. `YOLOv3LossLayer` takes all scales at once and shows the terms of the loss.

    The options are those of `detloss.yolov3_loss`. `y_true` is `[B, H, W, A, 5 + C]` (`[B, H, W, A, 6]` for
    `"corner"`), `y_pred` `[B, H, W, A * (5 + C)]` or `[B, H, W, A, 5 + C]` of any height and width, `sample_weight`
    `[B]`, `[B, 1]` or a scalar.

    Half-precision predictions go to the op as they are and labels stay float32: the loss, its weights and its reduction
    are float32 whatever the policy says.

    Args:
      anchors: widths and heights `[A, 2]`, in pixels with a stride, relative to the input without.
      num_classes: classes.
      stride: pixels per cell, or `None` for anchors relative to the input.
      ignore_thresh: IoU with a true box from which a cell without an object is ignored.
      comparator: `"<"` or `"<="`.
      ignore_scope: `"scale"` or `"image"`, which are the same for one scale.
      box_loss: `"classic"`, `"squared"`, `"iou"`, `"giou"`, `"diou"`, `"ciou"` or `"siou"`.
      class_loss: `"sigmoid"`, `"softmax"`, `"normalized_sigmoid"` or `"none"`.
      class_focal: whether the class loss is focal, over every cell.
      objectness_focal: whether the objectness loss is focal, in every cell and without ignoring.
      label_smoothing: s of `y * (1 - s) + s / 2`.
      grid_sense: s of `sigmoid(t) * s - (s - 1) / 2` in the decoded centre, or `None`.
      box_weight: factor of the box term.
      object_weight: factor of the object term.
      no_object_weight: factor of the no-object term.
      class_weight: factor of the class term.
      class_weights: factor of every class, or `None`.
      target_format: `"center"` or `"corner"`.
      invalid_targets: `"ignore"`, `"silent"`, `"error"` or `"class_error"`.
      reduction: any reduction of Keras 3; `"none"` and `None` give the weighted losses per image, `[B]`.
      name: name of the loss.
      dtype: `"float64"` computes in float64, any other in float32. `None`: Keras' `floatx`.
    """
