"""The part of `YOLOv3LossLayer` that does not depend on which Keras it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import tensorflow as tf

from detloss.keras_common.calling_keras import check_caller, weights_of_fit
from detloss.keras_common.image_weights import as_image_weights
from detloss.keras_common.yolov3_settings import STRIDES, YOLOv3Settings, mean_over_batch, number_of_scales
from detloss.ops.yolov3_loss import as_scales
from detloss.yolov3_options import IOU_LOSSES


class YOLOv3LossLayerMixin:
    """Options, `call` and configuration of a layer over all scales; goes before `Layer` in the bases."""

    #: `Mean` of the layer's Keras.
    mean_metric: ClassVar[Any]

    def __init__(
        self,
        anchors: Any,
        num_classes: int,
        *,
        strides: str | int | Sequence[int] | None = "auto",
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
        name: str | None = None,
        **keras_options: Any,
    ) -> None:
        # Without casts, labels stay float32 and predictions half under a half-precision policy.
        super().__init__(name=name, autocast=False, **keras_options)  # type: ignore[call-arg]
        self._settings = YOLOv3Settings(
            anchors,
            num_classes,
            scales=None,
            stride=_as_strides(strides, number_of_scales(anchors)),
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
        box_terms = ("box",) if box_loss in IOU_LOSSES else ("xy", "wh")
        self._terms = (*box_terms, "object", "no_object", "class")
        # Both Kerases find the metrics of a layer among its attributes.
        self._means = [self.mean_metric(name=f"{term}_loss") for term in self._terms]

    # tf_keras would rewrite the whole call tree below with AutoGraph.
    @tf.autograph.experimental.do_not_convert
    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """As every layer's.

        Raises:
          TypeError: the other Keras calls the layer, or its symbolic tensors are among the inputs.
        """
        check_caller(self, *tf.nest.flatten(inputs))
        return super().__call__(inputs, *args, **kwargs)  # type: ignore[misc]

    def call(self, inputs: Any) -> Any:
        """Adds the loss and returns the outputs.

        Args:
          inputs: `[outputs, y_trues]` or `[outputs, y_trues, sample_weight]`; outputs and labels are lists of as many
            tensors as there are scales, or one tensor each; weights are `[B]`, `[B, 1]` or a scalar.

        Returns:
          The outputs.

        Raises:
          ValueError: another structure, shapes that do not fit the layer's arguments, or `fit(sample_weight=...)`,
            which nothing would apply.
          tf.errors.InvalidArgumentError: the weights have another shape at run time.
        """
        return self._add_loss_of(inputs)

    # tf_keras would rewrite the whole call tree below with AutoGraph. It reads the arguments of `call` itself.
    @tf.autograph.experimental.do_not_convert
    def _add_loss_of(self, inputs: Any) -> Any:
        if not isinstance(inputs, list | tuple) or len(inputs) not in (2, 3):
            raise ValueError(
                f"inputs: expected [outputs, y_trues] or [outputs, y_trues, sample_weight], got {inputs!r}"
            )
        outputs, y_trues = inputs[:2]
        loss, components = self._settings.loss(
            as_scales(y_trues, "y_trues", self._settings.scales), as_scales(outputs, "outputs", self._settings.scales)
        )
        terms = [components[term] for term in self._terms]
        if len(inputs) == 3:
            weights = tf.cast(as_image_weights(inputs[2], loss), loss.dtype)
            # Weighted, not averages by weight: the terms add up to the loss, which is a mean over the images.
            loss, terms = weights * loss, [weights * term for term in terms]
        else:
            _refuse_weights_of_fit()
        self.add_loss(mean_over_batch(loss))  # type: ignore[attr-defined]
        # tf_keras builds a model in the scope of a strategy outside its replicas, where no metric can be updated.
        if not tf.distribute.in_cross_replica_context():
            for term, mean in zip(terms, self._means, strict=True):
                mean.update_state(term)
        return outputs

    def get_config(self) -> dict[str, Any]:
        """All options as plain Python values."""
        check_caller(self)
        keras_config: dict[str, Any] = super().get_config()  # type: ignore[misc]
        return {**keras_config, **self._settings.config(), "strides": self._settings.stride}


def _refuse_weights_of_fit() -> None:
    weights, model = weights_of_fit()
    # A loss that the model was compiled with takes them.
    if weights is not None and not getattr(model, "loss", None):
        raise ValueError(
            "sample_weight: expected as the third input of YOLOv3LossLayer, [outputs, y_trues, sample_weight], got it "
            "(or class_weight) as an argument of fit or evaluate, whose weights no layer sees"
        )


def _as_strides(strides: str | int | Sequence[int] | None, scales: int) -> int | Sequence[int] | None:
    if not isinstance(strides, str):
        return strides
    if strides != "auto" or scales > len(STRIDES):
        raise ValueError(
            f"strides: expected 'auto' (up to {len(STRIDES)} scales), None for anchors relative to the input, or one "
            f"integer per scale, got {strides!r} for {scales} scale(s)"
        )
    return STRIDES[:scales]
