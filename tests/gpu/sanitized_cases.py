"""Small cases of every CUDA kernel, for compute-sanitizer: prints how many gave the right values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

import device_checks
import yolov3_cases
from detloss import _core, device
from device_checks import check_ssd, check_yolov3, to_device, to_host
from device_comparison import DTYPES, assert_equal
from ssd_cases import AWKWARD, OPTION_SETS, batch_for, ssd_batch, with_layout

_FEW_AWKWARD = ("no_objects", "one_box", "all_equal", "no_images", "no_boxes", "two_classes")


def ssd_cases() -> Iterator[None]:
    for options in OPTION_SETS.values():
        check_ssd(*batch_for(options, 2, 301, positive_share=0.1), **with_layout(options))
        yield
    for dtype in DTYPES:
        check_ssd(*ssd_batch(2, 70, 21, dtype=dtype, from_logits=True, positive_share=0.2), from_logits=True)
        check_ssd(*ssd_batch(2, 70, 21, dtype=dtype, positive_share=0.2))
        yield
    for name in _FEW_AWKWARD:
        check_ssd(*AWKWARD[name]())
        yield
    # More boxes than a block takes.
    check_ssd(*ssd_batch(2, 2500, 4, positive_share=0.02))
    yield


def mining_cases() -> Iterator[None]:
    for scope in ("batch", "image", "image_uniform"):
        for dtype in DTYPES:
            keys = np.random.default_rng(0).choice([0, 0.5, 1, 2.5], (3, 1300)).astype(dtype)
            positives = np.arange(3).astype(np.float64 if dtype == np.float64 else np.float32)
            options = dict(mining_scope=scope, neg_pos_ratio=100.0)
            mask = device.hard_negative_mask(to_device(keys), to_device(positives), **options)
            expected = _core.hard_negative_mask(keys, positives, **options)
            assert_equal(to_host(mask), expected)
            yield


def yolov3_loss_cases() -> Iterator[None]:
    for options in yolov3_cases.OPTION_SETS.values():
        check_yolov3(yolov3_cases.batch_for(options, boxes=6, fractional=True), **options)
        yield
    for dtype in DTYPES:
        check_yolov3(yolov3_cases.yolov3_batch(2, ((5, 7),), 33, boxes=9, dtype=dtype))
        yield
    for name in ("no_objects", "every_cell_an_object", "one_cell", "one_anchor", "no_images", "invalid_labels"):
        check_yolov3(yolov3_cases.AWKWARD[name]())
        yield


def mask_cases() -> Iterator[None]:
    rng = np.random.default_rng(1)
    for boxes, true_boxes in ((300, 270), (5, 0), (1, 1)):
        arrays = [rng.uniform(0.1, 0.8, (2, number, 4)).astype(np.float32) for number in (boxes, true_boxes)]
        mask = device.yolo_ignore_mask(*map(to_device, arrays))
        assert_equal(to_host(mask), _core.yolo_ignore_mask(*arrays))
        yield


def floor_cases() -> Iterator[None]:
    stream = torch.cuda.current_stream().cuda_stream if device_checks.DEVICE == "cuda" else 0
    for rows in (1, 33, 700):
        labels, predictions, gradient = (torch.ones((rows, 17), device=device_checks.DEVICE) for _ in range(3))
        seen = torch.zeros(1, dtype=torch.int32, device=device_checks.DEVICE)
        for backward in (False, True):
            _core.device.touch_ssd_loss(labels, predictions, gradient, seen, 5, True, backward, stream)
            _core.device.touch_yolov3_loss(labels, predictions, gradient, seen, True, backward, stream)
        yield


def main() -> None:
    counts: dict[str, Any] = {}
    for cases in (ssd_cases, mining_cases, yolov3_loss_cases, mask_cases, floor_cases):
        counts[cases.__name__] = sum(1 for _ in cases())
    if device_checks.DEVICE == "cuda":
        torch.cuda.synchronize()
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
