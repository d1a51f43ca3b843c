"""The plain callable that a drop-in gives to `compile(loss=...)`."""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, Any

import tensorflow as tf

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
          y_true: labels, the images along the first axis.
          y_pred: predictions, the images along the first axis.
          sample_weight: weight of each image's loss, `[B]` or a scalar. Keras never passes it: it weights by itself.

        Returns:
          `[B]`, at least float32.

        Raises:
          ValueError: `sample_weight` has another rank than 0 or 1.
        """
        per_image = self.per_image(y_true, y_pred)
        if sample_weight is None:
            return per_image
        weights = tf.cast(sample_weight, per_image.dtype)
        if weights.shape.rank not in (0, 1):
            raise ValueError(f"sample_weight: expected shape [batch] or a scalar, got {weights.shape}")
        return per_image * weights

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
