"""Drop-in for `YoloLoss` in `yolov3_tf2/models.py` of zzh8829/yolov3-tf2.

from detloss.compat.yolov3_tf2 import YoloLoss

loss = [YoloLoss(anchors[mask], classes=num_classes) for mask in anchor_masks]
model.compile(optimizer, loss=loss)
"""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

import detloss
from detloss.keras_common.loss_callable import LossCallable
from detloss.keras_common.yolov3_settings import check_num_classes
from detloss.ops import arguments
from detloss.option_checks import as_numbers, check_count, check_number, check_option
from detloss.yolov3_options import INVALID_TARGETS


@dataclasses.dataclass(frozen=True)
class YoloLoss(LossCallable):
    """The loss of one scale of yolov3-tf2: a callable `(y_true, y_pred) -> [B]` for `compile` and for own loops.

    Labels are `[B, G, G, A, 6]`: x1, y1, x2, y2 relative to the image, objectness, class index. Predictions are
    `[B, G, G, A, 5 + C]` logits. The classes are exclusive; the class loss of one class is 0. Registered with Keras as
    `detloss>YoloLoss`.

    Attributes:
      anchors: widths and heights relative to the image, `[A, 2]`; an array or a list.
      classes: classes.
      ignore_thresh: IoU with a true box from which a cell without an object is ignored.
      invalid_targets: `"class_error"`: on a CPU a class index out of range raises, as in the original, and other
        invalid labels are left out. `"ignore"`, `"silent"` and `"error"` as in `detloss.yolov3_loss`.

    Raises:
      TypeError: an option is of a wrong type.
      ValueError: `anchors` has another shape, or an option is out of its range.
    """

    anchors: Any
    classes: int = 80
    ignore_thresh: float = 0.5
    invalid_targets: str = dataclasses.field(default="class_error", kw_only=True)

    #: What the original's factory returns is called so.
    __name__ = "yolo_loss"

    def __post_init__(self) -> None:
        anchors = as_numbers("anchors", self.anchors)
        if anchors.ndim != 2 or anchors.shape[1] != 2:
            raise ValueError(f"anchors: expected shape [A, 2], the anchors of one scale, got {list(anchors.shape)}")
        self._keep(
            anchors=tuple((width, height) for width, height in anchors.tolist()),
            classes=check_count("classes", self.classes, least=1),
            ignore_thresh=check_number("ignore_thresh", self.ignore_thresh),
            invalid_targets=check_option("invalid_targets", self.invalid_targets, INVALID_TARGETS),
        )

    def per_image(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """`detloss.yolov3_loss` with squared errors, corner labels and exclusive classes, `[B]`.

        Raises:
          ValueError: a static shape does not fit `classes`.
        """
        y_true, y_pred = arguments.as_tensor("y_true", y_true), arguments.as_tensor("y_pred", y_pred)
        check_num_classes([y_true], [y_pred], self.classes, len(self.anchors), target_format="corner")
        return detloss.yolov3_loss(
            y_true,
            y_pred,
            self.anchors,
            ignore_thresh=self.ignore_thresh,
            box_loss="squared",
            class_loss="normalized_sigmoid",
            target_format="corner",
            invalid_targets=self.invalid_targets,
        )
