"""Keras 3's `Loss` for losses that come per image and that are float32 where the predictions are half."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from detloss.keras_common.calling_keras import check_caller
from detloss.keras_common.image_weights import as_image_weights, check_image_mask
from detloss.ops import arguments


class _ReducePerImage(keras.losses.Loss):
    """Weights, mask, reduction and replica scaling of Keras for losses that are computed already."""

    def call(self, _: tf.Tensor, per_image: tf.Tensor) -> tf.Tensor:
        return per_image


class PerImageLoss(keras.losses.Loss):
    """A loss whose `call` gives `[B]`, with half predictions and exact labels as they come."""

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tf.Tensor:
        """The reduced loss of weights `[B]`, `[B, 1]` or a scalar.

        Raises:
          TypeError: tf_keras calls it.
          ValueError: `sample_weight` or the mask of the predictions has another static shape.
          tf.errors.InvalidArgumentError: `sample_weight` has another shape at run time.
        """
        check_caller(self, y_true, y_pred)
        # Keras' own __call__ copies half predictions to the loss's dtype or, where that is half, the labels to half.
        mask = getattr(y_pred, "_keras_mask", None)
        with tf.name_scope(self.name):
            per_image = self.call(y_true, self._predictions(y_pred))
            if mask is not None:
                check_image_mask(mask)
                per_image._keras_mask = mask
            if sample_weight is not None:
                sample_weight = as_image_weights(sample_weight, per_image)
            reduce = _ReducePerImage(reduction=self.reduction, dtype=per_image.dtype.name)
            return reduce(per_image, per_image, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """All arguments of the constructor as plain Python values."""
        check_caller(self)
        return {**super().get_config(), "dtype": self.dtype}

    def _predictions(self, y_pred: Any) -> tf.Tensor:
        # NumPy's default is float64: as in all of Keras, it is the loss's dtype that asks for float64, not the array's.
        tensor = arguments.as_tensor("y_pred", y_pred)
        if self.dtype == "float64" and tensor.dtype.is_floating:
            return tf.cast(tensor, tf.float64)
        return tf.cast(tensor, tf.float32) if tensor.dtype == tf.float64 else tensor
