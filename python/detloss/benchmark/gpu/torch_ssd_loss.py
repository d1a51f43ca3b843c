"""The SSD loss with the defaults of ssd_keras in PyTorch, as one would write it there: vectorised, without a loop."""

from __future__ import annotations

import torch
from torch.nn import functional

_SMALLEST_PROBABILITY = 1e-15
_NON_CLASS_COLUMNS = 12
_NEG_POS_RATIO = 3.0


def ssd_loss(
    y_true: torch.Tensor, y_pred: torch.Tensor, *, from_logits: bool = False, top_k: bool = False
) -> torch.Tensor:
    """The loss per image, `[B]`, in the layout of ssd_keras; the batch is mined as one.

    Args:
      y_true: labels `[B, N, C + 12]`.
      y_pred: predictions `[B, N, C + 12]`.
      from_logits: whether the class columns of `y_pred` are logits rather than softmax probabilities.
      top_k: whether the hard negatives come from `torch.topk`, for which the host has to wait for their number, rather
        than from a sort.
    """
    classes = y_true.shape[-1] - _NON_CLASS_COLUMNS
    predictions = y_pred.to(y_true.dtype)
    labels, scores = y_true[..., :classes], predictions[..., :classes]
    logarithms = (
        functional.log_softmax(scores, dim=-1) if from_logits else scores.clamp(min=_SMALLEST_PROBABILITY).log()
    )
    cls = -(labels * logarithms).sum(dim=-1)
    loc = functional.smooth_l1_loss(
        predictions[..., classes : classes + 4], y_true[..., classes : classes + 4], reduction="none"
    ).sum(dim=-1)
    positive, negative = labels[..., 1:].amax(dim=-1), labels[..., 0]
    n_pos = positive.sum()
    with torch.no_grad():
        kept = _hardest((cls * negative).flatten(), n_pos, top_k).view_as(cls)
    total = (cls * (positive + kept)).sum(dim=1) + (loc * positive).sum(dim=1)
    return total / n_pos.clamp(min=1) * len(y_true)


def _hardest(keys: torch.Tensor, n_pos: torch.Tensor, top_k: bool) -> torch.Tensor:
    """1 for the k largest keys, 0 for the others."""
    k = torch.minimum((_NEG_POS_RATIO * n_pos.floor()).floor().long(), (keys != 0).sum())
    if top_k:
        indices = torch.topk(keys, int(k), sorted=False).indices
        return torch.zeros_like(keys).scatter_(0, indices, 1.0)
    order = torch.argsort(keys, descending=True, stable=True)
    is_among_them = torch.arange(len(keys), device=keys.device) < k
    return torch.zeros_like(keys).scatter_(0, order, is_among_them.to(keys.dtype))
