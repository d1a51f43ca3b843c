"""`detloss.SSDLoss` for Keras 3."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from detloss.keras_common.ssd_loss import SSDLossMixin


class _ReducePerImage(keras.losses.Loss):
    """Weights, mask, reduction and replica scaling of Keras for losses that are computed already."""

    def call(self, _: tf.Tensor, per_image: tf.Tensor) -> tf.Tensor:
        return per_image


@keras.saving.register_keras_serializable("detloss")
class SSDLoss(SSDLossMixin, keras.losses.Loss):
    """SSD's multibox loss with hard negative mining as a loss of Keras 3.

    The options are those of `detloss.ssd_loss`. `y_true` and `y_pred` are `[B, N, width]`, `sample_weight` is `[B]` or
    a scalar. The weights scale the losses of the images; they do not take part in the mining. Under a `tf.distribute`
    strategy every replica mines and normalises its own share of the batch.

    Half-precision predictions go to the op as they are and labels stay float32: the loss, its weights and its reduction
    are float32 whatever the policy says.

    Args:
      neg_pos_ratio: hard negatives kept per positive.
      n_neg_min: hard negatives to keep at least.
      alpha: weight of the localization loss.
      mining_scope: `"batch"`, `"image"` or `"image_uniform"`.
      rank_by: `"loss"` or `"foreground"`.
      normalizer: `"batch"`, `"image"` or `"image_selected"`.
      from_logits: whether the class columns are logits.
      layout: an `SSDLayout`, `"ssd_keras"` or `"ssd_keras_rykov8"`.
      invalid_targets: `"ignore"` or `"error"`.
      reduction: any reduction of Keras 3; `"none"` and `None` give the weighted losses per image, `[B]`.
      name: name of the loss.
      dtype: `"float64"` computes in float64, any other in float32. `None`: Keras' `floatx`.
    """

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tf.Tensor:
        """The reduced loss."""
        # Keras' own __call__ copies half predictions to the loss's dtype or, where that is half, the labels to half.
        mask = getattr(y_pred, "_keras_mask", None)
        with tf.name_scope(self.name):
            per_image = self.call(y_true, self._predictions(y_pred))
            if mask is not None:
                per_image._keras_mask = _per_image_mask(mask)
            reduce = _ReducePerImage(reduction=self.reduction, dtype=per_image.dtype.name)
            return reduce(per_image, per_image, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """All arguments of the constructor as plain Python values."""
        return {**super().get_config(), "dtype": self.dtype}

    def _predictions(self, y_pred: Any) -> tf.Tensor:
        # NumPy's default is float64: as in all of Keras, it is the loss's dtype that asks for float64, not the array's.
        tensor = tf.convert_to_tensor(y_pred)
        if self.dtype == "float64" and tensor.dtype.is_floating:
            return tf.cast(tensor, tf.float64)
        return tf.cast(tensor, tf.float32) if tensor.dtype == tf.float64 else tensor


def _per_image_mask(mask: tf.Tensor) -> tf.Tensor:
    if mask.shape.rank != 1:
        raise ValueError(
            f"mask: expected shape [batch], got {mask.shape}. A box takes no part if its class labels are all zero."
        )
    return mask
