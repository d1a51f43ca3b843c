"""`detloss._core`: the CPU kernels on NumPy arrays give what the TensorFlow ops give, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ml_dtypes import bfloat16

import detloss
from detloss import _core
from detloss.ops import library
from ssd_cases import ssd_batch

OUTPUTS = ("loss", "positive", "negative", "localization", "n_pos", "n_kept", "num_invalid", "selection")


def typical_batch(dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    label_dtype = np.float64 if dtype == np.float64 else np.float32
    y_true, y_pred = ssd_batch(3, 1500, seed=1)
    return y_true.astype(label_dtype), y_pred.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, bfloat16])
@pytest.mark.parametrize("threads", [1, 2, 7])
def test_forward_and_backward_equal_the_ops(dtype: Any, threads: int) -> None:
    y_true, y_pred = typical_batch(dtype)
    options = dict(neg_pos_ratio=2.0, n_neg_min=7, alpha=1.5)
    with tf.GradientTape() as tape:
        predictions = tf.constant(y_pred)
        tape.watch(predictions)
        loss = detloss.ssd_loss(y_true, predictions, **options)
    gradient = tape.gradient(loss, predictions)
    raw = library.ops().detloss_ssd_loss(y_true=y_true, y_pred=y_pred, **options)

    forward = _core.ssd_loss_forward(y_true, y_pred, **options, threads=threads)
    for name in OUTPUTS:
        assert forward[name].tobytes() == getattr(raw, name).numpy().tobytes(), name
    backward = _core.ssd_loss_backward(
        np.ones_like(forward["loss"]),
        y_true,
        y_pred,
        forward["n_pos"],
        forward["n_kept"],
        forward["selection"],
        alpha=1.5,
        threads=threads,
    )
    assert backward.dtype == y_pred.dtype
    assert backward.tobytes() == gradient.numpy().tobytes()


def test_hard_negative_mask_equals_the_op() -> None:
    losses = np.random.default_rng(0).integers(0, 9, (3, 40)).astype(np.float32)
    positives = np.array([1, 0, 3], np.float32)
    mask = _core.hard_negative_mask(losses, positives, neg_pos_ratio=2.0, mining_scope="image")
    assert np.array_equal(mask, detloss.hard_negative_mask(losses, positives, neg_pos_ratio=2.0, mining_scope="image"))
    assert mask.sum(1).tolist() == [2, 0, 6]


def test_layout_columns() -> None:
    y_true, y_pred = typical_batch(np.float32)
    num_classes = y_true.shape[-1] - 12
    expected = _core.ssd_loss_forward(y_true, y_pred)["loss"]
    order = np.r_[num_classes : num_classes + 4, 0:num_classes]
    moved = _core.ssd_loss_forward(
        np.ascontiguousarray(y_true[..., order]),
        np.ascontiguousarray(y_pred[..., order]),
        num_classes=num_classes,
        class_column=4,
        box_column=0,
    )["loss"]
    assert moved.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "change, error, text",
    [
        (
            dict(y_pred=np.zeros((2, 3), np.float32)),
            ValueError,
            r"y_pred: expected shape \(batch, boxes, width\), got \(2, 3\)",
        ),
        (dict(y_pred=np.zeros((1, 2, 15), np.int32)), TypeError, "y_pred: expected dtype float32, .* got int32"),
        (dict(y_true=np.zeros((1, 2, 15))), TypeError, "y_true: expected dtype float32, got float64"),
        (
            dict(y_true=np.zeros((1, 3, 15), np.float32)),
            ValueError,
            r"y_true: expected shape \(1, 2, 15\), got \(1, 3, 15\)",
        ),
        (
            dict(y_true=np.zeros((1, 15, 2), np.float32).transpose(0, 2, 1)),
            ValueError,
            "y_true: expected a C-contiguous array",
        ),
        (dict(mining_scope="world"), ValueError, "mining_scope: expected one of .*'batch'.*, got 'world'"),
        (dict(neg_pos_ratio=-1.0), ValueError, "neg_pos_ratio: expected a finite number of at least 0, got -1"),
        (dict(alpha=float("nan")), ValueError, "alpha: expected a finite number of at least 0, got nan"),
        (dict(num_classes=1), ValueError, "layout: expected at least 2 classes"),
        (dict(box_column=12), ValueError, "layout: expected box_column to name 4 columns within a row of 15"),
        (dict(threads=-1), ValueError, "threads: expected at least 0, got -1"),
    ],
)
def test_bad_input(change: dict[str, Any], error: type[Exception], text: str) -> None:
    arguments: dict[str, Any] = dict(y_true=np.zeros((1, 2, 15), np.float32), y_pred=np.zeros((1, 2, 15), np.float32))
    with pytest.raises(error, match=text):
        _core.ssd_loss_forward(**{**arguments, **change})
