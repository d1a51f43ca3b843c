"""The plain callable that a drop-in gives to `compile(loss=...)`."""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from detloss.keras_common import calling_keras
from detloss.keras_common.image_weights import as_image_weights, check_keras_weights

if TYPE_CHECKING:
    from typing_extensions import Self


class LossCallable(abc.ABC):
    """A loss `(y_true, y_pred) -> [B]` that Keras 3 and tf_keras both train with, save and load.

    It is no `Loss`, because a `Loss` of one Keras gives wrong weighted results in the other, and no bound method,
    because Keras 3 cannot reload one. Subclasses are frozen dataclasses whose fields are the loss's options.
    """

    #: What Keras names the loss after, and what `custom_objects` of the original repositories call it.
    __name__ = "compute_loss"

    # tf_keras would rewrite the whole call tree below with AutoGraph.
    @tf.autograph.experimental.do_not_convert
    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tf.Tensor:
        """The loss per image.

        Args:
          y_true: labels, the images along the first axis. Keras 3 itself refuses plain callables for labels whose rank
            it does not know, as `tf.numpy_function` leaves them ("Cannot take the length of shape with unknown rank"):
            `tf.ensure_shape(y_true, shape)` in the pipeline tells it.
          y_pred: predictions, the images along the first axis.
          sample_weight: weight of each image's loss, `[B]`, `[B, 1]` or a scalar. Keras never passes it: it weights by
            itself, with weights whose shape is checked here all the same.

        Returns:
          `[B]`, at least float32.

        Raises:
          ValueError: `sample_weight`, that of `fit` included, has another static shape.
          tf.errors.InvalidArgumentError: it has another shape at run time.
        """
        per_image = self.per_image(y_true, y_pred)
        if sample_weight is None:
            return check_keras_weights(*calling_keras.weights_of_wrapper(self), per_image)
        return per_image * tf.cast(as_image_weights(sample_weight, per_image), per_image.dtype)

    @abc.abstractmethod
    def per_image(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """The unweighted loss of each image, `[B]`."""

    def _keep(self, **options: Any) -> None:
        """Sets fields in `__post_init__`: checked, and plain values, so that losses compare, hash and serialise."""
        for name, value in options.items():
            object.__setattr__(self, name, value)

    def get_config(self) -> dict[str, Any]:
        """The options as plain Python values."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The callable that `get_config` described."""
        return cls(**config)
