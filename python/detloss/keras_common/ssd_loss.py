"""The part of `SSDLoss` that does not depend on which Keras it belongs to."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

import detloss
from detloss.ssd_layout import SSDLayout, as_layout
from detloss.ssd_options import check_ssd_loss_options


class SSDLossMixin:
    """Options, `call` and configuration of a Keras loss over `detloss.ssd_loss`; goes before `Loss` in the bases."""

    def __init__(
        self,
        *,
        neg_pos_ratio: float = 3.0,
        n_neg_min: int = 0,
        alpha: float = 1.0,
        mining_scope: str = "batch",
        rank_by: str = "loss",
        normalizer: str = "batch",
        from_logits: bool = False,
        layout: SSDLayout | str | dict[str, Any] = "ssd_keras",
        num_classes: int | None = None,
        invalid_targets: str = "ignore",
        reduction: str | None = "sum_over_batch_size",
        name: str = "ssd_loss",
        **keras_options: Any,
    ) -> None:
        super().__init__(reduction=reduction, name=name, **keras_options)  # type: ignore[call-arg]
        self._layout = as_layout(layout)
        self._num_classes = as_layout(layout, num_classes).num_classes if num_classes is not None else None
        self._options: dict[str, Any] = check_ssd_loss_options(
            dict(
                neg_pos_ratio=neg_pos_ratio,
                n_neg_min=n_neg_min,
                alpha=alpha,
                mining_scope=mining_scope,
                rank_by=rank_by,
                normalizer=normalizer,
                from_logits=from_logits,
                invalid_targets=invalid_targets,
            )
        )

    # tf_keras would rewrite the whole call tree below with AutoGraph.
    @tf.autograph.experimental.do_not_convert
    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """The loss per image, `[B]`, before weights and reduction. See `detloss.ssd_loss`."""
        # Looked up here, not imported above: Keras' registry needs the class long before anyone needs the op library.
        return detloss.ssd_loss(y_true, y_pred, layout=self._layout, num_classes=self._num_classes, **self._options)

    def get_config(self) -> dict[str, Any]:
        """All options as plain Python values; the layout as a dict of its columns."""
        keras_config: dict[str, Any] = super().get_config()  # type: ignore[misc]
        layout = dataclasses.asdict(self._layout)
        return {**keras_config, **self._options, "layout": layout, "num_classes": self._num_classes}
