"""The CUDA kernels on arrays of CuPy, and of anything else that has `__dlpack__`."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np
import pytest

from detloss import _core, device
from device_comparison import assert_close, upstream_of
from ssd_cases import ssd_batch
from yolov3_cases import yolov3_batch

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_ssd_loss(dtype):
    y_true, y_pred = ssd_batch(3, 700, dtype=dtype, positive_share=0.1)
    expected = _core.ssd_loss_forward(y_true, y_pred)
    arrays = cupy.asarray(y_true), cupy.asarray(y_pred)
    outputs = device.ssd_loss_forward(*arrays)
    for name, value in expected.items():
        assert isinstance(outputs[name], cupy.ndarray)
        assert_close(cupy.asnumpy(outputs[name]), value, name)
    names = ("n_pos", "n_kept", "selection")
    upstream = upstream_of(y_true)
    gradient = device.ssd_loss_backward(cupy.asarray(upstream), *arrays, *(outputs[name] for name in names))
    wanted = _core.ssd_loss_backward(upstream, y_true, y_pred, *(expected[name] for name in names))
    assert_close(cupy.asnumpy(gradient), wanted, "gradient")


def test_hard_negative_mask():
    keys = np.random.default_rng(0).normal(size=(3, 900)).astype(np.float32)
    positives = np.full(3, 20, np.float32)
    mask = device.hard_negative_mask(cupy.asarray(keys), cupy.asarray(positives), mining_scope="image")
    np.testing.assert_array_equal(cupy.asnumpy(mask), _core.hard_negative_mask(keys, positives, mining_scope="image"))


@pytest.mark.parametrize("on_own_stream", [False, True])
def test_yolov3_loss(on_own_stream):
    batch = yolov3_batch(2, boxes=6)
    expected = _core.yolov3_loss_forward(batch.y_true, batch.y_pred, batch.anchors, [0, 0])
    stream = cupy.cuda.Stream(non_blocking=True) if on_own_stream else cupy.cuda.Stream.null
    with stream:
        y_true, y_pred = ([cupy.asarray(scale) for scale in scales] for scales in (batch.y_true, batch.y_pred))
        outputs = device.yolov3_loss_forward(y_true, y_pred, batch.anchors)
        residuals = outputs["objectness_gradient"], outputs["selection"]
        upstream = cupy.ones(2, cupy.float32)
        gradient = device.yolov3_loss_backward(upstream, y_true, y_pred, *residuals, batch.anchors)
    stream.synchronize()
    assert_close(cupy.asnumpy(outputs["loss"]), expected["loss"], "loss")
    residuals = expected["objectness_gradient"], expected["selection"]
    wanted = _core.yolov3_loss_backward(
        np.ones(2, np.float32), batch.y_true, batch.y_pred, *residuals, batch.anchors, [0, 0]
    )
    for actual, slopes in zip(gradient, wanted, strict=True):
        assert_close(cupy.asnumpy(actual), slopes, "gradient")


class Exported:
    """A tensor of a framework that `detloss.device` does not know."""

    def __init__(self, array: Any):
        self._array = array
        self.streams: list[Any] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()

    def __dlpack__(self, *, stream: int | None = None) -> Any:
        self.streams.append(stream)
        return self._array.__dlpack__(stream=stream)


def test_any_framework_with_dlpack():
    rng = np.random.default_rng(1)
    boxes, true_boxes = (rng.uniform(0.1, 0.8, (2, number, 4)).astype(np.float32) for number in (700, 9))
    tensors = [Exported(cupy.asarray(array)) for array in (boxes, true_boxes, np.zeros((2, 700), bool))]
    _core.device.yolo_ignore_mask(*tensors, 0, ignore_thresh=0.4)
    mask = cupy.asnumpy(tensors[2]._array)
    np.testing.assert_array_equal(mask, _core.yolo_ignore_mask(boxes, true_boxes, ignore_thresh=0.4))
    assert [tensor.streams for tensor in tensors] == [[1]] * 3  # DLPack's number of the default stream
