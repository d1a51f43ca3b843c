"""Drop-in for `ssd_training.py` of rykov8/ssd_keras.

from detloss.compat.ssd_keras_rykov8 import MultiboxLoss

model.compile(optimizer, loss=MultiboxLoss(num_classes, neg_pos_ratio=2.0).compute_loss)
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
class SSDKerasRykov8LossCallable(LossCallable):
    """What `MultiboxLoss.compute_loss` gives; registered with Keras as `detloss>SSDKerasRykov8LossCallable`."""

    num_classes: int
    alpha: float = 1.0
    neg_pos_ratio: float = 3.0
    negatives_for_hard: int = 100
    invalid_targets: str = "ignore"

    def __post_init__(self) -> None:
        self._keep(
            num_classes=check_count("num_classes", self.num_classes, least=2),
            alpha=check_number("alpha", self.alpha),
            neg_pos_ratio=check_number("neg_pos_ratio", self.neg_pos_ratio),
            negatives_for_hard=check_count("negatives_for_hard", self.negatives_for_hard),
            invalid_targets=check_option("invalid_targets", self.invalid_targets, INVALID_TARGETS),
        )

    def per_image(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """`detloss.ssd_loss` with rykov8's mining, ranking and normalisation, `[B]`.

        Raises:
          ValueError: rows are not `num_classes + 12` columns wide; `tf.errors.InvalidArgumentError` at run time.
        """
        return detloss.ssd_loss(
            y_true,
            y_pred,
            neg_pos_ratio=self.neg_pos_ratio,
            n_neg_min=self.negatives_for_hard,
            alpha=self.alpha,
            mining_scope="image_uniform",
            rank_by="foreground",
            normalizer="image_selected",
            layout="ssd_keras_rykov8",
            num_classes=self.num_classes,
            invalid_targets=self.invalid_targets,
        )


class MultiboxLoss:
    """The SSD loss of rykov8/ssd_keras: rows of `[4 offsets, classes, positive flag, 7 unused]`, softmax probabilities.

    Attributes:
      num_classes: classes with the background as class 0.
      alpha: weight of the localization loss.
      neg_pos_ratio: hard negatives kept per positive.
      background_label_id: 0.
      negatives_for_hard: hard negatives kept per image when no image of the batch asks for any.
      invalid_targets: `"ignore"`, `"silent"` or `"error"`: what happens to invalid labels, see `detloss.ssd_loss`.

    Raises:
      TypeError: an option is of a wrong type: a tensor or variable, too.
      ValueError: `background_label_id` is not 0, or an option is out of its range.
    """

    def __init__(
        self,
        num_classes: int,
        alpha: float = 1.0,
        neg_pos_ratio: float = 3.0,
        background_label_id: int = 0,
        negatives_for_hard: float = 100.0,
        *,
        invalid_targets: str = "ignore",
    ) -> None:
        if check_count("background_label_id", background_label_id) != 0:
            raise ValueError(f"background_label_id: expected 0, the only one supported, got {background_label_id}")
        self.num_classes = num_classes
        self.alpha = alpha
        self.neg_pos_ratio = neg_pos_ratio
        self.background_label_id = background_label_id
        self.negatives_for_hard = negatives_for_hard
        self.invalid_targets = invalid_targets
        _callable_of(self)  # refuses what is wrong here, and again what is set later

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuses subclasses whose own terms the fused loss would silently pass over.

        Raises:
          TypeError: the subclass defines `_l1_smooth_loss` or `_softmax_loss`.
        """
        super().__init_subclass__(**kwargs)
        for term in ("_l1_smooth_loss", "_softmax_loss"):
            if hasattr(cls, term):
                raise TypeError(f"{cls.__name__}.{term}: expected no override, compute_loss does not call {term}")

    @property
    def compute_loss(self) -> SSDKerasRykov8LossCallable:
        """A serialisable callable `(y_true, y_pred) -> [B]` for `compile(loss=...)` of Keras 3 and of tf_keras."""
        return _callable_of(self)


def _callable_of(loss: MultiboxLoss) -> SSDKerasRykov8LossCallable:
    return SSDKerasRykov8LossCallable(
        num_classes=loss.num_classes,
        alpha=loss.alpha,
        neg_pos_ratio=loss.neg_pos_ratio,
        negatives_for_hard=int(check_number("negatives_for_hard", loss.negatives_for_hard)),
        invalid_targets=loss.invalid_targets,
    )
