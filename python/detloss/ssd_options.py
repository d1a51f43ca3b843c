"""Options of the SSD loss and of its mining: their values, and the checks that op, reference and Keras losses share."""

from __future__ import annotations

from typing import Any

from detloss.option_checks import check_count, check_flag, check_number, check_option

MINING_SCOPES = ("batch", "image", "image_uniform")
RANKINGS = ("loss", "foreground")
NORMALIZERS = ("batch", "image", "image_selected")
INVALID_TARGETS = ("ignore", "silent", "error")


def check_mining_options(neg_pos_ratio: float, n_neg_min: int, mining_scope: str) -> dict[str, Any]:
    """The options of the mining as plain Python values.

    Raises:
      TypeError: an option is of a wrong type.
      ValueError: an option is out of its range.
    """
    return dict(
        neg_pos_ratio=check_number("neg_pos_ratio", neg_pos_ratio),
        n_neg_min=check_count("n_neg_min", n_neg_min),
        mining_scope=check_option("mining_scope", mining_scope, MINING_SCOPES),
    )


def check_ssd_loss_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options of `ssd_loss`, but for the layout, as plain Python values.

    Raises:
      TypeError: an option is of a wrong type.
      ValueError: an option is out of its range.
    """
    return dict(
        check_mining_options(options["neg_pos_ratio"], options["n_neg_min"], options["mining_scope"]),
        alpha=check_number("alpha", options["alpha"]),
        rank_by=check_option("rank_by", options["rank_by"], RANKINGS),
        normalizer=check_option("normalizer", options["normalizer"], NORMALIZERS),
        from_logits=check_flag("from_logits", options["from_logits"]),
        invalid_targets=check_option("invalid_targets", options["invalid_targets"], INVALID_TARGETS),
    )
