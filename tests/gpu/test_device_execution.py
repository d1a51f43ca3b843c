"""How the CUDA kernels run: the same bits every time, on any stream, in CUDA graphs, without waiting."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import device_checks
from detloss import _core, device
from device_checks import to_device, to_host
from device_comparison import assert_close, assert_same_bits, upstream_of
from ssd_cases import batch_for, ssd_batch, with_layout
from yolov3_cases import yolov3_batch

pytestmark = pytest.mark.gpu

RUNS = 20


def ssd_call(seed: int = 0, **options: Any) -> Callable[[], Any]:
    y_true, y_pred = batch_for(options, 8, 8732, classes=21, positive_share=0.004, seed=seed)
    tensors = [to_device(array) for array in (y_true, y_pred, upstream_of(y_true))]
    return lambda: device_checks.ssd_on_device(*tensors, **with_layout(options))


def mining_call(**options: Any) -> Callable[[], Any]:
    keys = np.random.default_rng(0).choice(np.arange(50, dtype=np.float32), (8, 8732))
    tensors = to_device(keys), to_device(np.full(8, 400.5, np.float32))
    return lambda: device.hard_negative_mask(*tensors, **options)


def yolov3_call(seed: int = 0, **options: Any) -> Callable[[], Any]:
    batch = yolov3_batch(4, ((13, 13), (26, 26), (52, 52)), 20, boxes=15, seed=seed)
    tensors = device_checks.yolov3_tensors(batch)
    return lambda: device_checks.yolov3_on_device(*tensors, batch.anchors, **options)


def mask_call() -> Callable[[], Any]:
    rng = np.random.default_rng(1)
    tensors = [to_device(rng.uniform(0.05, 0.9, (4, boxes, 4)).astype(np.float32)) for boxes in (3000, 300)]
    return lambda: device.yolo_ignore_mask(*tensors, ignore_thresh=0.3)


CALLS: dict[str, Callable[[], Callable[[], Any]]] = {
    "ssd": ssd_call,
    "ssd, per image": lambda: ssd_call(mining_scope="image", normalizer="image"),
    "ssd, uniform": lambda: ssd_call(mining_scope="image_uniform", n_neg_min=40),
    "ssd, logits": lambda: ssd_call(from_logits=True, rank_by="foreground"),
    "mining": mining_call,
    "mining, per image": lambda: mining_call(mining_scope="image"),
    "yolov3": yolov3_call,
    "yolov3, of all scales": lambda: yolov3_call(ignore_scope="image", box_loss="ciou"),
    "yolov3, focal": lambda: yolov3_call(class_focal=True, objectness_focal=True),
    "mask": mask_call,
}


@pytest.fixture(params=CALLS)
def call(request):
    return CALLS[request.param]()


def test_same_bits_in_every_run(call):
    expected = to_host(call())
    for result in [call() for _ in range(RUNS)]:
        assert_same_bits(to_host(result), expected)


def test_same_bits_with_other_values_in_the_memory(call):
    expected = to_host(call())
    for _ in device_checks.poisoned_memory():
        assert_same_bits(to_host(call()), expected)


def test_same_bits_on_another_stream(call):
    expected = to_host(call())
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        result = call()
    stream.synchronize()
    assert_same_bits(to_host(result), expected)


@pytest.mark.parametrize("make", [ssd_call, yolov3_call])
def test_two_streams_at_once(make):
    calls = [make(seed) for seed in (1, 2)]
    expected = [to_host(call()) for call in calls]
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in calls]
    results: list[list[Any]] = [[], []]
    for _ in range(RUNS):
        for call, stream, found in zip(calls, streams, results, strict=True):
            with torch.cuda.stream(stream):
                found.append(call())
    torch.cuda.synchronize()
    for found, wanted in zip(results, expected, strict=True):
        for result in found:
            assert_same_bits(to_host(result), wanted)


def test_a_call_waits_for_its_stream():
    """Labels that another kernel of the stream writes late."""
    y_true, y_pred = ssd_batch(2, 900)
    expected = to_host(device.ssd_loss_forward(to_device(y_true), to_device(y_pred)))
    late, ready = torch.zeros_like(to_device(y_true)), to_device(y_true)
    predictions = to_device(y_pred)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(int(2e8))
        late.copy_(ready)
        outputs = device.ssd_loss_forward(late, predictions)
    torch.cuda.synchronize()
    assert_same_bits(to_host(outputs), expected)


def test_calls_do_not_wait_for_the_device(call):
    for _ in range(3):
        kept = call()
    torch.cuda.synchronize()
    start = time.perf_counter()
    torch.cuda._sleep(int(2e9))  # a second, about
    finished = torch.cuda.Event()
    finished.record()
    kept = call()
    waited = finished.query()
    issued = time.perf_counter() - start
    torch.cuda.synchronize()
    assert not waited, f"the call returned after {issued:.3f} s, when the work before it had finished"
    del kept


def test_cuda_graph(call):
    expected = to_host(call())
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call()
    for _ in range(3):
        graph.replay()
        assert_same_bits(to_host(result), expected)


@pytest.mark.parametrize("index", [0, -1])
def test_every_device(index):
    """With one GPU, the one; with several, another one than the current."""
    number = range(torch.cuda.device_count())[index]
    y_true, y_pred = ssd_batch(2, 900)
    expected = _core.ssd_loss_forward(y_true, y_pred)
    tensors = [to_device(array).to(f"cuda:{number}") for array in (y_true, y_pred)]
    outputs = device.ssd_loss_forward(*tensors)
    assert outputs["loss"].device.index == number
    assert_close(to_host(outputs["loss"]), expected["loss"], "loss")


# The touch-only floor


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
@pytest.mark.parametrize("rows", [1, 33, 4000])
@pytest.mark.parametrize("from_logits", [False, True])
def test_floor_of_the_ssd_loss(from_logits, rows, dtype):
    classes = 9
    labels = torch.zeros((rows, classes + 12), device=device_checks.DEVICE)
    predictions = torch.zeros((rows, classes + 12), dtype=dtype, device=device_checks.DEVICE)
    gradient = torch.full_like(predictions, 7)
    seen = torch.zeros(1, dtype=torch.int32, device=device_checks.DEVICE)

    def touch(backward: bool) -> None:
        stream = torch.cuda.current_stream().cuda_stream if device_checks.DEVICE == "cuda" else 0
        arguments = labels, predictions, gradient, seen
        _core.device.touch_ssd_loss(*arguments, classes, from_logits, backward, stream)

    touch(backward=False)
    assert seen.item() == 0
    assert (gradient == 7).all()
    for tensor, row, column in [(labels, rows - 1, classes + 3), (labels, 0, 0), (predictions, rows // 2, 0)]:
        tensor[row, column] = 0.1  # not 1, whose first bytes are zeros
        touch(backward=False)
        assert seen.item() != 0
        tensor[row, column] = 0
        seen.zero_()
    touch(backward=True)
    written = gradient.view(torch.uint8).reshape(rows, -1)
    expected = torch.zeros_like(written)
    expected[::96, 0] = 1
    assert torch.equal(written, expected)


@pytest.mark.parametrize("class_focal", [False, True])
def test_floor_of_the_yolov3_loss(class_focal):
    rows, columns = 500, 25
    labels = torch.zeros((rows, columns), device=device_checks.DEVICE)
    logits, gradient = torch.zeros_like(labels), torch.full_like(labels, 7)
    seen = torch.zeros(1, dtype=torch.int32, device=device_checks.DEVICE)

    def touch(backward: bool) -> None:
        stream = torch.cuda.current_stream().cuda_stream if device_checks.DEVICE == "cuda" else 0
        _core.device.touch_yolov3_loss(labels, logits, gradient, seen, class_focal, backward, stream)

    labels[250, 4] = 1
    touch(backward=False)
    assert seen.item() != 0
    seen.zero_()
    labels[250, 4] = 0
    logits[499, 24 if class_focal else 4] = 1
    touch(backward=False)
    assert seen.item() != 0
    seen.zero_()
    touch(backward=True)
    assert (seen.item() != 0) == class_focal
    written = gradient.view(torch.uint8).reshape(rows, -1)
    assert (written[:, 0] == 1).all()
    assert (written[:, 1:] == int(class_focal)).all()
