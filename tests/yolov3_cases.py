"""Batches of YOLOv3 labels and logits: realistic random ones, and awkward ones; and sets of options."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

CLASSES = 3
#: Rows and columns of two scales of a landscape image.
GRIDS = ((3, 4), (6, 8))
#: Widths and heights in cells of their scale, three per scale at most.
_ANCHORS = np.array([[1.0, 1.4], [2.2, 1.3], [1.8, 2.6]])

#: Together every option at least once; those of the repositories first. All numbers are exact in float32, as the ops
#: have them.
OPTION_SETS: dict[str, dict[str, Any]] = {
    "keras_yolo3": dict(stride=(32, 16)),
    "yolov3_tf2": dict(
        box_loss="squared", class_loss="normalized_sigmoid", target_format="corner", ignore_thresh=0.3125
    ),
    "model_set": dict(stride=(32, 16), box_loss="ciou", grid_sense=(1.0625, 1.25), label_smoothing=0.125),
    "iou": dict(box_loss="iou", class_loss="softmax"),
    "giou": dict(box_loss="giou", class_loss="softmax", label_smoothing=0.125, class_weights=(0.5, 1.0, 2.5)),
    "diou": dict(box_loss="diou", class_loss="none", ignore_scope="image"),
    "ciou, corner": dict(box_loss="ciou", target_format="corner", label_smoothing=0.0625, objectness_focal=True),
    "siou": dict(box_loss="siou", grid_sense=1.125, comparator="<="),
    "focal": dict(class_focal=True, objectness_focal=True),
    "focal, smoothed": dict(
        class_focal=True, objectness_focal=True, label_smoothing=0.25, class_weights=(2.0, 0.0, 0.3125)
    ),
    "focal, softmax": dict(class_loss="softmax", class_focal=True, class_weights=(1.0, 3.0, 0.5), box_loss="squared"),
    "focal, corner": dict(class_focal=True, class_loss="softmax", target_format="corner", label_smoothing=0.125),
    "smoothed": dict(label_smoothing=0.3125, ignore_scope="image", comparator="<=", ignore_thresh=0.25),
    "weighted": dict(box_weight=0.0625, object_weight=1.5, no_object_weight=0.25, class_weight=0.5),
    "classes weighted": dict(class_weights=(0.5, 1.0, 2.5), class_weight=2.0, stride=(32, 16)),
    "normalized, weighted": dict(class_loss="normalized_sigmoid", class_weights=(0.5, 1.0, 2.5)),
    "nothing ignored": dict(ignore_thresh=2.0, box_loss="giou"),
    "all ignored": dict(ignore_thresh=0.0),
}


@dataclasses.dataclass
class Batch:
    """Labels and logits, one array per scale."""

    y_true: list[np.ndarray]
    y_pred: list[np.ndarray]
    anchors: np.ndarray  # [S, A, 2]

    def scale(self, index: int) -> Batch:
        """One scale of the batch, still as a list."""
        part = slice(index, index + 1)
        return Batch(self.y_true[part], self.y_pred[part], self.anchors[part])


def yolov3_batch(
    images: int = 2,
    grids: Sequence[tuple[int, int]] = GRIDS,
    classes: int = CLASSES,
    *,
    boxes: int | Sequence[int] = 4,
    anchors: int = 3,
    fractional: bool = False,
    multi_hot: bool = False,
    target_format: str = "center",
    stride: Sequence[int] | int | None = None,
    dtype: Any = np.float32,
    seed: int = 0,
) -> Batch:
    """Random boxes in random cells, and logits that decode to boxes near them often enough.

    Args:
      images: images.
      grids: rows and columns of every scale.
      classes: classes.
      boxes: boxes per image and scale, one number or one per image; fewer where there are not as many cells.
      anchors: anchors per scale, at most 3.
      fractional: whether objectness takes values between 0 and 1.
      multi_hot: whether half the boxes have a second class, and some class scores are fractions.
      target_format: `"center"` or `"corner"`.
      stride: that of the options: anchors are in pixels if given, else relative to the input.
      dtype: dtype of the logits. Labels are float64 if the logits are, else float32.
      seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    counts = [boxes] * images if isinstance(boxes, int) else list(boxes)
    strides = [stride] * len(grids) if stride is None or isinstance(stride, int) else list(stride)
    y_true, y_pred, sizes = [], [], []
    for (rows, columns), pixels in zip(grids, strides, strict=True):
        cells = np.array([columns, rows])
        relative = _ANCHORS[:anchors] / cells
        shape = (images, rows, columns, anchors)
        rows_of_labels = [_labels(rng, count, shape[1:], relative, classes, fractional, multi_hot) for count in counts]
        labels = np.stack(rows_of_labels) if images else np.zeros((*shape, 5 + classes))
        logits = rng.normal(size=(*shape, 5 + classes))
        logits[..., 2:4] *= 0.4
        logits[..., 4] -= 1
        y_true.append(to_corners(labels) if target_format == "corner" else labels)
        y_pred.append(logits.astype(dtype))
        sizes.append(relative * cells * pixels if pixels else relative)
    label_dtype = np.float64 if dtype == np.float64 else np.float32
    anchor_sizes = np.array(sizes, np.float32).astype(np.float64)  # as the ops have them
    return Batch([labels.astype(label_dtype) for labels in y_true], y_pred, anchor_sizes)


def _labels(
    rng: np.random.Generator,
    boxes: int,
    shape: tuple[int, ...],
    anchors: np.ndarray,
    classes: int,
    fractional: bool,
    multi_hot: bool,
) -> np.ndarray:
    """Labels of one image and scale in the `"center"` format."""
    labels = np.zeros((*shape, 5 + classes))
    cells = rng.choice(np.prod(shape), min(boxes, np.prod(shape)), replace=False)
    for row, column, anchor in np.stack(np.unravel_index(cells, shape), axis=-1):
        centre = (np.array([column, row]) + rng.uniform(0.02, 0.98, 2)) / (shape[1], shape[0])
        size = np.minimum(anchors[anchor] * np.exp(0.4 * rng.normal(size=2)), 1)
        label = labels[row, column, anchor]
        label[:5] = *centre, *size, rng.choice([0.25, 0.6, 1]) if fractional else 1
        label[5 + rng.integers(classes)] = 1
        if multi_hot and rng.random() < 0.5:
            label[5 + rng.integers(classes)] = rng.choice([0.5, 1])
    return labels


def to_corners(labels: np.ndarray) -> np.ndarray:
    """`"center"` labels as `"corner"` labels, with the largest score's class."""
    xy, wh = labels[..., :2], labels[..., 2:4]
    index = labels[..., 5:].argmax(axis=-1)[..., None] if labels.size else labels[..., 5:6]
    return np.concatenate([xy - wh / 2, xy + wh / 2, labels[..., 4:5], index], axis=-1)


def batch_for(options: dict[str, Any], **choices: Any) -> Batch:
    """A batch whose labels and anchors are as the options want them, and have several classes where they may."""
    choices.setdefault("multi_hot", options.get("class_loss") != "normalized_sigmoid")
    return yolov3_batch(target_format=options.get("target_format", "center"), stride=options.get("stride"), **choices)


# Awkward batches, all in the "center" format with relative anchors.


def no_objects() -> Batch:
    return yolov3_batch(boxes=0)


def one_image_without_objects() -> Batch:
    return yolov3_batch(3, boxes=(3, 0, 5))


def one_box() -> Batch:
    return yolov3_batch(1, ((2, 3),), boxes=1)


def every_cell_an_object() -> Batch:
    return yolov3_batch(2, ((2, 3), (3, 4)), boxes=10**6, seed=1)


def fifty_boxes() -> Batch:
    return yolov3_batch(1, ((5, 5), (10, 10)), boxes=50, seed=2)


def five_thousand_boxes() -> Batch:
    """More than the reference takes by default, so that it is not among the awkward batches."""
    return yolov3_batch(1, ((42, 42),), classes=1, boxes=5000, seed=17)


def fractional_objectness() -> Batch:
    return yolov3_batch(2, boxes=8, fractional=True, seed=3)


def two_boxes_in_one_cell() -> Batch:
    """The second box overwrites the first and adds its class: two ones in the class row."""
    return yolov3_batch(2, boxes=10, multi_hot=True, seed=4)


def centre_at_one() -> Batch:
    """Centres on the right and lower border of the image and on borders of cells."""
    batch = yolov3_batch(1, ((2, 4), (4, 8)), boxes=0, seed=5)
    for labels in batch.y_true:
        labels[0, -1, -1, 0] = [1, 1, 0.3, 0.2, 1, 0, 1, 0]
        labels[0, 0, 0, 1] = [0, 0, 0.2, 0.4, 1, 1, 0, 0]
        labels[0, 1, 1, 2] = [0.5, 0.5, 0.25, 0.25, 1, 0, 0, 1]
    return batch


def centre_in_another_cell() -> Batch:
    """Targets of the cross-entropy below 0 and above 1, as some label encoders write them."""
    batch = yolov3_batch(2, boxes=6, seed=6)
    batch.y_true = [np.roll(labels, (1, -1), axis=(1, 2)) for labels in batch.y_true]
    return batch


def portrait() -> Batch:
    return yolov3_batch(2, ((5, 2), (10, 4)), seed=7)


def one_cell() -> Batch:
    return yolov3_batch(2, ((1, 1),), boxes=1, seed=8)


def one_class() -> Batch:
    return yolov3_batch(2, classes=1, seed=9)


def many_classes() -> Batch:
    """More than the lanes of a vector, and not a multiple of them."""
    return yolov3_batch(1, ((3, 3),), classes=37, seed=10)


def one_anchor() -> Batch:
    return yolov3_batch(2, anchors=1, seed=11)


def large_logits() -> Batch:
    """Of magnitude 100 and 1e4; sizes decode to what the clamp leaves of them."""
    batch = yolov3_batch(2, boxes=8, seed=12)
    for logits in batch.y_pred:
        logits[0] = 100 * np.sign(logits[0])
        logits[1] *= 1e4
    return batch


def soft_classes() -> Batch:
    """Class scores that are no distribution."""
    batch = yolov3_batch(2, boxes=8, seed=13)
    rng = np.random.default_rng(13)
    for labels in batch.y_true:
        labels[..., 5:] = np.where(labels[..., 4:5] > 0, rng.uniform(0.05, 0.95, labels[..., 5:].shape), 0)
    return batch


def background_labels_that_are_not_read() -> Batch:
    """Boxes and classes without an object."""
    batch = yolov3_batch(2, boxes=5, seed=14)
    for labels in batch.y_true:
        background = labels[..., 4] == 0
        labels[background, :4] = [7, -3, -1, 0]
        labels[background, 5:] = np.nan
    return batch


def invalid_labels() -> Batch:
    """One cell in three is invalid, by one rule after the other."""
    batch = yolov3_batch(2, ((2, 3), (3, 4)), boxes=10**6, seed=15)
    bad = [(0, np.nan), (1, -2e6), (0, 1e7), (2, 0), (3, -0.2), (4, 1e38), (4, -1), (4, np.nan), (3, np.inf), (2, 1e38)]
    bad += [(5, np.nan), (6, 1e38), (7, -0.5), (slice(5, None), np.inf)]
    for labels in batch.y_true:
        rows = labels.reshape(-1, labels.shape[-1])
        for index in range(0, len(rows), 3):
            column, value = bad[index // 3 % len(bad)]
            rows[index, column] = value
    return batch


def unusual_labels() -> Batch:
    """One cell in three is what no encoder writes, and what the originals train on all the same."""
    batch = yolov3_batch(2, ((2, 3), (3, 4)), boxes=10**6, seed=17)
    unusual = [(0, 1.02), (1, -0.1), (0, 1.5), (4, 1.5), (4, 2), (2, 3), (6, 1.5), (7, np.nextafter(np.float32(1), 2))]
    unusual += [(slice(5, None), 0)]
    for labels in batch.y_true:
        rows = labels.reshape(-1, labels.shape[-1])
        for index in range(0, len(rows), 3):
            column, value = unusual[index // 3 % len(unusual)]
            rows[index, column] = value
    return batch


def no_images() -> Batch:
    return yolov3_batch(0)


AWKWARD: dict[str, Callable[[], Batch]] = {
    case.__name__: case
    for case in (
        no_objects,
        one_image_without_objects,
        one_box,
        every_cell_an_object,
        fifty_boxes,
        fractional_objectness,
        two_boxes_in_one_cell,
        centre_at_one,
        centre_in_another_cell,
        portrait,
        one_cell,
        one_class,
        many_classes,
        one_anchor,
        large_logits,
        soft_classes,
        background_labels_that_are_not_read,
        invalid_labels,
        unusual_labels,
        no_images,
    )
}


# Batches with a known answer.


def small_batch(target_format: str = "center") -> Batch:
    """Two images of one scale of 2 x 3 cells and two anchors; in cell (1, 2) of each, anchor 1 has class 1.

    No cell is ignored at the default threshold.
    """
    rng = np.random.default_rng(16)
    labels = np.zeros((2, 2, 3, 2, 5 + CLASSES), np.float32)
    labels[:, 1, 2, 1] = [0.8, 0.7, 0.25, 0.5, 1, 0, 1, 0]
    if target_format == "corner":
        labels = to_corners(labels)
    logits = rng.normal(size=(2, 2, 3, 2, 5 + CLASSES)).astype(np.float32)
    logits[..., 2:4] -= 2
    return Batch([labels], [logits], np.array([[[0.2, 0.3], [0.3, 0.4]]]))


#: Image, row, column, anchor of an object, of a background cell, in `small_batch`.
OBJECT = (1, 1, 2, 1)
BACKGROUND = (1, 0, 1, 0)


def iou_of_one_half() -> Batch:
    """One scale of 2 x 2 cells, one anchor: the box of cell (0, 1) overlaps the object by exactly 0.5, others by 0.

    Every number has few binary digits, so that no implementation rounds. The object's centre lies in that cell, but its
    label in cell (0, 0).
    """
    labels = np.zeros((1, 2, 2, 1, 5 + CLASSES), np.float32)
    labels[0, 0, 0, 0] = [0.75, 0.25, 0.5, 0.25, 1, 1, 0, 0]
    # Logits of 0 decode to the anchor around the centre of the cell.
    return Batch([labels], [np.zeros(labels.shape, np.float32)], np.array([[[0.5, 0.5]]]))
