"""Random batches with the statistics of an SSD's training data, in the layout of ssd_keras.

Speed depends on the data: zeros are written two to three times as fast as other values, constant rows make branches
predictable, and the gradient's pattern of zeros follows the positives. So 0.4 % of the boxes are positive, and lie
in runs around objects, between neutral boxes, and the predictions are those of a network some steps into its training.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

# 35 of SSD300's 8732 boxes: two to three objects an image, matched by about a dozen boxes each.
_POSITIVE_SHARE = 0.004
_EXTRA_OBJECTS = 3.0  # mean of the Poisson number of objects beyond the first
_VARIANCES = (0.1, 0.1, 0.2, 0.2)
_UNTRAINED_OFFSET = 0.5  # standard deviation of offset predictions, and of their error where a box is positive
_BACKGROUND_MARGIN = 1.5  # puts the mean background probability near 0.75, where hard negatives are plentiful
_CLASS_MARGIN = 3.0


def make_ssd_batch(
    rng: np.random.Generator, batch: int, boxes: int, classes: int, from_logits: bool
) -> tuple[Floats, Floats]:
    """Labels and predictions `[batch, boxes, classes + 12]`: classes, 4 offsets, anchor and variances.

    Args:
      rng: source of all randomness.
      batch: images.
      boxes: anchor boxes of an image.
      classes: classes with the background.
      from_logits: whether the predicted class columns are logits rather than softmax probabilities.
    """
    labels = np.zeros((batch, boxes, classes + 12), np.float32)
    predictions = np.empty_like(labels)
    anchors = _anchors(rng, boxes)
    for image in range(batch):
        box_classes = _match(rng, boxes, classes)
        _fill_labels(rng, labels[image], box_classes, anchors)
        _fill_predictions(rng, predictions[image], labels[image], box_classes, from_logits)
    return labels, predictions


def _anchors(rng: np.random.Generator, boxes: int) -> Floats:
    centres = rng.uniform(0.0, 1.0, (boxes, 2))
    sizes = rng.uniform(0.05, 0.9, (boxes, 2))
    return np.concatenate([centres, sizes, np.tile(_VARIANCES, (boxes, 1))], axis=1).astype(np.float32)


def _match(rng: np.random.Generator, boxes: int, classes: int) -> npt.NDArray[np.int64]:
    """The class of every box: 0 the background, -1 neutral."""
    box_classes = np.zeros(boxes, np.int64)
    objects = 1 + rng.poisson(_EXTRA_OBJECTS)
    share = max(1, round(_POSITIVE_SHARE * boxes / objects))
    for _ in range(objects):
        centre = int(rng.integers(boxes))
        window = np.arange(max(0, centre - 3 * share), min(boxes, centre + 3 * share + 1))
        near = rng.choice(window, size=min(2 * share, window.size), replace=False)
        positive, neutral = near[:share], near[share:]
        box_classes[neutral] = np.where(box_classes[neutral] > 0, box_classes[neutral], -1)
        box_classes[positive] = rng.integers(1, classes)
    return box_classes


def _fill_labels(rng: np.random.Generator, rows: Floats, box_classes: npt.NDArray[np.int64], anchors: Floats) -> None:
    classes = rows.shape[1] - 12
    labelled = np.flatnonzero(box_classes >= 0)
    rows[labelled, box_classes[labelled]] = 1.0
    positive = np.flatnonzero(box_classes > 0)
    rows[positive, classes : classes + 4] = rng.standard_normal((positive.size, 4), np.float32)
    rows[:, classes + 4 :] = anchors


def _fill_predictions(
    rng: np.random.Generator, rows: Floats, labels: Floats, box_classes: npt.NDArray[np.int64], from_logits: bool
) -> None:
    classes = rows.shape[1] - 12
    logits = rng.standard_normal((rows.shape[0], classes), np.float32)
    logits[:, 0] += np.log(classes) + _BACKGROUND_MARGIN
    positive = np.flatnonzero(box_classes > 0)
    logits[positive, box_classes[positive]] += _CLASS_MARGIN
    rows[:, :classes] = logits if from_logits else _softmax(logits)
    errors = rng.standard_normal((rows.shape[0], 4), np.float32) * np.float32(_UNTRAINED_OFFSET)
    rows[:, classes : classes + 4] = labels[:, classes : classes + 4] + errors
    rows[:, classes + 4 :] = labels[:, classes + 4 :]


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
