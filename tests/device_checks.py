"""Runs the losses on the CPU, on NumPy arrays, and on a GPU, on tensors of PyTorch, and compares what they give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import torch

from detloss import _core, device
from detloss.ssd_layout import SSDLayout, as_layout
from detloss.yolov3_options import as_class_weights, as_grid_sense, as_strides
from device_comparison import assert_close, assert_equal, upstream_of
from yolov3_cases import Batch

DEVICE = "cuda"


def poisoned_memory() -> Iterator[None]:
    """Lets new tensors be full of NaN and of the largest integers, as long as the generator is not resumed."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


# Conversions


def to_device(array: np.ndarray) -> Any:
    """A tensor of the same values, in memory of its own."""
    # Torch knows bfloat16, but not NumPy's.
    plain = array.view(np.int16) if array.dtype == ml_dtypes.bfloat16 else array
    tensor = torch.from_numpy(np.array(plain, order="C")).to(DEVICE)
    return tensor.view(torch.bfloat16) if array.dtype == ml_dtypes.bfloat16 else tensor


def to_host(value: Any) -> Any:
    """NumPy arrays of tensors, also of those in lists and dicts."""
    if isinstance(value, dict):
        return {name: to_host(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_host(item) for item in value]
    if value.dtype == torch.bfloat16:
        return value.view(torch.int16).cpu().numpy().view(ml_dtypes.bfloat16)
    return value.cpu().numpy()


# SSD


def core_layout(layout: SSDLayout | str) -> dict[str, Any]:
    """A layout as the options that `_core` has for it."""
    columns = as_layout(layout)
    return dict(
        num_classes=columns.num_classes or 0,
        class_column=columns.class_column,
        box_column=columns.box_column,
        positive_column=columns.positive_column,
    )


def ssd_gradient_options(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("alpha", "normalizer", "from_logits", "layout") if name in options}


def ssd_on_cpu(y_true: np.ndarray, y_pred: np.ndarray, **options: Any) -> tuple[dict[str, Any], np.ndarray]:
    """Forward outputs, and the gradient for `upstream_of`."""

    def for_core(options: dict[str, Any]) -> dict[str, Any]:
        rest = dict(options)
        return {**core_layout(rest.pop("layout", "ssd_keras")), **rest}

    outputs = _core.ssd_loss_forward(y_true, y_pred, **for_core(options))
    residuals = (outputs[name] for name in ("n_pos", "n_kept", "selection"))
    gradient = _core.ssd_loss_backward(
        upstream_of(y_true), y_true, y_pred, *residuals, **for_core(ssd_gradient_options(options))
    )
    return outputs, gradient


def ssd_on_device(y_true: Any, y_pred: Any, upstream: Any, **options: Any) -> tuple[dict[str, Any], Any]:
    """The same of tensors."""
    outputs = device.ssd_loss_forward(y_true, y_pred, **options)
    residuals = (outputs[name] for name in ("n_pos", "n_kept", "selection"))
    gradient = device.ssd_loss_backward(upstream, y_true, y_pred, *residuals, **ssd_gradient_options(options))
    return outputs, gradient


def check_ssd(y_true: np.ndarray, y_pred: np.ndarray, **options: Any) -> dict[str, Any]:
    """Compares both; returns the outputs on the device as arrays."""
    expected, expected_gradient = ssd_on_cpu(y_true, y_pred, **options)
    arrays = (y_true, y_pred, upstream_of(y_true))
    outputs, gradient = map(to_host, ssd_on_device(*map(to_device, arrays), **options))
    assert outputs.keys() == expected.keys()
    for name in ("selection", "num_invalid", "n_kept"):
        assert_equal(outputs[name], expected[name], name)
    for name, value in expected.items():
        assert_close(outputs[name], value, name)
    assert_close(gradient, expected_gradient, "gradient")
    return outputs


# YOLOv3


def yolov3_on_cpu(batch: Batch, **options: Any) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Forward outputs, and the gradient for `upstream_of`."""
    rest = dict(options)
    scales = len(batch.y_pred)
    strides = list(as_strides(rest.pop("stride", None), scales))
    rest["grid_sense"] = list(as_grid_sense(rest.pop("grid_sense", None), scales))
    rest["class_weights"] = list(as_class_weights(rest.pop("class_weights", None), None))
    arrays = batch.y_true, batch.y_pred
    outputs = _core.yolov3_loss_forward(*arrays, batch.anchors, strides, **rest)
    residuals = outputs["objectness_gradient"], outputs["selection"]
    gradient = _core.yolov3_loss_backward(
        upstream_of(batch.y_true[0]), *arrays, *residuals, batch.anchors, strides, **rest
    )
    return outputs, gradient


def yolov3_on_device(
    y_true: list[Any], y_pred: list[Any], upstream: Any, anchors: np.ndarray, **options: Any
) -> tuple[dict[str, Any], list[Any]]:
    """The same of tensors."""
    outputs = device.yolov3_loss_forward(y_true, y_pred, anchors, **options)
    residuals = outputs["objectness_gradient"], outputs["selection"]
    gradient = device.yolov3_loss_backward(upstream, y_true, y_pred, *residuals, anchors, **options)
    return outputs, gradient


def yolov3_tensors(batch: Batch) -> tuple[list[Any], list[Any], Any]:
    """Labels, logits and upstream gradient of the batch."""
    y_true, y_pred = ([to_device(scale) for scale in scales] for scales in (batch.y_true, batch.y_pred))
    return y_true, y_pred, to_device(upstream_of(batch.y_true[0]))


def check_yolov3(batch: Batch, **options: Any) -> dict[str, Any]:
    """Compares both; returns the outputs on the device as arrays."""
    expected, expected_gradient = yolov3_on_cpu(batch, **options)
    outputs, gradient = map(to_host, yolov3_on_device(*yolov3_tensors(batch), batch.anchors, **options))
    assert outputs.keys() == expected.keys()
    assert_equal(outputs["num_invalid"], expected["num_invalid"], "num_invalid")
    for name in ("selection", "objectness_gradient"):
        compare = assert_equal if name == "selection" else assert_close
        for scale, (actual, wanted) in enumerate(zip(outputs[name], expected[name], strict=True)):
            compare(actual, wanted, f"{name} of scale {scale}")
    for name, value in expected.items():
        if name not in ("selection", "objectness_gradient"):
            assert_close(outputs[name], value, name)
    for scale, (actual, wanted) in enumerate(zip(gradient, expected_gradient, strict=True)):
        assert_close(actual, wanted, f"gradient of scale {scale}")
    return outputs
