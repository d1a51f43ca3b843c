"""tf_keras' `Loss` for losses that come per image."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras

from detloss.keras_common.calling_keras import check_caller
from detloss.keras_common.image_weights import as_image_weights, check_image_mask


class PerImageLoss(tf_keras.losses.Loss):
    """A loss whose `call` gives `[B]`."""

    # tf_keras would rewrite the whole call tree below with AutoGraph.
    @tf.autograph.experimental.do_not_convert
    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tf.Tensor:
        """The reduced loss of weights `[B]`, `[B, 1]` or a scalar.

        Raises:
          TypeError: Keras 3 calls it.
          ValueError: `sample_weight` or the mask of the predictions has another static shape.
          tf.errors.InvalidArgumentError: `sample_weight` has another shape at run time.
        """
        check_caller(self, y_true, y_pred)
        mask = getattr(y_pred, "_keras_mask", None)
        if mask is not None:
            check_image_mask(mask)
        if sample_weight is not None:
            sample_weight = as_image_weights(sample_weight, tf.convert_to_tensor(y_pred))
        return super().__call__(y_true, y_pred, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """All arguments of the constructor as plain Python values."""
        check_caller(self)
        return dict(super().get_config())
