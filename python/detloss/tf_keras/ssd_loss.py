"""`detloss.tf_keras.SSDLoss`, the twin of `detloss.SSDLoss` for tf_keras."""

from __future__ import annotations

import tf_keras

from detloss.keras_common.ssd_loss import SSDLossMixin
from detloss.tf_keras.per_image_loss import PerImageLoss


@tf_keras.saving.register_keras_serializable("detloss")
class SSDLoss(SSDLossMixin, PerImageLoss):
    """SSD's multibox loss with hard negative mining as a loss of tf_keras.

    The options are those of `detloss.ssd_loss`. `y_true` and `y_pred` are `[B, N, width]`, `sample_weight` is `[B]`,
    `[B, 1]` or a scalar. The weights scale the losses of the images; they do not take part in the mining. Under a
    `tf.distribute` strategy every replica mines and normalises its own share of the batch.

    Under a half-precision policy tf_keras itself casts the labels to the dtype of the predictions before any loss sees
    them. End the model in a float32 layer to keep them exact.

    Args:
      neg_pos_ratio: hard negatives kept per positive.
      n_neg_min: hard negatives to keep at least.
      alpha: weight of the localization loss.
      mining_scope: `"batch"`, `"image"` or `"image_uniform"`.
      rank_by: `"loss"` or `"foreground"`.
      normalizer: `"batch"`, `"image"` or `"image_selected"`.
      from_logits: whether the class columns are logits.
      layout: an `SSDLayout`, `"ssd_keras"` or `"ssd_keras_rykov8"`.
      num_classes: classes with the background, compared with the width of the rows; see `detloss.ssd_loss`.
      invalid_targets: `"ignore"`, `"silent"` or `"error"`.
      reduction: any reduction of tf_keras; `"none"` gives the weighted losses per image, `[B]`.
      name: name of the loss.
    """
