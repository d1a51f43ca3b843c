"""The golden cases on the CUDA kernels, emulated on the host (`tests/cc/simt`): `make cc-test` builds them."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest

import emulated_kernels
from detloss import device
from fake_tensor import FakeTensor, aligned
from golden_cases import assert_golden_close, golden_cases
from golden_yolov3 import all_golden_yolov3_cases
from ssd_cases import RYKOV8

MODULE = emulated_kernels.load()

pytestmark = pytest.mark.skipif(MODULE is None, reason="the emulated kernels are not built: make cc-test")


class HostTensor(FakeTensor):
    """An array of the host that the emulated kernels take for a device's."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def reshape(self, shape: tuple[int, ...]) -> HostTensor:
        return HostTensor(self.array.reshape(shape))


class HostFramework:
    """What `detloss.device` needs of a framework."""

    def dtype(self, tensor: HostTensor) -> str:
        return tensor.array.dtype.name

    def empty(self, shape: tuple[int, ...], dtype: str, like: HostTensor) -> HostTensor:
        memory = aligned(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        memory[:] = 0xFF  # NaN, until the kernels write it
        return HostTensor(memory.view(dtype).reshape(shape))

    def export(self, tensor: HostTensor) -> HostTensor:
        return tensor

    def stream(self, tensor: HostTensor) -> int:
        return 0

    def on_device_of(self, tensor: HostTensor) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext()


@pytest.fixture(autouse=True)
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_core", MODULE)
    monkeypatch.setattr(device, "_framework", lambda name, tensor: HostFramework())


def check_ssd(case: Any, **options: Any) -> None:
    y_true, y_pred = (HostTensor(np.ascontiguousarray(case[name])) for name in ("y_true", "y_pred"))
    outputs = device.ssd_loss_forward(y_true, y_pred, **options)
    residuals = (outputs[name] for name in ("n_pos", "n_kept", "selection"))
    backward = {name: options[name] for name in ("alpha", "normalizer", "layout") if name in options}
    upstream = HostTensor(np.ones(len(y_pred.array), np.float32))
    gradient = device.ssd_loss_backward(upstream, y_true, y_pred, *residuals, **backward)
    assert_golden_close(outputs["loss"].array, case["loss"])
    assert_golden_close(gradient.array, case["grad_y_pred"])


@pytest.mark.parametrize("case", golden_cases("ssd_keras"))
def test_golden_ssd_keras(case):
    check_ssd(case, **case.params)


@pytest.mark.parametrize("case", golden_cases("ssd_keras_rykov8"))
def test_golden_ssd_keras_rykov8(case):
    params = case.params
    check_ssd(
        case,
        **RYKOV8,
        neg_pos_ratio=params["neg_pos_ratio"],
        n_neg_min=int(params["negatives_for_hard"]),
        alpha=params["alpha"],
    )


@pytest.mark.parametrize("golden", all_golden_yolov3_cases())
def test_golden_yolov3(golden):
    one = not isinstance(golden.y_true, list)
    y_true, y_pred = (
        [HostTensor(np.ascontiguousarray(scale)) for scale in ([arrays] if one else arrays)]
        for arrays in (golden.y_true, golden.y_pred)
    )
    outputs = device.yolov3_loss_forward(y_true, y_pred, golden.anchors, **golden.options)
    residuals = outputs["objectness_gradient"], outputs["selection"]
    upstream = HostTensor(np.ascontiguousarray(golden.loss_gradient))
    gradients = device.yolov3_loss_backward(upstream, y_true, y_pred, *residuals, golden.anchors, **golden.options)
    components = {name: outputs[name].array for name in ("box", "object", "no_object", "class")}
    arrays = [gradient.array for gradient in gradients]
    golden.check(outputs["loss"].array, components, arrays[0] if one else arrays)
