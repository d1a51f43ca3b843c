"""What the tables of docs/labels.md speak of: the repositories, and labels of every kind, each in a small batch.

A row of a table is a kind of label. Its examples change one label each of a batch that is valid otherwise.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

import numpy_originals
from detloss.compat import keras_yolo3, keras_yolov3_model_set, ssd_keras, ssd_keras_rykov8, yolov3_tf2


@dataclasses.dataclass(frozen=True)
class Batch:
    """Labels and predictions of every scale, arrays or tensors; yolov3-tf2 and SSD have one."""

    y_true: list[Any]
    y_pred: list[Any]
    num_classes: int


@dataclasses.dataclass(frozen=True)
class Example:
    """One label of the first scale: where it is, and what it holds instead, by the names of `Repository.columns`."""

    place: tuple[int, ...]
    values: dict[str, float]
    num_classes: int


class Repository(abc.ABC):
    """An original and its drop-in, on batches of its labels."""

    @abc.abstractmethod
    def valid_batch(self, num_classes: int) -> Batch:
        """A batch without anything unusual."""

    @abc.abstractmethod
    def columns(self, num_classes: int) -> list[str]:
        """Names of a label's columns."""

    @abc.abstractmethod
    def original(self, batch: Batch) -> Any:
        """The original's loss in NumPy."""

    @abc.abstractmethod
    def drop_in(self, batch: Batch, **options: Any) -> Any:
        """The drop-in's loss as a tensor."""

    @abc.abstractmethod
    def check_options(self, batch: Batch) -> dict[str, Any]:
        """Keyword arguments of `detloss.check_targets`."""

    def has(self, example: Example) -> bool:
        """Whether its labels have what the example changes."""
        return set(example.values) <= set(self.columns(example.num_classes))

    @abc.abstractmethod
    def leave_out(self, batch: Batch, place: tuple[int, ...]) -> None:
        """Makes a label one that takes part in nothing."""

    def batch(self, example: Example) -> Batch:
        batch = self.valid_batch(example.num_classes)
        columns = self.columns(example.num_classes)
        for name, value in example.values.items():
            batch.y_true[0][(*example.place, columns.index(name))] = value
        return batch

    def batch_without(self, example: Example) -> Batch:
        """The same batch with the label left out."""
        batch = self.valid_batch(example.num_classes)
        self.leave_out(batch, example.place)
        return batch


# ---- YOLOv3 ----

_INPUT = 96
#: Pixels, of two scales.
LAMBDA_ANCHORS = np.array([[8, 10], [14, 13], [12, 24], [20, 16], [18, 28], [30, 24]], np.float32)
#: Image, row, column and anchor of an object, and of a cell without one.
_OBJECT, _BACKGROUND = (0, 1, 2, 1), (0, 2, 0, 0)


class _YOLOv3(Repository):
    """Labels x, y, w, h, objectness, classes, on grids of 3 x 3 and 6 x 6.

    Some of the cells without an object overlap a true box enough to be ignored.
    """

    def valid_batch(self, num_classes: int) -> Batch:
        y_true = [np.zeros((2, cells, cells, 3, 5 + num_classes), np.float32) for cells in (3, 6)]
        for scale, place, box, a_class in (
            (0, _OBJECT, (0.8, 0.5, 0.17, 0.3), 1),
            (0, (0, 0, 0, 2), (0.2, 0.15, 0.28, 0.2), 0),
            (0, (1, 2, 1, 0), (0.45, 0.9, 0.19, 0.16), 2),
            (1, (1, 4, 1, 0), (0.28, 0.7, 0.08, 0.12), 2),
        ):
            y_true[scale][place][:5] = *box, 1
            y_true[scale][place][5 + min(a_class, num_classes - 1)] = 1
        rng = np.random.default_rng(0)
        y_pred = [0.5 * rng.normal(size=labels.shape).astype(np.float32) for labels in y_true]
        return Batch(y_true, y_pred, num_classes)

    def columns(self, num_classes: int) -> list[str]:
        return ["x", "y", "w", "h", "objectness", *(f"class {c}" for c in range(num_classes))]

    def leave_out(self, batch: Batch, place: tuple[int, ...]) -> None:
        batch.y_true[0][place] = 0
        # A cell without an object that costs nothing.
        batch.y_pred[0][place][4] = -200


@dataclasses.dataclass(frozen=True, eq=False)
class _LambdaYOLOv3(_YOLOv3):
    """A loss that a `Lambda` layer computes from all outputs and labels of a model."""

    numpy_loss: Callable[..., Any]
    loss: Callable[..., Any]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def original(self, batch: Batch) -> Any:
        logits = [scale.reshape(*scale.shape[:3], -1) for scale in batch.y_pred]
        return self.numpy_loss(batch.y_true, logits, LAMBDA_ANCHORS, batch.num_classes, **self.options)

    def drop_in(self, batch: Batch, **options: Any) -> Any:
        logits = [tf.reshape(scale, [*scale.shape[:3], -1]) for scale in batch.y_pred]
        loss = self.loss([*logits, *batch.y_true], LAMBDA_ANCHORS, batch.num_classes, **self.options, **options)
        return loss[0] if isinstance(loss, tuple) else loss

    def check_options(self, batch: Batch) -> dict[str, Any]:
        return {"num_classes": batch.num_classes}


class _CornerYOLOv3(_YOLOv3):
    """yolov3-tf2, whose labels x1, y1, x2, y2, objectness, class index are made from x, y, w, h of the centre."""

    _anchors = LAMBDA_ANCHORS[3:] / _INPUT

    def valid_batch(self, num_classes: int) -> Batch:
        """The first scale alone."""
        batch = super().valid_batch(num_classes)
        index = batch.y_true[0][..., 5:].argmax(axis=-1)
        labels = np.concatenate([batch.y_true[0][..., :5], index[..., np.newaxis]], axis=-1).astype(np.float32)
        return Batch([labels], batch.y_pred[:1], num_classes)

    def columns(self, num_classes: int) -> list[str]:
        return ["x", "y", "w", "h", "objectness", "class index"]

    def batch(self, example: Example) -> Batch:
        return _with_corners(super().batch(example))

    def batch_without(self, example: Example) -> Batch:
        return _with_corners(super().batch_without(example))

    def original(self, batch: Batch) -> Any:
        return numpy_originals.yolov3_tf2_loss(batch.y_true[0], batch.y_pred[0], self._anchors, batch.num_classes)

    def drop_in(self, batch: Batch, **options: Any) -> Any:
        loss = yolov3_tf2.YoloLoss(self._anchors, batch.num_classes, **options)
        return loss(batch.y_true[0], batch.y_pred[0])

    def check_options(self, batch: Batch) -> dict[str, Any]:
        return {"target_format": "corner", "num_classes": batch.num_classes}


def _with_corners(batch: Batch) -> Batch:
    labels = batch.y_true[0]
    with np.errstate(invalid="ignore"):
        xy, half = labels[..., :2], labels[..., 2:4] / 2
        corners = np.concatenate([xy - half, xy + half, labels[..., 4:]], axis=-1)
    return Batch([corners], batch.y_pred, batch.num_classes)


def _object(num_classes: int = 3, **values: float) -> Example:
    return Example(_OBJECT, values, num_classes)


def _scores(*scores: float) -> Example:
    return Example(_OBJECT, {f"class {c}": score for c, score in enumerate(scores)}, len(scores))


def _index(index: float) -> Example:
    return Example(_OBJECT, {"class index": index}, 3)


def _cell(**values: float) -> Example:
    return Example(_BACKGROUND, values, 3)


_NAN, _INF = float("nan"), float("inf")
_NEXT = float(np.nextafter(np.float32(1), np.float32(2)))
_COORDINATES = ("x", "y", "w", "h")

YOLOV3_ROWS: dict[str, list[Example]] = {
    "objectness above 1": [_object(objectness=value) for value in (2, 1.5, _NEXT, 1e6)],
    "objectness between 0 and 1": [_object(objectness=0.25)],
    "objectness below 0": [_object(objectness=value) for value in (-0.5, -1)],
    "objectness NaN": [_object(objectness=_NAN)],
    "objectness infinite": [_object(objectness=value) for value in (_INF, -_INF)],
    "class score above 1": [_scores(0, value, 0) for value in (_NEXT, 2, 1e6)],
    "several class scores, fractions": [_scores(0.3, 0.7, 1)],
    "no class score above 0": [_scores(0, 0, 0)],
    "no class score above 0, one class": [_scores(0)],
    "class score below 0": [_scores(-0.5, 1, 0), _scores(0, -1, 0)],
    "class score NaN or infinite": [_scores(0, 1, value) for value in (_NAN, _INF, -_INF)],
    "class index out of range": [_index(value) for value in (3, 67, -1, _NAN)],
    "class index with a fraction": [_index(value) for value in (1.5, 2.9)],
    "class index between -1 and 0": [_index(-0.5)],
    "centre outside the image": [_object(x=1.02), _object(y=-0.1)],
    "centre in another cell": [_object(x=0.2)],
    "area of 2 and more": [_object(w=2, h=1.5), _object(w=3, h=3)],
    "pixels instead of fractions": [_object(x=76.8, y=48, w=16.3, h=28.8)],
    "width or height 0": [_object(w=0), _object(h=0), _object(w=0, h=0)],
    "width or height below 0": [_object(w=-0.2), _object(h=-0.2), _object(w=-0.2, h=-0.3)],
    "coordinate up to 1e6": [_object(x=1e5), _object(y=-9e5), _object(w=1e6)],
    "coordinate beyond 1e6": [_object(x=1.1e6), _object(y=-1e7), _object(w=1e7)],
    "width and height 1e38": [_object(w=1e38, h=1e38)],
    "objectness or class score beyond 1e6": [_object(objectness=1e7), _scores(0, 1e7, 0)],
    "coordinate NaN": [_object(**{name: _NAN}) for name in _COORDINATES],
    "coordinate infinite": [_object(**{name: value}) for name in _COORDINATES for value in (_INF, -_INF)],
    "without an object: other numbers": [_cell(x=5), _cell(y=-3), _cell(w=1e6)],
    "without an object: negative width or height": [_cell(w=-0.2), _cell(w=-0.2, h=-0.3)],
    "without an object: 1e38": [_cell(x=1e38)],
    "without an object: coordinate NaN or infinite": [
        _cell(**{name: value}) for name in _COORDINATES for value in (_NAN, _INF)
    ],
    "without an object: class scores": [_cell(**{"class 1": value}) for value in (7, -7)],
    "without an object: class score NaN": [_cell(**{"class 1": _NAN})],
    "without an object: class index out of range": [_cell(**{"class index": value}) for value in (67, -1, _NAN)],
}


# ---- SSD ----

_POSITIVE, _NEGATIVE = (0, 3), (0, 10)
_ONLY_POSITIVE = (1, 5)


@dataclasses.dataclass(frozen=True, eq=False)
class _SSD(Repository):
    """Two images of 24 boxes, three of them positive."""

    numpy_loss: Callable[..., Any]
    loss: Callable[..., Any]
    layout: str

    def valid_batch(self, num_classes: int) -> Batch:
        columns = self.columns(num_classes)
        classes = slice(columns.index("class 0"), columns.index("class 0") + num_classes)
        rng = np.random.default_rng(1)
        y_true, y_pred = rng.normal(size=(2, 2, 24, len(columns))).astype(np.float32)
        y_true[..., classes] = np.eye(num_classes)[0]
        for box, a_class in ((_POSITIVE, 2), ((0, 8), 1), (_ONLY_POSITIVE, 3)):
            y_true[box][classes] = np.eye(num_classes)[a_class]
        if "flag" in columns:
            y_true[..., columns.index("flag")] = 1 - y_true[..., classes.start]
        y_pred[_NEGATIVE][classes.start + 1] = 5  # hard, so that it is kept
        powers = np.exp(y_pred[..., classes])
        y_pred[..., classes] = powers / powers.sum(axis=-1, keepdims=True)
        return Batch([y_true], [y_pred], num_classes)

    def columns(self, num_classes: int) -> list[str]:
        classes, offsets = [f"class {c}" for c in range(num_classes)], [f"offset {i}" for i in range(4)]
        if self.layout == "ssd_keras":
            return [*classes, *offsets, *(f"unused {i}" for i in range(8))]
        return [*offsets, *classes, "flag", *(f"unused {i}" for i in range(7))]

    def leave_out(self, batch: Batch, place: tuple[int, ...]) -> None:
        columns = self.columns(batch.num_classes)
        batch.y_true[0][place] = 0
        # rykov8 ranks neutral boxes too: the lowest.
        batch.y_pred[0][place][columns.index("class 1") : columns.index("class 0") + batch.num_classes] = 0

    def original(self, batch: Batch) -> Any:
        return self.numpy_loss(batch.y_true[0], batch.y_pred[0], *self._arguments(batch))

    def drop_in(self, batch: Batch, **options: Any) -> Any:
        return self.loss(*self._arguments(batch), **options).compute_loss(batch.y_true[0], batch.y_pred[0])

    def check_options(self, batch: Batch) -> dict[str, Any]:
        return {"layout": self.layout}

    def _arguments(self, batch: Batch) -> list[int]:
        return [batch.num_classes] if self.layout == "ssd_keras_rykov8" else []


def _positive(**values: float) -> Example:
    return Example(_POSITIVE, values, 4)


def _negative(**values: float) -> Example:
    return Example(_NEGATIVE, values, 4)


def _class_of_both(value: float) -> list[Example]:
    return [_positive(**{"class 2": value}), _negative(**{"class 0": value})]


SSD_ROWS: dict[str, list[Example]] = {
    "neutral box: no class above 0": [_negative(**{"class 0": 0})],
    "soft labels": [_positive(**{"class 0": 0.1, "class 1": 0.2, "class 2": 0.7})],
    "class weight above 1": [example for value in (_NEXT, 2, 1e6) for example in _class_of_both(value)],
    "class weight beyond 1e6": _class_of_both(1e7),
    "class weight 3e38": [_positive(**{"class 2": 3e38})],
    "class weight below 0": _class_of_both(-0.5),
    "class weight NaN or infinite": [example for value in (_NAN, _INF) for example in _class_of_both(value)],
    "positive flag above 1": [_positive(flag=value) for value in (1.5, 2)],
    "positive flag between 0 and 1": [
        _positive(flag=0.5),
        _negative(flag=0.5),
        Example(_ONLY_POSITIVE, {"flag": 0.5}, 4),
    ],
    "positive flag beyond 1e6": [_positive(flag=1e7)],
    "positive flag below 0": [_negative(flag=-1)],
    "positive flag NaN": [_positive(flag=_NAN), _negative(flag=_NAN)],
    "positive box: offset up to 1e6": [_positive(**{"offset 1": value}) for value in (1e6, -1e6)],
    "positive box: offset beyond 1e6": [_positive(**{"offset 1": value}) for value in (1e7, -1e7)],
    "positive box: offset infinite": [_positive(**{"offset 2": value}) for value in (_INF, -_INF)],
    "positive box: offset NaN": [_positive(**{"offset 3": _NAN})],
    "other box: any number as offset": [_negative(**{"offset 1": value}) for value in (-5, 1e30)],
    "other box: offset NaN or infinite": [_negative(**{"offset 1": value}) for value in (_NAN, _INF, -_INF)],
    "unused column NaN": [_positive(**{"unused 5": _NAN}), _negative(**{"unused 0": _NAN})],
}


# ---- The columns of the tables ----

_MODEL_SET = numpy_originals.keras_yolov3_model_set_loss, keras_yolov3_model_set.yolo3_loss

#: By column and variant: keras-YOLOv3-model-set has one without an IoU loss.
REPOSITORIES: dict[tuple[str, str], Repository] = {
    ("keras-yolo3", ""): _LambdaYOLOv3(numpy_originals.keras_yolo3_loss, keras_yolo3.yolo_loss),
    ("keras-YOLOv3-model-set", ""): _LambdaYOLOv3(*_MODEL_SET),
    ("keras-YOLOv3-model-set", "without IoU loss"): _LambdaYOLOv3(*_MODEL_SET, {"iou_loss_type": None}),
    ("yolov3-tf2", ""): _CornerYOLOv3(),
    ("ssd_keras", ""): _SSD(numpy_originals.ssd_keras_loss, ssd_keras.SSDLoss, "ssd_keras"),
    ("rykov8", ""): _SSD(numpy_originals.ssd_keras_rykov8_loss, ssd_keras_rykov8.MultiboxLoss, "ssd_keras_rykov8"),
}
