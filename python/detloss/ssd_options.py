"""Options of the SSD loss and of its mining: their values, and the checks that op, reference and Keras losses share."""

from __future__ import annotations

from typing import Any

from detloss.option_checks import check_count, check_non_negative, check_option

MINING_SCOPES = ("batch", "image", "image_uniform")
RANKINGS = ("loss", "foreground")
NORMALIZERS = ("batch", "image", "image_selected")
INVALID_TARGETS = ("ignore", "silent", "error")


def check_mining_options(neg_pos_ratio: float, n_neg_min: int, mining_scope: str) -> None:
    """Raises `TypeError` or `ValueError` for an option of the mining that is out of its range."""
    check_non_negative("neg_pos_ratio", neg_pos_ratio)
    check_count("n_neg_min", n_neg_min)
    check_option("mining_scope", mining_scope, MINING_SCOPES)


def check_ssd_loss_options(options: dict[str, Any]) -> None:
    """Raises `TypeError` or `ValueError` for an option of `ssd_loss`, but the layout, that is out of its range."""
    check_mining_options(options["neg_pos_ratio"], options["n_neg_min"], options["mining_scope"])
    check_non_negative("alpha", options["alpha"])
    check_option("rank_by", options["rank_by"], RANKINGS)
    check_option("normalizer", options["normalizer"], NORMALIZERS)
    check_option("invalid_targets", options["invalid_targets"], INVALID_TARGETS)
