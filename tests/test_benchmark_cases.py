"""What the benchmark measures: presets, random inputs, implementations and floors."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
import tensorflow as tf

import detloss
from detloss.benchmark import agreement, paddle_peer
from detloss.benchmark.presets import PRESETS, SSDPreset, YOLOv3Preset
from detloss.benchmark.ssd_inputs import make_ssd_batch
from detloss.benchmark.steps import make_steps, run

TINY = SSDPreset("tiny", boxes=64, classes=5).case(2, "float32", from_logits=False)
TINY_HEADS = PRESETS["yolov3-tiny-416-coco"]
SMALL_HEADS = YOLOv3Preset("small", image_size=96, classes=5)


def yolov3_case(preset, batch, dtype="float32", boxes_per_image=20, class_focal=False):
    return preset.case(batch, dtype, boxes_per_image, class_focal)


def decode(logits, case, scale):
    """Boxes x, y, w, h of one scale's logits, in float64."""
    batch, rows, columns, _ = logits.shape
    logits = logits.astype(np.float64).reshape(batch, rows, columns, 3, -1)
    cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)[:, :, None]
    anchors = np.asarray(case.anchors)[list(case.anchor_rows[scale])] / case.image_size
    centres = (1 / (1 + np.exp(-logits[..., :2])) + cells) / (columns, rows)
    return np.concatenate([centres, np.exp(logits[..., 2:4]) * anchors], axis=-1)


def best_iou(boxes, true_boxes):
    """The largest IoU of every box `[N, 4]` with one of the true boxes `[M, 4]`; 0 where there is none."""
    boxes, true_boxes = boxes[:, None], true_boxes[None]
    low, high = (
        pick(boxes[..., :2] + side * boxes[..., 2:] / 2, true_boxes[..., :2] + side * true_boxes[..., 2:] / 2)
        for pick, side in ((np.maximum, -1), (np.minimum, 1))
    )
    common = np.maximum(high - low, 0).prod(axis=-1)
    union = boxes[..., 2:].prod(axis=-1) + true_boxes[..., 2:].prod(axis=-1) - common
    return (common / union).max(axis=-1, initial=0.0)


def best_ious(case, batch):
    """Per scale: the best IoU `[batch, cells, ...]` with a true box of the image and scale."""
    for scale, (labels, logits) in enumerate(zip(batch.labels, batch.predictions, strict=True)):
        boxes = decode(np.asarray(tf.cast(logits, tf.float32)), case, scale)
        true_boxes, _ = paddle_peer.true_boxes([np.asarray(labels)])
        ious = [best_iou(*image) for image in zip(boxes.reshape(case.batch, -1, 4), true_boxes, strict=True)]
        yield np.asarray(ious).reshape(boxes.shape[:-1])


@pytest.mark.parametrize("from_logits", [False, True])
def test_ssd_inputs_look_like_training_data(from_logits):
    boxes, classes = 8732, 21
    labels, predictions = make_ssd_batch(np.random.default_rng(0), 4, boxes, classes, from_logits)
    assert labels.shape == predictions.shape == (4, boxes, classes + 12)
    marks = labels[..., :classes].sum(axis=-1)
    assert set(np.unique(marks)) == {0.0, 1.0}
    positive = labels[..., 1:classes].any(axis=-1)
    assert 0.003 < positive.mean() < 0.005
    assert 0.002 < (marks == 0).mean() < 0.02
    beside_another = positive[:, 1:] & positive[:, :-1]
    assert beside_another.sum() > 10 * positive.mean() * positive.sum()
    assert not labels[..., classes : classes + 4][~positive].any()
    if from_logits:
        assert predictions[..., :classes].min() < 0
    else:
        np.testing.assert_allclose(predictions[..., :classes].sum(axis=-1), 1.0, rtol=1e-5)
        assert predictions[..., :classes].min() > 0
        assert 0.5 < predictions[..., 0].mean() < 0.95


def test_yolov3_labels_are_those_of_keras_yolo3():
    case = yolov3_case(PRESETS["yolov3-416-coco"], 4)
    batch = case.make_batch([0, 0])
    assert [tuple(labels.shape) for labels in batch.labels] == [(4, grid, grid, 3, 85) for grid in (13, 26, 52)]
    assert [tuple(logits.shape) for logits in batch.predictions] == [(4, grid, grid, 255) for grid in (13, 26, 52)]
    assert detloss.check_targets([np.asarray(labels) for labels in batch.labels]) is None
    objects = 0
    anchors = np.asarray(case.anchors) / 416
    for labels, row in zip(map(np.asarray, batch.labels), case.anchor_rows, strict=True):
        assert set(np.unique(labels[..., 4:])) == {0.0, 1.0}
        assert not labels[labels[..., 4] == 0].any()
        _, rows, columns, anchor = cells = np.nonzero(labels[..., 4])
        grid = labels.shape[1]
        np.testing.assert_array_equal((labels[cells][:, :2] * grid).astype(int), np.stack([columns, rows], axis=1))
        sizes = labels[cells][:, 2:4]
        shapes = [np.concatenate([np.zeros_like(lengths), lengths], axis=1) for lengths in (sizes, anchors)]
        own = [
            best_iou(shape[None], anchor_shape[None])[0]
            for shape, anchor_shape in zip(shapes[0], shapes[1][np.asarray(row)[anchor]], strict=True)
        ]
        np.testing.assert_allclose(own, best_iou(*shapes), rtol=1e-5)
        objects += len(sizes)
    assert 4 * 18 <= objects <= 4 * 20


def test_yolov3_logits_are_those_of_a_network_in_training():
    case = yolov3_case(PRESETS["yolov3-416-voc"], 4)
    batch = case.make_batch([0, 0])
    ignored = cells = 0
    for labels, logits, ious in zip(batch.labels, batch.predictions, best_ious(case, batch), strict=True):
        labels = np.asarray(labels)
        logits = np.asarray(logits).reshape(labels.shape)
        is_object = labels[..., 4] > 0
        ignored += np.count_nonzero((ious >= 0.5) & ~is_object)
        cells += ious.size
        assert np.median(logits[..., 4]) < -5
        assert logits[is_object, 4].mean() > 0
        assert np.median(ious[is_object]) > 0.6
        assert logits[..., 5:][labels[..., 5:] > 0].mean() > logits[..., 5:].mean() + 4
        assert np.abs(logits[..., :4]).max() < 10
    assert 0.005 < ignored / cells < 0.05


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_rounding_decides_about_no_yolov3_cell_that_counts(dtype):
    case = yolov3_case(SMALL_HEADS, 16, dtype, boxes_per_image=50)
    batch = case.make_batch([0, 0])
    settled = 0
    for labels, logits, ious in zip(batch.labels, batch.predictions, best_ious(case, batch), strict=True):
        objectness = np.asarray(tf.cast(logits, tf.float32)).reshape(labels.shape)[..., 4]
        doubtful = (np.abs(ious - 0.5) < 9e-4) & (np.asarray(labels)[..., 4] == 0)
        assert (objectness[doubtful] == -30).all()
        settled += np.count_nonzero(doubtful)
    assert settled > 0


@pytest.mark.parametrize("boxes", [1, 100, 1000])
def test_yolov3_images_hold_any_number_of_boxes(boxes):
    batch = yolov3_case(PRESETS["yolov3-416-voc"], 2, boxes_per_image=boxes).make_batch([0, 0])
    objects = sum(np.count_nonzero(np.asarray(labels)[..., 4]) for labels in batch.labels)
    assert 0.8 * 2 * boxes <= objects <= 2 * boxes
    assert detloss.check_targets([np.asarray(labels) for labels in batch.labels]) is None


def test_tiny_yolov3_has_the_anchors_of_keras_yolo3():
    """Boxes of the smallest anchor have no place, those of the fourth one have two."""
    case = yolov3_case(TINY_HEADS, 8)
    coarse, fine = (np.asarray(labels) for labels in case.make_batch([0, 0]).labels)
    shared = [scale[..., anchor, :][scale[..., anchor, 4] > 0] for scale, anchor in ((coarse, 0), (fine, 2))]
    assert 0 < len(shared[0]) <= len(shared[1])
    assert {tuple(box) for box in shared[0][:, :4]} <= {tuple(box) for box in shared[1][:, :4]}
    sizes = np.concatenate([scale[scale[..., 4] > 0][:, 2:4] for scale in (coarse, fine)]) * 416
    assert (sizes.prod(axis=1) > 10 * 14).all()


@pytest.mark.parametrize("case", [TINY, yolov3_case(SMALL_HEADS, 2)], ids=["ssd", "yolov3"])
def test_inputs_follow_the_seed(case):
    first, again, other = (np.asarray(case.make_batch([0, seed]).predictions[0]) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_presets_are_the_published_heads():
    boxes = {name: preset.boxes for name, preset in PRESETS.items() if isinstance(preset, SSDPreset)}
    assert boxes == {"ssd300-voc": 8732, "ssd300-coco": 8732, "ssd512-coco": 24564}
    cells = {name: yolov3_case(preset, 1).cells for name, preset in PRESETS.items() if name not in boxes}
    assert cells == {
        "yolov3-416-coco": 10647,
        "yolov3-608-coco": 22743,
        "yolov3-416-voc": 10647,
        "yolov3-tiny-416-coco": 2535,
    }
    classes = [preset.classes for preset in PRESETS.values()]
    assert classes == [21, 81, 81, 80, 80, 20, 80]


def check_against_the_reference(case, implementation):
    batches = [case.make_batch([0, 0])]
    (actual,), (reference,) = (
        run(make_steps(case.loss(name), "eager", "forward_backward", batches), batches)
        for name in (implementation, "reference")
    )
    agreement.check(implementation, actual, reference, case.dtype)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("from_logits", [False, True])
def test_fused_ssd_loss_agrees_with_the_reference_in_every_dtype(dtype, from_logits):
    check_against_the_reference(SSDPreset("tiny", boxes=256, classes=5).case(3, dtype, from_logits), "fused")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("class_focal", [False, True])
def test_fused_yolov3_loss_agrees_with_the_reference_in_every_dtype(dtype, class_focal):
    check_against_the_reference(yolov3_case(SMALL_HEADS, 3, dtype, class_focal=class_focal), "fused")


@pytest.mark.parametrize("preset", [SMALL_HEADS, dataclasses.replace(TINY_HEADS, image_size=96, classes=5)])
def test_original_yolov3_loss_agrees_with_the_reference(preset):
    check_against_the_reference(yolov3_case(preset, 3), "original")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_floor_runs_in_every_dtype(dtype):
    for case in (
        SSDPreset("tiny", boxes=100, classes=5).case(2, dtype, from_logits=True),
        yolov3_case(SMALL_HEADS, 2, dtype),
        yolov3_case(SMALL_HEADS, 2, dtype, class_focal=True),
    ):
        for touch in case.floor([case.make_batch([0, 0])], threads=2).values():
            touch()


def test_original_is_compiled_for_every_batch_under_xla():
    assert [mode for mode in ("eager", "graph", "xla") if TINY.compiles_every_batch("original", mode)] == ["xla"]
    batches = [TINY.make_batch([0, index]) for index in range(3)]
    step = make_steps(TINY.loss("original"), "xla", "forward", batches[:1])
    run(step, batches[:1])

    def seconds(batch):
        start = time.perf_counter()
        run(step, [batch])
        return time.perf_counter() - start

    new = min(seconds(batch) for batch in batches[1:])
    seen = min(seconds(batch) for batch in batches)
    assert new > 10 * seen
