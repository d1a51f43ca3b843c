"""The SSD loss in plain NumPy, box by box in float64: written from the definition, for comparison only."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from detloss.ssd_layout import SSDLayout, as_layout


@dataclasses.dataclass
class Result:
    loss: np.ndarray
    components: dict[str, np.ndarray]
    kept: np.ndarray
    gradient: np.ndarray


@dataclasses.dataclass
class _Box:
    """What the label and the prediction of one box say."""

    labels: np.ndarray
    positive: float
    negative: float
    valid: bool
    cls: float = 0.0
    cls_gradient: np.ndarray | float = 0.0
    loc: float = 0.0
    loc_gradient: np.ndarray | float = 0.0
    key: float = 0.0


def hard_negative_mask(
    keys: np.ndarray,
    n_positive: np.ndarray,
    *,
    neg_pos_ratio: float = 3.0,
    n_neg_min: int = 0,
    mining_scope: str = "batch",
    eligible: np.ndarray | None = None,
) -> np.ndarray:
    """bool `[B, N]`. Boxes that are not eligible rank last and are never kept."""
    keys, n_positive = np.asarray(keys, np.float64), np.asarray(n_positive, np.float64)
    eligible = np.ones(keys.shape, bool) if eligible is None else eligible
    images, boxes = keys.shape
    if mining_scope == "image_uniform":
        count = _uniform_count(n_positive, boxes, neg_pos_ratio, n_neg_min)
        rows = [_keep(keys[b], eligible[b], count) for b in range(images)]
    elif mining_scope == "image":
        rows = [
            _keep(keys[b], eligible[b], _count(n_positive[b], keys[b], neg_pos_ratio, n_neg_min)) for b in range(images)
        ]
    else:
        flat = keys.reshape(-1)
        rows = _keep(flat, eligible.reshape(-1), _count(n_positive.sum(), flat, neg_pos_ratio, n_neg_min))
    return np.reshape(rows, keys.shape).astype(bool)


def ssd_loss(
    y_true: np.ndarray,
    y_pred: np.ndarray,
    *,
    neg_pos_ratio: float = 3.0,
    n_neg_min: int = 0,
    alpha: float = 1.0,
    mining_scope: str = "batch",
    rank_by: str = "loss",
    normalizer: str = "batch",
    from_logits: bool = False,
    layout: SSDLayout | str = "ssd_keras",
    loss_gradient: np.ndarray | None = None,
) -> Result:
    """Loss, components, kept boxes and the gradient of `sum(loss * loss_gradient)`, by default of the sum."""
    dtype = np.float64 if y_pred.dtype == np.float64 else np.float32
    labels, predictions = y_true.astype(dtype).astype(np.float64), y_pred.astype(np.float64)
    images, n_boxes, width = labels.shape
    columns = as_layout(layout).resolve(width)
    classes = slice(columns.class_column, columns.class_column + columns.num_classes)
    offsets = slice(columns.box_column, columns.box_column + 4)
    smallest = float(dtype(1e-15))

    with np.errstate(all="ignore"):
        boxes = [
            [_read_box(labels[b, n], predictions[b, n], columns, classes, offsets) for n in range(n_boxes)]
            for b in range(images)
        ]
        for b, n in np.ndindex(images, n_boxes):
            _score(boxes[b][n], labels[b, n], predictions[b, n], classes, offsets, from_logits, rank_by, smallest)

    def table(attribute: str, kind: Any = np.float64) -> np.ndarray:
        return np.array([[getattr(box, attribute) for box in row] for row in boxes], kind).reshape(images, n_boxes)

    n_pos = table("positive").sum(axis=1).astype(dtype).astype(np.float64)
    kept = hard_negative_mask(
        table("key"),
        n_pos,
        neg_pos_ratio=neg_pos_ratio,
        n_neg_min=n_neg_min,
        mining_scope=mining_scope,
        eligible=table("valid", bool),
    )
    n_kept = kept.sum(axis=1)
    confidence_scale, localization_scale = _scales(normalizer, n_pos, n_kept)

    positive, negative, localization = (np.zeros(images) for _ in range(3))
    gradient = np.zeros(predictions.shape)
    upstream = np.ones(images) if loss_gradient is None else loss_gradient
    for b, n in np.ndindex(images, n_boxes):
        box = boxes[b][n]
        if box.positive > 0:
            positive[b] += box.positive * box.cls * confidence_scale[b]
            localization[b] += _weighted(alpha * box.positive * localization_scale[b], box.loc)
            scale = upstream[b] * alpha * localization_scale[b] * box.positive
            gradient[b, n, offsets] = _weighted(scale, box.loc_gradient)
        if kept[b, n]:
            negative[b] += box.cls * confidence_scale[b]
        if box.negative != 0 and (math.isnan(box.cls) or math.isnan(box.key)):
            negative[b] = math.nan
        weight = box.positive + kept[b, n]
        if weight > 0:
            gradient[b, n, classes] = _weighted(upstream[b] * confidence_scale[b] * weight, box.cls_gradient)
    components = {
        "positive": positive,
        "negative": negative,
        "localization": localization,
        "n_pos": n_pos,
        "n_kept": n_kept.astype(np.float64),
        "num_invalid": (~table("valid", bool)).sum(axis=1),
    }
    return Result(positive + negative + localization, components, kept, gradient)


def _weighted(weight: float, term: Any) -> Any:
    """Nothing without a weight, whatever the term is."""
    return weight * term if weight else np.zeros_like(term)


def _read_box(label: np.ndarray, prediction: np.ndarray, columns: SSDLayout, classes: slice, offsets: slice) -> _Box:
    labels = label[classes]
    weights = list(labels)
    if columns.positive_column is None:
        positive, negative = max(labels[1:]), labels[0]
    else:
        positive = label[columns.positive_column]
        negative = 1 - positive
        weights.append(positive)
    valid = all(0 <= weight <= 1e6 for weight in weights)
    valid = valid and (positive == 0 or all(abs(offset) <= 1e6 for offset in label[offsets]))
    return _Box(labels, positive, negative, True) if valid else _Box(np.zeros_like(labels), 0.0, 0.0, False)


def _score(
    box: _Box,
    label: np.ndarray,
    prediction: np.ndarray,
    classes: slice,
    offsets: slice,
    from_logits: bool,
    rank_by: str,
    smallest: float,
) -> None:
    scores = prediction[classes]
    if from_logits:
        # Those equal to an infinite largest score share the probability.
        differences = np.where(scores == scores.max(), 0, scores - scores.max())
        log_probabilities = differences - np.log(np.exp(differences).sum())
        probabilities = np.exp(log_probabilities)
        box.cls = sum(-y * log_p for y, log_p in zip(box.labels, log_probabilities, strict=True) if y != 0)
        box.cls_gradient = box.labels.sum() * probabilities - box.labels
    else:
        probabilities = scores
        box.cls = sum(-y * np.log(np.maximum(p, smallest)) for y, p in zip(box.labels, scores, strict=True) if y != 0)
        box.cls_gradient = np.array(
            [0 if y == 0 or p < smallest else -y / p for y, p in zip(box.labels, scores, strict=True)]
        )
    if box.negative != 0:
        box.key = box.negative * (box.cls if rank_by == "loss" else probabilities[1:].max())
    if box.positive > 0:
        error = prediction[offsets] - label[offsets]
        box.loc = np.where(np.abs(error) < 1, 0.5 * error**2, np.abs(error) - 0.5).sum()
        box.loc_gradient = np.clip(error, -1, 1)


def _by_ratio(neg_pos_ratio: float, n_positive: np.float32) -> np.float32:
    """In float32. None where nothing is asked for, be the positives infinite."""
    return np.float32(neg_pos_ratio) * n_positive if neg_pos_ratio else np.float32(0)


def _count(n_positive: float, keys: np.ndarray, neg_pos_ratio: float, n_neg_min: int) -> int:
    wanted = np.floor(_by_ratio(neg_pos_ratio, np.floor(np.float32(n_positive))))
    return int(min(max(float(wanted), n_neg_min), np.count_nonzero(keys)))


def _uniform_count(n_positive: np.ndarray, boxes: int, neg_pos_ratio: float, n_neg_min: int) -> int:
    asked = [min(_by_ratio(neg_pos_ratio, np.float32(n)), np.float32(boxes) - np.float32(n)) for n in n_positive]
    asked = [each for each in asked if each > 0]
    return int(min(math.floor(min(asked)) if asked else n_neg_min, boxes))


def _keep(keys: np.ndarray, eligible: np.ndarray, count: int) -> np.ndarray:
    # Python's sort is stable: equal keys stay in the order of their indices.
    order = sorted(range(len(keys)), key=lambda i: (not eligible[i], not math.isnan(keys[i]), -keys[i]))
    kept = np.zeros(len(keys), bool)
    kept[order[:count]] = True
    return kept & eligible


def _scales(normalizer: str, n_pos: np.ndarray, n_kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    per_image = 1 / np.maximum(1, n_pos)
    if normalizer == "batch":
        scale = np.full(len(n_pos), len(n_pos) / max(1.0, n_pos.sum()))
        return scale, scale
    if normalizer == "image":
        return per_image, per_image
    selected = n_pos + n_kept
    return (
        np.where(selected > 0, 1 / np.maximum(selected, 1e-300), 0),
        1 / np.where(n_pos > 0, n_pos, 1),
    )
