"""`detloss._core`: the YOLOv3 kernels on NumPy arrays give what the TensorFlow ops give, bit for bit."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ml_dtypes import bfloat16

import detloss
from detloss import _core
from yolov3_cases import OPTION_SETS, batch_for, small_batch, yolov3_batch


def split(options: dict[str, Any], scales: int) -> tuple[list[int], dict[str, Any]]:
    """Strides and the other options as `_core` takes them: one number per scale."""
    rest = dict(options)
    stride = rest.pop("stride", None)
    if isinstance(rest.get("grid_sense"), float):
        rest["grid_sense"] = [rest["grid_sense"]] * scales
    return list(stride or [0] * scales), rest


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, bfloat16])
@pytest.mark.parametrize("name", OPTION_SETS)
def test_forward_and_backward_equal_the_op(name: str, dtype: Any) -> None:
    batch = batch_for(OPTION_SETS[name], images=3, fractional=True, dtype=dtype, seed=60)
    with tf.GradientTape() as tape:
        logits = [tf.constant(scale) for scale in batch.y_pred]
        tape.watch(logits)
        loss, components = detloss.yolov3_loss(
            batch.y_true, logits, batch.anchors, return_components=True, **OPTION_SETS[name]
        )
    gradient = tape.gradient(loss, logits)

    strides, options = split(OPTION_SETS[name], len(logits))
    arrays = batch.y_true, batch.y_pred
    forward = _core.yolov3_loss_forward(*arrays, batch.anchors, strides, threads=2, **options)
    for component, expected in {"loss": loss, **components}.items():
        assert forward[component].tobytes() == expected.numpy().tobytes(), component
    residuals = forward["objectness_gradient"], forward["selection"]
    upstream = np.ones_like(forward["loss"])
    backward = _core.yolov3_loss_backward(upstream, *arrays, *residuals, batch.anchors, strides, **options)
    for actual, expected in zip(backward, gradient, strict=True):
        assert actual.dtype == expected.dtype.as_numpy_dtype
        assert actual.tobytes() == expected.numpy().tobytes()


def test_residuals_are_five_bytes_per_row() -> None:
    for dtype, most in ((np.float32, 5), (np.float16, 5), (np.float64, 9)):
        batch = yolov3_batch(2, dtype=dtype)
        forward = _core.yolov3_loss_forward(batch.y_true, batch.y_pred, batch.anchors, [0, 0])
        rows = sum(logits.size // logits.shape[-1] for logits in batch.y_pred)
        residuals = forward["objectness_gradient"] + forward["selection"]
        assert sum(array.nbytes for array in residuals) == most * rows


def test_ignore_mask_equals_the_op() -> None:
    rng = np.random.default_rng(61)
    boxes, true_boxes = (rng.uniform(0.1, 0.8, (2, number, 4)).astype(np.float32) for number in (700, 9))
    mask = _core.yolo_ignore_mask(boxes, true_boxes, ignore_thresh=0.4)
    np.testing.assert_array_equal(mask, detloss.yolo_ignore_mask(boxes, true_boxes, ignore_thresh=0.4))


@pytest.mark.parametrize("class_focal", [False, True])
@pytest.mark.parametrize("backward", [False, True])
def test_floor_reads_or_writes_every_row(class_focal: bool, backward: bool) -> None:
    labels = np.zeros((100, 8), np.float32)
    logits = np.zeros((100, 8), np.float32)
    logits[50, 0] = 1
    memory = np.full(100 * 8 * 4 + 64, 7, np.uint8)
    start = -memory.ctypes.data % 64
    gradient = memory[start : start + 3200].view(np.float32).reshape(100, 8)
    seen = _core.touch_yolov3_loss(labels, logits, gradient, class_focal, backward)
    assert bool(seen) == (class_focal or not backward)
    written = gradient.view(np.uint8).reshape(100, 32)
    if backward:
        assert (written[:, 0] == 1).all()
        assert (written[:, 1:] == int(class_focal)).all()
    else:
        assert (written == 7).all()


def test_invalid_label() -> None:
    batch = small_batch()
    batch.y_true[0][1, 1, 2, 1, 3] = np.inf
    with pytest.raises(ValueError, match=r"y_true: expected .* in image 1, scale 0, cell \(1, 2\), anchor 1"):
        _core.yolov3_loss_forward(batch.y_true, batch.y_pred, batch.anchors, [0], invalid_targets="error")


@pytest.mark.parametrize(
    "changes, error, message",
    [
        (dict(y_pred=[]), ValueError, "y_pred: expected at least one scale"),
        (dict(y_true=[]), ValueError, "y_true: expected 1 scales"),
        (dict(y_true=[np.zeros((2, 3, 4, 2, 9), np.float32)]), ValueError, "y_true: expected shape"),
        (dict(y_true=[np.zeros((2, 3, 4, 2, 8), np.float64)]), TypeError, "y_true: expected dtype float32"),
        (dict(y_pred=[np.zeros((2, 3, 4, 2, 8), np.int32)]), TypeError, "y_pred: expected dtype"),
        (dict(anchors=np.ones((2, 2))), ValueError, "anchors: expected shape"),
        (dict(anchors=-np.ones((1, 2, 2))), ValueError, "anchors: expected finite numbers above 0"),
        (dict(strides=[32, 16]), ValueError, "strides: expected 1 numbers"),
        (dict(box_loss="eiou"), ValueError, "box_loss: expected one of"),
        (dict(ignore_thresh=-1.0), ValueError, "ignore_thresh: expected"),
        (dict(class_weights=[1.0]), ValueError, "class_weights: expected 3 numbers"),
        (dict(smoothing=0.1), TypeError, "got smoothing"),
    ],
)
def test_bad_arguments(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    shape = (2, 3, 4, 2, 8)
    arguments = dict(
        y_true=[np.zeros(shape, np.float32)],
        y_pred=[np.zeros(shape, np.float32)],
        anchors=np.ones((1, 2, 2)),
        strides=[0],
    )
    with pytest.raises(error, match=message):
        _core.yolov3_loss_forward(**{**arguments, **changes})


def test_options_are_those_of_the_function() -> None:
    batch = small_batch()
    names = inspect.signature(detloss.yolov3_loss).parameters
    options = {name: names[name].default for name in names if names[name].kind is inspect.Parameter.KEYWORD_ONLY}
    for name in ("stride", "grid_sense", "class_weights", "return_components", "name"):
        del options[name]
    forward = _core.yolov3_loss_forward(batch.y_true, batch.y_pred, batch.anchors, [0], **options)
    np.testing.assert_array_equal(forward["loss"], detloss.yolov3_loss(batch.y_true, batch.y_pred, batch.anchors))
