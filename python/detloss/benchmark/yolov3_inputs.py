"""Random batches with the statistics of a YOLOv3's training data, in the layout of keras-yolo3.

Speed depends on the data: what the true boxes of an image cover and which predicted boxes come near them decide how
much of the ignore mask can be skipped, and the gradient's pattern of zeros follows the objects. So the objects have the
sizes of COCO's, each in the cell and anchor that keras-yolo3 gives it, and the predictions are those of a network some
way into its training: confident about little, with several boxes around every object it has found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

_USUAL_BOXES = 20
_MEDIAN_SIZE = 0.106  # square root of an object's area, as a share of the image's: the median in COCO
_SIZE_SPREAD = 0.9  # standard deviations of logarithms
_ASPECT_SPREAD = 0.45
_SMALLEST, _LARGEST = 0.012, 0.95

# Means and standard deviations of logits.
_UNTRAINED_XY = (0.0, 1.0)
_UNTRAINED_WH = (0.0, 0.4)
_BACKGROUND = (-6.0, 1.5)
_NEAR_AN_OBJECT = (-1.0, 2.0)
_OBJECT = (2.0, 1.5)
_CLASS = (-4.5, 1.2)
_CLASS_MARGIN = 5.0
_XY_ERROR, _WH_ERROR = 0.4, 0.15

_NEIGHBOURS = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), axis=-1).reshape(-1, 2)
_NEAR_SHARE = 0.5  # of the predicted boxes in the cells around an object's that try to find it as well
_DOUBTFUL_IOU = 1e-3
_CERTAINLY_NOTHING = -30.0


class _Objects(NamedTuple):
    """Objects of all images, or those of one scale: coordinates relative to the image, `[objects, 2]`, and the rest."""

    images: Indices
    centres: Floats  # x, y
    sizes: Floats  # w, h
    classes: Indices
    anchors: Indices  # among all of them, or among those of the scale


def make_yolov3_batch(
    rng: np.random.Generator,
    batch: int,
    boxes: int,
    grids: Sequence[tuple[int, int]],
    anchors: Floats,
    anchor_rows: Sequence[Sequence[int]],
    classes: int,
    ignore_thresh: float,
    dtype: npt.DTypeLike,
) -> tuple[list[Floats], list[Floats]]:
    """Labels and logits of every scale, `[batch, H, W, anchors, 5 + classes]`: x, y, w, h, objectness, classes.

    A box belongs to the anchor with the largest IoU. Where two fall into the same cell and anchor the last one stays,
    with the classes of both.

    Args:
      rng: source of all randomness.
      batch: images.
      boxes: objects of an image.
      grids: rows and columns of every scale.
      anchors: `[N, 2]`, widths and heights relative to the image.
      anchor_rows: which of the anchors every scale has, in ascending order.
      classes: classes.
      ignore_thresh: IoU from which a predicted box is ignored. Where a background box's best IoU is so close to it that
        rounding would decide, objectness is so low that the decision changes nothing.
      dtype: what the logits will be rounded to.
    """
    objects = _draw_objects(rng, batch, boxes, anchors, classes)
    labels, logits = [], []
    for grid, row in zip(grids, anchor_rows, strict=True):
        shape = (batch, *grid, len(row), 5 + classes)
        scale_anchors = anchors[list(row)]
        here = _of_scale(objects, row)
        # Not `np.zeros`: memory that nobody has written yet is one page of zeros, and reads faster than any labels.
        scale_labels = np.full(shape, 0.0, np.float32)
        scale_logits = _background_logits(rng, shape)
        _fill_labels(scale_labels, here)
        _find_objects(rng, scale_logits, here, scale_anchors)
        _fill_object_cells(rng, scale_logits, scale_labels, scale_anchors)
        _settle_doubtful_boxes(scale_logits, scale_labels, scale_anchors, ignore_thresh, dtype)
        labels.append(scale_labels)
        logits.append(scale_logits)
    return labels, logits


def _draw_objects(rng: np.random.Generator, batch: int, boxes: int, anchors: Floats, classes: int) -> _Objects:
    count = batch * boxes
    # More objects do not fit unless they are smaller.
    median = _MEDIAN_SIZE * min(1.0, _USUAL_BOXES / boxes) ** 0.5
    size = median * np.exp(_SIZE_SPREAD * rng.standard_normal(count, np.float32))
    aspect = np.exp(_ASPECT_SPREAD * rng.standard_normal(count, np.float32))
    sizes = np.clip(np.stack([size * aspect, size / aspect], axis=-1), _SMALLEST, _LARGEST)
    return _Objects(
        images=np.repeat(np.arange(batch), boxes),
        centres=sizes / 2 + (1 - sizes) * rng.random((count, 2), np.float32),
        sizes=sizes,
        classes=rng.integers(classes, size=count),
        anchors=_best_anchors(sizes, anchors),
    )


def _of_scale(objects: _Objects, row: Sequence[int]) -> _Objects:
    """The objects whose anchor is in `row`."""
    here = np.isin(objects.anchors, row)
    return _Objects(
        images=objects.images[here],
        centres=objects.centres[here],
        sizes=objects.sizes[here],
        classes=objects.classes[here],
        anchors=np.searchsorted(row, objects.anchors[here]),
    )


def _best_anchors(sizes: Floats, anchors: Floats) -> Indices:
    """The anchor with the largest IoU of every box, both centred at one point."""
    common = np.minimum(sizes[:, None, :], anchors).prod(axis=-1)
    union = sizes.prod(axis=-1)[:, None] + anchors.prod(axis=-1) - common
    return np.argmax(common / union, axis=-1)


def _background_logits(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    columns = [_UNTRAINED_XY] * 2 + [_UNTRAINED_WH] * 2 + [_BACKGROUND] + [_CLASS] * (shape[-1] - 5)
    means, deviations = np.asarray(columns, np.float32).T
    logits = rng.standard_normal(shape, np.float32)
    logits *= deviations
    logits += means
    return logits


def _fill_labels(labels: Floats, objects: _Objects) -> None:
    columns, rows = _cells(objects.centres, labels.shape).T
    cells = (objects.images, rows, columns, objects.anchors)
    labels[..., :2][cells] = objects.centres
    labels[..., 2:4][cells] = objects.sizes
    labels[..., 4][cells] = 1.0
    labels[objects.images, rows, columns, objects.anchors, 5 + objects.classes] = 1.0


def _find_objects(rng: np.random.Generator, logits: Floats, objects: _Objects, anchors: Floats) -> None:
    """Lets cells around the objects' predict their boxes, as far as a cell can: with a centre of its own."""
    own_cells = _cells(objects.centres, logits.shape)
    # [objects, neighbours, anchors]
    cells = own_cells[:, None, None, :] + _NEIGHBOURS[:, None, :]
    cells = np.broadcast_to(cells, (len(own_cells), len(_NEIGHBOURS), len(anchors), 2))
    inside = ((cells >= 0) & (cells < _columns_rows(logits.shape))).all(axis=-1)
    which, _, anchor = found = np.nonzero(inside & (rng.random(inside.shape) < _NEAR_SHARE))
    columns, rows = cells[found].T
    boxes = np.concatenate([objects.centres[which], objects.sizes[which]], axis=1)
    predicted = (objects.images[which], rows, columns, anchor)
    logits[..., :4][predicted] = _box_logits(rng, boxes, cells[found], anchors[anchor], logits.shape)
    logits[..., 4][predicted] = _normal(rng, _NEAR_AN_OBJECT, len(which))


def _fill_object_cells(rng: np.random.Generator, logits: Floats, labels: Floats, anchors: Floats) -> None:
    cells = _, rows, columns, anchor = np.nonzero(labels[..., 4])
    labelled = labels[cells]
    columns_rows = np.stack([columns, rows], axis=-1)
    found = logits[cells]
    found[:, :4] = _box_logits(rng, labelled[:, :4], columns_rows, anchors[anchor], labels.shape)
    found[:, 4] = _normal(rng, _OBJECT, len(found))
    found[:, 5:] += _CLASS_MARGIN * labelled[:, 5:]
    logits[cells] = found


def _settle_doubtful_boxes(
    logits: Floats, labels: Floats, anchors: Floats, ignore_thresh: float, dtype: npt.DTypeLike
) -> None:
    """Makes objectness very negative where implementations that round differently ignore different boxes."""
    for image_logits, image_labels in zip(logits, labels, strict=True):
        is_object = image_labels[..., 4] > 0
        if is_object.any():
            boxes = _decode(image_logits[..., :4].astype(dtype).astype(np.float32), anchors)
            best = _best_iou(boxes.reshape(-1, 4), image_labels[is_object][:, :4]).reshape(is_object.shape)
            doubtful = (np.abs(best - ignore_thresh) < _DOUBTFUL_IOU) & ~is_object
            image_logits[doubtful, 4] = _CERTAINLY_NOTHING


def _decode(logits: Floats, anchors: Floats) -> Floats:
    """Boxes x, y, w, h of the logits `[H, W, anchors, 4]` of an image."""
    rows, columns = logits.shape[:2]
    cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)[:, :, None, :]
    centres = (1 / (1 + np.exp(-logits[..., :2])) + cells) / (columns, rows)
    return np.concatenate([centres, np.exp(logits[..., 2:4]) * anchors], axis=-1).astype(np.float32)


def _best_iou(boxes: Floats, true_boxes: Floats) -> Floats:
    """The largest IoU of each of the `boxes` `[N, 4]` with one of the `true_boxes` `[M, 4]`."""
    common = np.ones((len(true_boxes), len(boxes)), np.float32)
    for axis in (0, 1):
        low, true_low = (array[:, axis] - array[:, 2 + axis] / 2 for array in (boxes, true_boxes))
        high, true_high = (array[:, axis] + array[:, 2 + axis] / 2 for array in (boxes, true_boxes))
        extent = np.minimum(high, true_high[:, None]) - np.maximum(low, true_low[:, None])
        common *= np.maximum(extent, 0, out=extent)
    area, true_area = (array[:, 2] * array[:, 3] for array in (boxes, true_boxes))
    return (common / (area + true_area[:, None] - common)).max(axis=0)


def _box_logits(
    rng: np.random.Generator, boxes: Floats, cells: Indices, anchors: Floats, shape: tuple[int, ...]
) -> Floats:
    """What `cells` (column, row) with `anchors` predict for `boxes`, with the errors of an unfinished training."""
    within = np.clip(boxes[:, :2] * _columns_rows(shape) - cells, 0.05, 0.95)
    errors = rng.standard_normal((len(boxes), 4), np.float32) * np.repeat([_XY_ERROR, _WH_ERROR], 2)
    wanted = np.concatenate([np.log(within / (1 - within)), np.log(boxes[:, 2:] / anchors)], axis=1)
    return (wanted + errors).astype(np.float32)


def _cells(centres: Floats, shape: tuple[int, ...]) -> Indices:
    """Column and row of the cells that hold `centres`."""
    size = _columns_rows(shape)
    return np.minimum((centres * size).astype(np.int64), size - 1)


def _columns_rows(shape: tuple[int, ...]) -> Indices:
    return np.asarray([shape[2], shape[1]], np.int64)


def _normal(rng: np.random.Generator, mean_and_deviation: tuple[float, float], count: int) -> Floats:
    mean, deviation = mean_and_deviation
    return mean + deviation * rng.standard_normal(count, np.float32)
