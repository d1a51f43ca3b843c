"""The part of `YOLOv3Loss` that does not depend on which Keras it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from detloss.keras_common.yolov3_settings import YOLOv3Settings
from detloss.ops import arguments


class YOLOv3LossMixin:
    """Options, `call` and configuration of a Keras loss over one scale; goes before `Loss` in the bases."""

    def __init__(
        self,
        anchors: Any,
        num_classes: int,
        *,
        stride: int | None = None,
        ignore_thresh: float = 0.5,
        comparator: str = "<",
        ignore_scope: str = "scale",
        box_loss: str = "classic",
        class_loss: str = "sigmoid",
        class_focal: bool = False,
        objectness_focal: bool = False,
        label_smoothing: float = 0.0,
        grid_sense: float | None = None,
        box_weight: float = 1.0,
        object_weight: float = 1.0,
        no_object_weight: float = 1.0,
        class_weight: float = 1.0,
        class_weights: Sequence[float] | None = None,
        target_format: str = "center",
        invalid_targets: str = "ignore",
        reduction: str | None = "sum_over_batch_size",
        name: str = "yolov3_loss",
        **keras_options: Any,
    ) -> None:
        super().__init__(reduction=reduction, name=name, **keras_options)  # type: ignore[call-arg]
        self._settings = YOLOv3Settings(
            anchors,
            num_classes,
            scales=1,
            stride=stride,
            options=dict(
                ignore_thresh=ignore_thresh,
                comparator=comparator,
                ignore_scope=ignore_scope,
                box_loss=box_loss,
                class_loss=class_loss,
                class_focal=class_focal,
                objectness_focal=objectness_focal,
                label_smoothing=label_smoothing,
                grid_sense=grid_sense,
                box_weight=box_weight,
                object_weight=object_weight,
                no_object_weight=no_object_weight,
                class_weight=class_weight,
                class_weights=class_weights,
                target_format=target_format,
                invalid_targets=invalid_targets,
            ),
        )

    # tf_keras would rewrite the whole call tree below with AutoGraph.
    @tf.autograph.experimental.do_not_convert
    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """The loss per image, `[B]`, before weights and reduction. See `detloss.yolov3_loss`."""
        loss, _ = self._settings.loss([arguments.as_tensor("y_true", y_true)], [arguments.as_tensor("y_pred", y_pred)])
        return loss

    def get_config(self) -> dict[str, Any]:
        """All options as plain Python values."""
        keras_config: dict[str, Any] = super().get_config()  # type: ignore[misc]
        return {**keras_config, **self._settings.config(), "stride": self._settings.stride}
