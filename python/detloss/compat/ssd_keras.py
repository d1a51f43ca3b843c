"""Drop-in for `keras_loss_function/keras_ssd_loss.py` of pierluigiferrari/ssd_keras.

from detloss.compat.ssd_keras import SSDLoss

ssd_loss = SSDLoss(neg_pos_ratio=3, alpha=1.0)
model.compile(optimizer, loss=ssd_loss.compute_loss)
"""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

import detloss
from detloss.keras_common.loss_callable import LossCallable
from detloss.option_checks import check_count, check_number, check_option
from detloss.ssd_options import INVALID_TARGETS


@dataclasses.dataclass(frozen=True)
class SSDKerasLossCallable(LossCallable):
    """What `SSDLoss.compute_loss` gives; registered with Keras as `detloss>SSDKerasLossCallable`."""

    neg_pos_ratio: float = 3.0
    n_neg_min: int = 0
    alpha: float = 1.0
    invalid_targets: str = "ignore"

    def __post_init__(self) -> None:
        self._keep(
            neg_pos_ratio=check_number("neg_pos_ratio", self.neg_pos_ratio),
            n_neg_min=check_count("n_neg_min", self.n_neg_min),
            alpha=check_number("alpha", self.alpha),
            invalid_targets=check_option("invalid_targets", self.invalid_targets, INVALID_TARGETS),
        )

    def per_image(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """`detloss.ssd_loss` with the batch mined as one, `[B]`."""
        return detloss.ssd_loss(y_true, y_pred, **self.get_config())


class SSDLoss:
    """The SSD loss of ssd_keras: rows of `[classes, 4 offsets, 8 unused]`, softmax probabilities, batch-wide mining.

    Attributes:
      neg_pos_ratio: hard negatives kept per positive.
      n_neg_min: hard negatives to keep per batch at least.
      alpha: weight of the localization loss.
      invalid_targets: `"ignore"`, `"silent"` or `"error"`: what happens to invalid labels, see `detloss.ssd_loss`.

    Raises:
      TypeError: an option is of a wrong type: a tensor or variable, too.
      ValueError: an option is out of its range.
    """

    def __init__(
        self, neg_pos_ratio: float = 3, n_neg_min: int = 0, alpha: float = 1.0, *, invalid_targets: str = "ignore"
    ) -> None:
        self.neg_pos_ratio = neg_pos_ratio
        self.n_neg_min = n_neg_min
        self.alpha = alpha
        self.invalid_targets = invalid_targets
        _callable_of(self)  # refuses what is wrong here, and again what is set later

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuses subclasses whose own terms the fused loss would silently pass over.

        Raises:
          TypeError: the subclass defines `smooth_L1_loss` or `log_loss`.
        """
        super().__init_subclass__(**kwargs)
        for term in ("smooth_L1_loss", "log_loss"):
            if getattr(cls, term) is not getattr(SSDLoss, term):
                raise TypeError(f"{cls.__name__}.{term}: expected no override, compute_loss does not call {term}")

    @property
    def compute_loss(self) -> SSDKerasLossCallable:
        """A serialisable callable `(y_true, y_pred) -> [B]` for `compile(loss=...)` of Keras 3 and of tf_keras."""
        return _callable_of(self)

    def smooth_L1_loss(self, y_true: Any, y_pred: Any) -> tf.Tensor:  # noqa: N802 (the original's name)
        """Smooth L1 (beta 1) summed over the last axis, in plain TensorFlow: `[..., 4]` to `[...]`."""
        difference = tf.abs(y_true - y_pred)
        return tf.reduce_sum(tf.where(difference < 1.0, 0.5 * difference**2, difference - 0.5), axis=-1)

    def log_loss(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """Cross-entropy from probabilities clipped at 1e-15, in plain TensorFlow: `[..., classes]` to `[...]`."""
        return -tf.reduce_sum(y_true * tf.math.log(tf.maximum(y_pred, 1e-15)), axis=-1)


def _callable_of(loss: SSDLoss) -> SSDKerasLossCallable:
    return SSDKerasLossCallable(
        neg_pos_ratio=loss.neg_pos_ratio,
        n_neg_min=loss.n_neg_min,
        alpha=loss.alpha,
        invalid_targets=loss.invalid_targets,
    )
