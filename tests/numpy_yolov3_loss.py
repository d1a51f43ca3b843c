"""The YOLOv3 loss in plain NumPy, cell by cell in float64: written from the definition, for comparison only.

Gradients are complex steps: a logit moves by `1e-30 i`, and the imaginary part of the term is its derivative times
`1e-30`, without rounding. Comparisons look at real parts.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

_STEP = 1e-30
_EPSILON = 1e-7
_IOU_LOSSES = ("iou", "giou", "diou", "ciou", "siou")
_PARTS = ("box", "xy", "wh", "object", "no_object", "class")

#: A term of the loss: its value and its slopes at some logits.
Term = Callable[[np.ndarray], tuple[float, np.ndarray]]


@dataclasses.dataclass
class Result:
    loss: np.ndarray
    components: dict[str, np.ndarray]
    #: As `y_pred`: one array or a list.
    gradient: Any
    #: bool `[B, H, W, A]` per scale.
    valid: list[np.ndarray]
    is_object: list[np.ndarray]
    ignored: list[np.ndarray]
    #: Smallest distance of a cell's best IoU from the threshold.
    closest: float


@dataclasses.dataclass
class _Box:
    x: Any
    y: Any
    w: Any
    h: Any
    left: Any
    top: Any
    right: Any
    bottom: Any


@dataclasses.dataclass
class _Cell:
    """Label and prediction of one cell and anchor, and where it lies."""

    row: int
    column: int
    height: int
    width: int
    anchor: np.ndarray  # relative to the input
    grid_sense: float
    logits: np.ndarray
    box: _Box
    objectness: float
    classes: np.ndarray  # zeros without an object
    valid: bool

    @property
    def is_object(self) -> bool:
        return self.valid and self.objectness != 0


def ignored(
    boxes: np.ndarray, true_boxes: np.ndarray, *, ignore_thresh: float = 0.5, comparator: str = "<"
) -> np.ndarray:
    """`yolo_ignore_mask`: boxes `[B, ..., 4]`, true boxes `[B, M, 4]`, bool `[B, ...]`."""
    boxes, true_boxes = boxes.astype(np.float64), true_boxes.astype(np.float64)
    mask = np.zeros(boxes.shape[:-1], bool)
    for index in np.ndindex(mask.shape):
        true = [_center_box(*row) for row in true_boxes[index[0]] if np.isfinite(row).all() and min(row[2:]) > 0]
        best = _best_iou(_center_box(*boxes[index]), _corners(true))
        mask[index] = best >= ignore_thresh if comparator == "<" else best > ignore_thresh
    return mask


def yolov3_loss(
    y_true: Any,
    y_pred: Any,
    anchors: Any,
    *,
    stride: Any = None,
    ignore_thresh: float = 0.5,
    comparator: str = "<",
    ignore_scope: str = "scale",
    box_loss: str = "classic",
    class_loss: str = "sigmoid",
    class_focal: bool = False,
    objectness_focal: bool = False,
    label_smoothing: float = 0.0,
    grid_sense: Any = None,
    box_weight: float = 1.0,
    object_weight: float = 1.0,
    no_object_weight: float = 1.0,
    class_weight: float = 1.0,
    class_weights: Sequence[float] | None = None,
    target_format: str = "center",
    loss_gradient: np.ndarray | None = None,
) -> Result:
    """Loss, components, and the gradient of `sum(loss * loss_gradient)`, by default of the sum."""
    as_list = isinstance(y_pred, list | tuple)
    true, predicted = (list(y_true), list(y_pred)) if as_list else ([y_true], [y_pred])
    images, n_scales = len(predicted[0]), len(predicted)
    anchors = np.reshape(np.asarray(anchors, np.float64), (n_scales, -1, 2))
    scales = [
        _read_scale(true[s], predicted[s], anchors[s], _item(stride, s, 0), _item(grid_sense, s, 1.0), target_format)
        for s in range(n_scales)
    ]
    masks, closest = [np.zeros(cells.shape, bool) for cells in scales], math.inf
    if not objectness_focal:
        masks, closest = _ignored_cells(scales, ignore_thresh, comparator, ignore_scope)
    options = _Options(
        box_loss,
        class_loss,
        class_focal,
        objectness_focal,
        label_smoothing,
        (box_weight, object_weight, no_object_weight, class_weight),
        np.ones(scales[0].n_classes) if class_weights is None else np.asarray(class_weights, np.float64),
    )

    parts = {part: np.zeros(images) for part in _PARTS}
    gradients = [np.zeros((*cells.shape, 5 + cells.n_classes)) for cells in scales]
    upstream = np.ones(images) if loss_gradient is None else np.asarray(loss_gradient, np.float64)
    with np.errstate(all="ignore"):
        for s, cells in enumerate(scales):
            for index, cell in np.ndenumerate(cells):
                for part, columns, weight, term in _terms(cell, masks[s][index], options):
                    if weight == 0:
                        continue
                    value, slope = term(cell.logits[columns])
                    parts[part][index[0]] += weight * value
                    if part not in ("xy", "wh"):  # the box term holds both
                        gradients[s][index][columns] += upstream[index[0]] * weight * slope
                if cell.valid and np.isnan(cell.logits[:5]).any():
                    parts["no_object"][index[0]] = math.nan

    valid = [_table(cells, lambda cell: cell.valid) for cells in scales]
    gradient = [slopes.reshape(np.shape(logits)) for slopes, logits in zip(gradients, predicted, strict=True)]
    return Result(
        parts["box"] + parts["object"] + parts["no_object"] + parts["class"],
        {**parts, "num_invalid": sum((~mask).sum(axis=(1, 2, 3)) for mask in valid)},
        gradient if as_list else gradient[0],
        valid,
        [_table(cells, lambda cell: cell.is_object) for cells in scales],
        masks,
        closest,
    )


@dataclasses.dataclass
class _Options:
    box_loss: str
    class_loss: str
    class_focal: bool
    objectness_focal: bool
    label_smoothing: float
    weights: tuple[float, float, float, float]  # box, object, no object, class
    class_weights: np.ndarray


def _ignored_cells(
    scales: list[_Cells], ignore_thresh: float, comparator: str, ignore_scope: str
) -> tuple[list[np.ndarray], float]:
    """bool `[B, H, W, A]` per scale, and the smallest distance of a best IoU from the threshold."""
    masks, closest = [np.zeros(cells.shape, bool) for cells in scales], math.inf
    for s, cells in enumerate(scales):
        sources = [cells] if ignore_scope == "scale" else scales
        for b in range(len(cells)):
            true = _corners([cell.box for source in sources for cell in source[b].flat if cell.is_object])
            for index, cell in np.ndenumerate(cells[b]):
                best = _best_iou(_decoded(cell, cell.logits[:4]), true)
                masks[s][b][index] = best >= ignore_thresh if comparator == "<" else best > ignore_thresh
                closest = min(closest, abs(best - ignore_thresh))
    return masks, closest


def _terms(cell: _Cell, is_ignored: bool, options: _Options) -> Iterator[tuple[str, slice, float, Term]]:
    """Part of the loss, columns of the logits, weight and function of them, for all that the cell adds."""
    if not cell.valid:
        return
    box_weight, object_weight, no_object_weight, class_weight = options.weights
    objectness = cell.objectness

    column = slice(4, 5)
    smoothed = _smooth(objectness, options.label_smoothing)
    if options.objectness_focal:
        focal = _complex_step(lambda x: _focal(smoothed, x[..., 0]))
        yield "object", column, object_weight * objectness, focal
        yield "no_object", column, no_object_weight * (1 - objectness), focal
    else:
        if cell.is_object:
            as_object = _complex_step(lambda x: _cross_entropy(smoothed, x[..., 0]))
            yield "object", column, object_weight * objectness, as_object
        if objectness != 1 and not is_ignored:
            as_background = _complex_step(lambda x: _cross_entropy(objectness, x[..., 0]))
            yield "no_object", column, no_object_weight * (1 - objectness), as_background

    if cell.is_object:
        for part, term in _box_terms(options.box_loss, cell).items():
            yield part, slice(0, 4), box_weight * objectness * (2 - cell.box.w * cell.box.h), term

    if options.class_loss != "none" and (cell.is_object or options.class_focal):
        yield (
            "class",
            slice(5, None),
            class_weight * (1 if options.class_focal else objectness),
            _class_term(cell, options),
        )


# Reading


def _item(value: Any, index: int, default: float) -> float:
    if value is None:
        return default
    return value[index] if isinstance(value, list | tuple) else value


class _Cells(np.ndarray):
    """Array of cells `[B, H, W, A]`."""

    n_classes: int


def _table(cells: _Cells, attribute: Callable[[_Cell], bool]) -> np.ndarray:
    return np.array([attribute(cell) for cell in cells.flat], bool).reshape(cells.shape)


def _read_scale(
    y_true: np.ndarray, y_pred: np.ndarray, anchors: np.ndarray, stride: float, grid_sense: float, target_format: str
) -> _Cells:
    dtype = np.float64 if y_pred.dtype == np.float64 else np.float32
    with np.errstate(all="ignore"):
        labels = np.asarray(y_true).astype(dtype).astype(np.float64)
    images, height, width = y_pred.shape[:3]
    columns = math.prod(y_pred.shape[3:]) // len(anchors)
    logits = y_pred.astype(np.float64).reshape(images, height, width, len(anchors), columns)
    cells = np.empty(logits.shape[:-1], object).view(_Cells)
    cells.n_classes = columns - 5
    for index in np.ndindex(cells.shape):
        anchor = anchors[index[3]] / (stride * np.array([width, height]) if stride else 1)
        cells[index] = _read_cell(index, height, width, anchor, grid_sense, labels[index], logits[index], target_format)
    return cells


def _read_cell(
    index: tuple[int, ...],
    height: int,
    width: int,
    anchor: np.ndarray,
    grid_sense: float,
    label: np.ndarray,
    logits: np.ndarray,
    target_format: str,
) -> _Cell:
    corner = target_format == "corner"
    box = (_corner_box if corner else _center_box)(*label[:4])
    objectness = label[4]
    n_classes = len(logits) - 5
    valid = all(math.isfinite(value) for value in label[:5]) and 0 <= objectness <= 1e6
    classes = np.zeros(n_classes)
    if valid and objectness != 0:
        valid = all(abs(value) <= 1e6 for value in label[:4]) and box.w > 0 and box.h > 0
        if corner:
            valid = valid and bool(0 <= label[5] < n_classes)
            if valid:
                classes[int(label[5])] = 1
        else:
            classes = label[5:]
            valid = valid and all(0 <= score <= 1e6 for score in classes)
    if not valid:
        objectness = 0.0
    return _Cell(index[1], index[2], height, width, anchor, grid_sense, logits, box, objectness, classes, valid)


def _center_box(x: Any, y: Any, w: Any, h: Any) -> _Box:
    return _Box(x, y, w, h, x - w / 2, y - h / 2, x + w / 2, y + h / 2)


def _corner_box(left: float, top: float, right: float, bottom: float) -> _Box:
    return _Box((left + right) / 2, (top + bottom) / 2, right - left, bottom - top, left, top, right, bottom)


# Boxes


def _decoded(cell: _Cell, logits: np.ndarray) -> _Box:
    """Of logits `[..., 4]`."""
    x, y, w, h = np.moveaxis(logits, -1, 0)
    s = cell.grid_sense
    return _center_box(
        (s * _sigmoid(x) - (s - 1) / 2 + cell.column) / cell.width,
        (s * _sigmoid(y) - (s - 1) / 2 + cell.row) / cell.height,
        cell.anchor[0] * _clamped_exp(w),
        cell.anchor[1] * _clamped_exp(h),
    )


def _clamped_exp(x: np.ndarray) -> np.ndarray:
    """Beyond 20 the value stays, and the slope is the value."""
    return np.exp(np.clip(x.real, -20, 20)) * np.exp(1j * x.imag)


def _corners(boxes: list[_Box]) -> np.ndarray:
    """Left, top, right, bottom and area of every box: `[5, M]`."""
    rows = [[box.left, box.top, box.right, box.bottom, box.w * box.h] for box in boxes]
    return np.array(rows, np.float64).reshape(-1, 5).T


def _best_iou(box: _Box, corners: np.ndarray) -> float:
    """Minus infinity without true boxes, NaN of a NaN box."""
    own = [float(value.real) for value in (box.left, box.top, box.right, box.bottom, box.w, box.h)]
    if any(math.isnan(value) for value in own):
        return math.nan
    left, top, right, bottom, area = corners
    width = np.maximum(np.minimum(own[2], right) - np.maximum(own[0], left), 0)
    height = np.maximum(np.minimum(own[3], bottom) - np.maximum(own[1], top), 0)
    shared = width * height
    with np.errstate(all="ignore"):
        return float(np.max(shared / (own[4] * own[5] + area - shared), initial=-math.inf))


def _box_terms(box_loss: str, cell: _Cell) -> dict[str, Term]:
    if box_loss in _IOU_LOSSES:
        return {"box": _complex_step(lambda x: 1 - _similarity(box_loss, cell.box, _decoded(cell, x)))}
    centre = (cell.box.x * cell.width - cell.column, cell.box.y * cell.height - cell.row)
    size = [math.log(true / anchor) for true, anchor in zip((cell.box.w, cell.box.h), cell.anchor, strict=True)]

    def xy(x: np.ndarray) -> np.ndarray:
        if box_loss == "classic":
            return sum(_cross_entropy(centre[axis], x[..., axis]) for axis in (0, 1))
        return sum((_sigmoid(x[..., axis]) - centre[axis]) ** 2 for axis in (0, 1))

    def wh(x: np.ndarray) -> np.ndarray:
        squares = sum((x[..., 2 + axis] - size[axis]) ** 2 for axis in (0, 1))
        return squares / 2 if box_loss == "classic" else squares

    functions = {"xy": xy, "wh": wh, "box": lambda x: xy(x) + wh(x)}
    return {part: _complex_step(function) for part, function in functions.items()}


def _similarity(kind: str, true: _Box, predicted: _Box) -> np.ndarray:
    overlap_w = _smaller(true.right, predicted.right) - _larger(true.left, predicted.left)
    overlap_h = _smaller(true.bottom, predicted.bottom) - _larger(true.top, predicted.top)
    shared = _larger(overlap_w, 0) * _larger(overlap_h, 0)
    union = true.w * true.h + predicted.w * predicted.h - shared
    iou = shared / (union + _EPSILON)
    enclosing_w = _larger(true.right, predicted.right) - _smaller(true.left, predicted.left)
    enclosing_h = _larger(true.bottom, predicted.bottom) - _smaller(true.top, predicted.top)
    dx, dy = predicted.x - true.x, predicted.y - true.y
    if kind == "iou":
        return iou
    if kind == "giou":
        return iou - (enclosing_w * enclosing_h - union) / (enclosing_w * enclosing_h + _EPSILON)
    if kind in ("diou", "ciou"):
        diou = iou - (dx * dx + dy * dy) / (enclosing_w**2 + enclosing_h**2 + _EPSILON)
        if kind == "diou":
            return diou
        v = 4 / math.pi**2 * (math.atan(true.w / true.h) - np.arctan(predicted.w / predicted.h)) ** 2
        alpha = (v / (1 + _EPSILON - iou + v)).real  # a constant
        return diou - alpha * v
    squared = dx * dx + dy * dy
    distance = np.where(squared.real > 0, np.sqrt(squared), 0) + _EPSILON
    sine_x, sine_y = _magnitude(dx) / distance, _magnitude(dy) / distance
    sine = np.where(sine_x.real > math.sqrt(0.5), sine_y, sine_x)
    angle_cost = np.cos(2 * np.arcsin(sine) - math.pi / 2)
    gamma = angle_cost - 2
    distance_cost = 2 - np.exp(gamma * (dx / enclosing_w) ** 2) - np.exp(gamma * (dy / enclosing_h) ** 2)
    omega_w = _magnitude(true.w - predicted.w) / _larger(true.w, predicted.w)
    omega_h = _magnitude(true.h - predicted.h) / _larger(true.h, predicted.h)
    shape_cost = (1 - np.exp(-omega_w)) ** 4 + (1 - np.exp(-omega_h)) ** 4
    return iou - 0.5 * (distance_cost + shape_cost)


# Classes and objectness


def _smooth(labels: Any, label_smoothing: float) -> Any:
    return labels * (1 - label_smoothing) + label_smoothing / 2


def _cross_entropy(label: Any, x: np.ndarray) -> np.ndarray:
    power = np.exp(np.where(x.real >= 0, -x, x))
    return np.where(x.real >= 0, x, 0) + np.log1p(power) - x * label


def _focal(label: Any, x: np.ndarray) -> np.ndarray:
    p = _sigmoid(x)
    p_t = label * p + (1 - label) * (1 - p)
    return (0.25 * label + 0.75 * (1 - label)) * (1 - p_t) ** 2 * _cross_entropy(label, x)


def _class_term(cell: _Cell, options: _Options) -> Term:
    weights, kind, focal = options.class_weights, options.class_loss, options.class_focal
    labels = cell.classes if kind == "normalized_sigmoid" else _smooth(cell.classes, options.label_smoothing)

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return ((_focal if focal else _cross_entropy)(labels, x) * weights).sum(axis=-1)

    def softmax(x: np.ndarray) -> tuple[float, np.ndarray]:
        shifted = x - x.max()
        log_p = shifted - math.log(np.exp(shifted).sum())
        weight = (weights * labels).sum() / labels.sum() if labels.any() else 1
        # TensorFlow's gradient, which is the value's only where the labels add up to 1.
        return weight * -(labels * log_p).sum(), weight * (np.exp(log_p) - labels)

    def softmax_focal(x: np.ndarray) -> np.ndarray:
        power = np.exp(x - x.real.max(axis=-1, keepdims=True))
        p = power / power.sum(axis=-1, keepdims=True)
        p = np.where(p.real < 1e-15, 1e-15, p)
        return (weights * 0.25 * (1 - p) ** 2 * -labels * np.log(p)).sum(axis=-1)

    def normalized_sigmoid(x: np.ndarray) -> np.ndarray:
        q = _sigmoid(x)
        q = np.where(q.real < 1e-7, 1e-7, np.where(q.real > 1 - 1e-7, 1 - 1e-7, q))
        index = labels.argmax()
        weight = weights[index] if labels.any() else 0
        return weight * -np.log(q[..., index] / q.sum(axis=-1))

    if kind == "softmax":
        return _complex_step(softmax_focal) if focal else softmax
    return _complex_step(sigmoid if kind == "sigmoid" else normalized_sigmoid)


# Complex steps


def _complex_step(function: Callable[[np.ndarray], np.ndarray]) -> Term:
    """The term of a function of rows of logits: one row moves one logit."""

    def term(logits: np.ndarray) -> tuple[float, np.ndarray]:
        values = function(logits + 1j * _STEP * np.eye(len(logits)))
        return float(values[0].real), values.imag / _STEP

    return term


def _sigmoid(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    power = np.exp(np.where(x.real >= 0, -x, x))
    return np.where(x.real >= 0, 1, power) / (1 + power)


def _larger(a: Any, b: Any) -> np.ndarray:
    return np.where(np.real(a) >= np.real(b), a, b)


def _smaller(a: Any, b: Any) -> np.ndarray:
    return np.where(np.real(a) <= np.real(b), a, b)


def _magnitude(x: np.ndarray) -> np.ndarray:
    return np.where(x.real > 0, x, np.where(x.real < 0, -x, x.real * 0))
