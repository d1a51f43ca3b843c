"""Batches of SSD labels and predictions: realistic random ones, and awkward ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from detloss.ssd_layout import SSDLayout, as_layout

#: A layout of neither repository: boxes first, a flag between, columns counted from both ends, unused ones between.
MIXED_LAYOUT = SSDLayout(num_classes=5, class_column=-6, box_column=2, positive_column=7)
LAYOUTS: dict[str, SSDLayout | str] = {
    "ssd_keras": "ssd_keras",
    "ssd_keras_rykov8": "ssd_keras_rykov8",
    "mixed": MIXED_LAYOUT,
}

RYKOV8 = dict(
    layout="ssd_keras_rykov8", mining_scope="image_uniform", rank_by="foreground", normalizer="image_selected"
)
#: Together every option at least once; those of both repositories first.
OPTION_SETS: dict[str, dict[str, Any]] = {
    "ssd_keras": {},
    "rykov8": {**RYKOV8, "n_neg_min": 100},
    "caffe": dict(mining_scope="image", from_logits=True),
    "image": dict(mining_scope="image", normalizer="image_selected", n_neg_min=4, alpha=0.25),
    "logits, foreground": dict(from_logits=True, rank_by="foreground", normalizer="image", layout="mixed"),
    "rykov8, logits": dict(RYKOV8, from_logits=True, neg_pos_ratio=1.5),
}

Batch = tuple[np.ndarray, np.ndarray]


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def ssd_batch(
    images: int,
    boxes: int,
    classes: int = 5,
    *,
    layout: SSDLayout | str = "ssd_keras",
    dtype: Any = np.float32,
    from_logits: bool = False,
    positive_share: float = 0.05,
    neutral_share: float = 0.1,
    seed: int = 0,
) -> Batch:
    """One-hot labels, most of them background, some neutral (all zero), and predictions that lean to the background."""
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random((images, boxes)) < positive_share, rng.integers(1, classes, (images, boxes)), 0)
    labels = np.eye(classes)[truth]
    labels[rng.random((images, boxes)) < neutral_share] = 0
    logits = 1.5 * rng.normal(size=(images, boxes, classes)) + 2 * (np.arange(classes) == 0)
    return assemble(labels, logits if from_logits else softmax(logits), layout=layout, dtype=dtype, rng=rng)


def with_layout(options: dict[str, Any]) -> dict[str, Any]:
    """The options with the layout itself for its name."""
    return {**options, "layout": LAYOUTS[options.get("layout", "ssd_keras")]}


def batch_for(options: dict[str, Any], images: int, boxes: int, **choices: Any) -> Batch:
    options = with_layout(options)
    return ssd_batch(images, boxes, layout=options["layout"], from_logits=options.get("from_logits", False), **choices)


def assemble(
    labels: np.ndarray,
    scores: np.ndarray,
    *,
    layout: SSDLayout | str = "ssd_keras",
    dtype: Any = np.float32,
    rng: np.random.Generator | None = None,
) -> Batch:
    """Rows of the layout from class labels and class scores `[images, boxes, classes]`; all else is random.

    The positive flag, where the layout has one, is the largest foreground label.
    """
    rng = rng or np.random.default_rng(1)
    classes = labels.shape[-1]
    width = 16 if layout == MIXED_LAYOUT else classes + 12
    columns = as_layout(layout).resolve(width)
    y_true, y_pred = rng.normal(size=(2, *labels.shape[:2], width))
    y_true[..., columns.class_column : columns.class_column + classes] = labels
    y_pred[..., columns.class_column : columns.class_column + classes] = scores
    if columns.positive_column is not None:
        y_true[..., columns.positive_column] = labels[..., 1:].max(axis=-1, initial=0)
    return y_true.astype(np.float64 if dtype == np.float64 else np.float32), y_pred.astype(dtype)


def _one_hot(images: int, boxes: int, classes: int, every: int) -> np.ndarray:
    """Every so-many-th box is positive; 0: none is."""
    truth = np.zeros((images, boxes), int)
    if every:
        truth[:, ::every] = 1 + np.arange(0, boxes, every) % (classes - 1)
    return np.eye(classes)[truth]


def no_objects() -> Batch:
    return ssd_batch(3, 40, positive_share=0)


def one_image_without_objects() -> Batch:
    y_true, y_pred = ssd_batch(3, 40, positive_share=0.2)
    y_true[1, :, :5] = np.eye(5)[0]
    return y_true, y_pred


def all_objects() -> Batch:
    return ssd_batch(2, 40, positive_share=1, neutral_share=0)


def all_neutral() -> Batch:
    return ssd_batch(2, 40, neutral_share=1)


def one_box() -> Batch:
    return ssd_batch(1, 1, positive_share=1, neutral_share=0)


def two_classes() -> Batch:
    return ssd_batch(2, 40, classes=2)


def all_equal() -> Batch:
    """Every key ties with every other."""
    return assemble(_one_hot(3, 50, 5, every=13), np.full((3, 50, 5), 0.2))


def ties_at_the_cut() -> Batch:
    """Three levels of probability, of which the cut divides the middle one."""
    labels = _one_hot(3, 50, 5, every=10)
    background = np.random.default_rng(2).choice([0.1, 0.4, 0.9], (3, 50), p=[0.1, 0.4, 0.5])
    scores = np.concatenate([background[..., None], np.repeat((1 - background[..., None]) / 4, 4, axis=-1)], axis=-1)
    return assemble(labels, scores)


def saturated() -> Batch:
    """Probabilities of exactly 0 and 1, and around the smallest that is told apart from 0."""
    rng = np.random.default_rng(3)
    scores = rng.choice([0, 1e-30, 9.9e-16, 1e-15, 1.1e-15, 1e-7, 0.5, 1], (3, 50, 5))
    return assemble(_one_hot(3, 50, 5, every=6), scores)


def soft_labels() -> Batch:
    labels = 0.9 * _one_hot(3, 50, 5, every=7) + 0.02
    labels[:, ::11] = 0
    return assemble(labels, softmax(np.random.default_rng(4).normal(size=(3, 50, 5))))


def many_hot_labels() -> Batch:
    """Several classes at once, with weights above one: rows that are no distribution."""
    rng = np.random.default_rng(5)
    labels = rng.choice([0, 0, 0, 0.5, 1, 2], (3, 50, 5))
    return assemble(labels, softmax(rng.normal(size=(3, 50, 5))))


def probabilities_above_one() -> Batch:
    """Negative losses, which rank below the zeros of boxes that are no candidates."""
    rng = np.random.default_rng(6)
    return assemble(_one_hot(3, 50, 5, every=4), rng.uniform(0.2, 3, (3, 50, 5)))


def few_candidates() -> Batch:
    """Fewer negatives with a loss than the ratio asks for."""
    scores = np.zeros((2, 50, 5))
    scores[..., 0] = 1
    scores[:, 3:9, 0] = 0.5
    return assemble(_one_hot(2, 50, 5, every=5), scores)


def far_offsets() -> Batch:
    y_true, y_pred = ssd_batch(2, 40, positive_share=0.3)
    y_pred[..., 5:9] *= 1e4
    y_true[0, :, 5:9] = y_pred[0, :, 5:9]
    return y_true, y_pred


def no_images() -> Batch:
    return ssd_batch(0, 40)


def no_boxes() -> Batch:
    return ssd_batch(2, 0)


#: All in the layout of ssd_keras, five classes but for one.
AWKWARD: dict[str, Callable[[], Batch]] = {
    case.__name__: case
    for case in (
        no_objects,
        one_image_without_objects,
        all_objects,
        all_neutral,
        one_box,
        two_classes,
        all_equal,
        ties_at_the_cut,
        saturated,
        soft_labels,
        many_hot_labels,
        probabilities_above_one,
        few_candidates,
        far_offsets,
        no_images,
        no_boxes,
    )
}
