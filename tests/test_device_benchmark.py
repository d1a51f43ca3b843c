"""`detloss.benchmark.gpu`: the losses in PyTorch are the fused ones, and the command says what is missing.

Everything here runs on the CPU; what needs a GPU is measured by `make gpu-benchmark`.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from detloss import _core
from detloss.benchmark.presets import PRESETS, SSDPreset, YOLOv3Preset

SMALL_SSD = SSDPreset("small", boxes=900, classes=7)
SMALL_YOLOV3 = YOLOv3Preset("small", image_size=96, classes=5)
OPTIONS: dict[str, Any] = dict(from_logits=False, boxes_per_image=6, class_focal=False)

# Where TensorFlow is in the process already, PyTorch's libraries may not load beside it: only where it is installed.
has_torch = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not has_torch, reason="PyTorch is not installed, so that its losses did not run")


def make_case(preset: Any, dtype: str = "float32", batch: int = 3, **options: Any) -> Any:
    from detloss.benchmark.gpu.cases import make_case

    return make_case(preset, batch, dtype, **{**OPTIONS, **options})


def check_against_the_cpu_kernels(case: Any, implementation: str) -> None:
    import torch

    (batch,) = case.make_batches(0, lambda _: 1, target="cpu")
    loss, gradients = case.step(implementation, "forward_backward", "cpu")(batch)
    expected_loss, _, expected_gradients = case.on_cpu(batch)
    exact = case.dtype == "float64"
    np.testing.assert_allclose(loss.numpy(), expected_loss, rtol=1e-9 if exact else 1e-5)
    unit = {"float16": 1e-3, "bfloat16": 8e-3}.get(case.dtype, 1e-7 if exact else 1e-4)
    for gradient, expected, like in zip(gradients, expected_gradients, batch.predictions, strict=True):
        assert gradient.dtype == like.dtype
        wanted = expected.astype(np.float64).reshape(gradient.shape)
        largest = np.abs(wanted).max()
        assert largest > 0
        np.testing.assert_allclose(gradient.to(torch.float64).numpy(), wanted, rtol=unit, atol=1e-6 * largest)
    forward, nothing = case.step(implementation, "forward", "cpu")(batch)
    assert nothing == []
    assert torch.equal(forward, loss)


@needs_torch
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("implementation", ["torch", "torch-topk"])
def test_ssd_loss_in_torch(implementation, from_logits, dtype):
    case = make_case(SMALL_SSD, dtype, from_logits=from_logits)
    if case.why_not(implementation) is None:
        check_against_the_cpu_kernels(case, implementation)
    else:
        assert (implementation, dtype) in (("torch-topk", "float16"), ("torch-topk", "bfloat16"))


@needs_torch
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("preset", [SMALL_YOLOV3, PRESETS["yolov3-tiny-416-coco"]], ids=["three scales", "tiny"])
def test_yolov3_loss_in_torch(preset, dtype):
    check_against_the_cpu_kernels(make_case(preset, dtype), "torch")


@needs_torch
@pytest.mark.parametrize("boxes_per_image", [1, 200])
def test_yolov3_loss_in_torch_with_any_number_of_boxes(boxes_per_image):
    check_against_the_cpu_kernels(make_case(SMALL_YOLOV3, boxes_per_image=boxes_per_image), "torch")


@needs_torch
@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_preset_is_a_case(preset):
    case = make_case(preset, batch=1)
    (batch,) = case.make_batches(0, lambda _: 1, target="cpu")
    assert sum(rows.shape[0] for rows in batch.rows) == 2 * case.cells
    assert batch.gradient.nbytes == sum(scale.nbytes for scale in batch.predictions)
    assert all(scale.requires_grad for scale in batch.predictions)
    assert json.loads(json.dumps(case.describe()))["preset"] == preset.name
    assert case.why_not("fused") is None


@needs_torch
def test_batches_differ_and_repeat_their_images():
    case = make_case(SMALL_SSD, batch=40)
    first, second = case.make_batches(0, lambda _: 2, target="cpu")
    again, _ = case.make_batches(0, lambda _: 2, target="cpu")
    assert (first.labels[0] == again.labels[0]).all()
    assert (first.labels[0] != second.labels[0]).any()
    # Images that are there twice are told apart by their predictions.
    losses = case.on_cpu(first)[0]
    assert len(set(losses.tolist())) == 40


@needs_torch
def test_kernels_have_short_names():
    from detloss.benchmark.gpu.measurement import short_name

    assert short_name("void detloss::(anonymous namespace)::ReadRows<float, (int)3>(detloss::Rows<float>, int)") == (
        "ReadRows"
    )
    assert short_name("Memset (Device)") == "Memset"
    assert short_name("triton_poi_fused_add_0") == "triton_poi_fused_add_0"


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "detloss.benchmark.gpu", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_command_says_what_is_missing():
    if has_torch and hasattr(_core, "device"):
        import torch

        if torch.cuda.is_available():
            pytest.skip("nothing is missing here")
    done = run_command("--preset", "ssd300-voc")
    assert done.returncode == 2
    assert "detloss.benchmark.gpu: expected " in done.stderr
    assert "Traceback" not in done.stderr


def test_help_needs_no_framework():
    done = run_command("--help")
    assert done.returncode == 0
    assert "yolov3-608-coco" in done.stdout
