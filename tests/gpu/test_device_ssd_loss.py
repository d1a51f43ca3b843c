"""The CUDA kernels of the SSD loss and of its mining, on tensors of PyTorch: what the CPU kernels give."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

import device_checks
from detloss import _core, device
from detloss.ssd_options import MINING_SCOPES, NORMALIZERS, RANKINGS
from device_checks import check_ssd, ssd_on_device, to_device, to_host
from device_comparison import DTYPES, assert_equal, assert_same_bits, upstream_of
from golden_cases import assert_golden_close, golden_cases
from ssd_cases import AWKWARD, LAYOUTS, OPTION_SETS, RYKOV8, batch_for, ssd_batch, with_layout

pytestmark = pytest.mark.gpu
poisoned_memory = pytest.fixture(autouse=True)(device_checks.poisoned_memory)


def check_golden(case: Any, **options: Any) -> None:
    arrays = case["y_true"], case["y_pred"], np.ones(len(case["y_pred"]), np.float32)
    outputs, gradient = map(to_host, ssd_on_device(*map(to_device, arrays), **options))
    assert_golden_close(outputs["loss"], case["loss"])
    assert_golden_close(gradient, case["grad_y_pred"])


@pytest.mark.parametrize("case", golden_cases("ssd_keras"))
def test_golden_ssd_keras(case):
    check_golden(case, **case.params)


@pytest.mark.parametrize("case", golden_cases("ssd_keras_rykov8"))
def test_golden_ssd_keras_rykov8(case):
    params = case.params
    check_golden(
        case,
        **RYKOV8,
        neg_pos_ratio=params["neg_pos_ratio"],
        n_neg_min=int(params["negatives_for_hard"]),
        alpha=params["alpha"],
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("from_logits", [False, True], ids=["probabilities", "logits"])
def test_every_combination_of_options(from_logits, layout):
    for index, (scope, ranking, normalizer) in enumerate(itertools.product(MINING_SCOPES, RANKINGS, NORMALIZERS)):
        options = dict(mining_scope=scope, rank_by=ranking, normalizer=normalizer)
        options.update(from_logits=from_logits, layout=layout, n_neg_min=index % 4, alpha=0.5 + index)
        check_ssd(*batch_for(options, 3, 40, seed=index), **with_layout(options))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTION_SETS)
def test_dtypes(name, dtype):
    options = OPTION_SETS[name]
    check_ssd(*batch_for(options, 3, 700, dtype=dtype, positive_share=0.1, seed=2), **with_layout(options))


@pytest.mark.parametrize("boxes", [1, 7, 255, 1025])
@pytest.mark.parametrize("images", [0, 1, 3])
@pytest.mark.parametrize("name", ["ssd_keras", "rykov8", "caffe"])
def test_shapes(name, images, boxes):
    options = OPTION_SETS[name]
    check_ssd(*batch_for(options, images, boxes, positive_share=0.3, seed=boxes), **with_layout(options))


@pytest.mark.parametrize("classes", [2, 3, 20, 21, 33, 81])
@pytest.mark.parametrize("from_logits", [False, True], ids=["probabilities", "logits"])
def test_numbers_of_classes(from_logits, classes):
    batch = ssd_batch(2, 300, classes, from_logits=from_logits, positive_share=0.2, seed=classes)
    check_ssd(*batch, from_logits=from_logits)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTION_SETS)
def test_ssd300(name, dtype):
    options = OPTION_SETS[name]
    batch = batch_for(options, 8, 8732, dtype=dtype, positive_share=0.004, neutral_share=0.004, seed=3)
    check_ssd(*batch, **with_layout(options))


@pytest.mark.parametrize("from_logits", [False, True], ids=["probabilities", "logits"])
def test_ssd512(from_logits):
    check_ssd(*ssd_batch(16, 24564, 81, from_logits=from_logits, positive_share=0.004), from_logits=from_logits)


@pytest.mark.parametrize("case", AWKWARD)
@pytest.mark.parametrize("mining_scope", MINING_SCOPES)
def test_awkward(case, mining_scope):
    check_ssd(*AWKWARD[case](), mining_scope=mining_scope)


@pytest.mark.parametrize("neg_pos_ratio, n_neg_min", [(0, 0), (0, 7), (0.1, 0), (0.4, 1), (1e30, 0), (1, 10**9)])
@pytest.mark.parametrize("mining_scope", MINING_SCOPES)
def test_number_of_negatives(mining_scope, neg_pos_ratio, n_neg_min):
    options = dict(mining_scope=mining_scope, neg_pos_ratio=neg_pos_ratio, n_neg_min=n_neg_min)
    check_ssd(*ssd_batch(2, 3000, positive_share=0.1, seed=4), **options)


@pytest.mark.parametrize("from_logits", [False, True], ids=["probabilities", "logits"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e4, -1e4])
def test_any_value_in_predictions(value, from_logits):
    y_true, y_pred = ssd_batch(4, 900, from_logits=from_logits, positive_share=0.1, seed=5)
    y_pred[np.random.default_rng(5).random(y_pred.shape) < 0.002] = value
    check_ssd(y_true, y_pred, from_logits=from_logits)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.5, -0.0])
def test_any_value_in_labels(value):
    y_true, y_pred = ssd_batch(4, 900, positive_share=0.1, seed=6)
    y_true[np.random.default_rng(6).random(y_true.shape) < 0.002] = value
    outputs = check_ssd(y_true, y_pred)
    assert (outputs["num_invalid"].sum() > 0) == (value != 0)


def test_subnormal_probabilities_rank():
    y_true, y_pred = ssd_batch(2, 20_000, positive_share=0.02)
    y_pred[..., 1:5] = 1e-41 * np.random.default_rng(0).integers(0, 3, (2, 20_000, 4))
    outputs = check_ssd(y_true, y_pred, rank_by="foreground", n_neg_min=30_000)
    assert outputs["n_kept"].sum() == 30_000


# Mining alone


def check_mask(keys: np.ndarray, n_positive: np.ndarray, **options: Any) -> np.ndarray:
    expected = _core.hard_negative_mask(keys, n_positive, **options)
    mask = to_host(device.hard_negative_mask(to_device(keys), to_device(n_positive), **options))
    assert_equal(mask, expected, "mask")
    return mask


def random_keys(images: int, boxes: int, dtype: Any = np.float32) -> np.ndarray:
    """A third of zeros, many ties, negative keys, and some of every special value."""
    rng = np.random.default_rng(boxes)
    keys = np.round(rng.normal(size=(images, boxes)), 1) * (rng.random((images, boxes)) > 0.3)
    special = rng.choice([np.nan, np.inf, -np.inf, -0.0, 1e-40, -1e-40], (images, boxes))
    return np.where(rng.random((images, boxes)) < 0.05, special, keys).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("boxes", [0, 1, 6, 1000, 24564])
@pytest.mark.parametrize("images", [0, 1, 5])
@pytest.mark.parametrize("mining_scope", MINING_SCOPES)
def test_mining(mining_scope, images, boxes, dtype):
    positives = np.arange(images).astype(np.float64 if dtype == np.float64 else np.float32)
    for ratio in (3.0, 0.2 * boxes):
        check_mask(random_keys(images, boxes, dtype), positives, mining_scope=mining_scope, neg_pos_ratio=ratio)


@pytest.mark.parametrize("mining_scope", MINING_SCOPES)
def test_mining_of_equal_keys_keeps_the_first(mining_scope):
    mask = check_mask(
        np.full((3, 9000), 0.25, np.float32), np.full(3, 1000, np.float32), mining_scope=mining_scope, neg_pos_ratio=2.0
    )
    kept = 6000 if mining_scope == "batch" else 2000
    expected = np.zeros((3, 9000), bool)
    expected.reshape((1, -1) if mining_scope == "batch" else (3, -1))[:, :kept] = True
    np.testing.assert_array_equal(mask, expected)


# Tensors and errors


def test_tensors_that_start_anywhere():
    """The rows of a slice of a larger tensor are aligned to their elements, and to nothing else."""
    y_true, y_pred = ssd_batch(3, 500, 4, positive_share=0.1, seed=7)
    expected = to_host(ssd_on_device(*map(to_device, (y_true, y_pred, upstream_of(y_true)))))

    def shifted(array: np.ndarray) -> Any:
        memory = torch.full((array.size + 1,), 7, dtype=to_device(array).dtype, device=device_checks.DEVICE)
        memory[1:] = to_device(array).flatten()
        return memory[1:].view(array.shape)

    actual = to_host(ssd_on_device(*map(shifted, (y_true, y_pred, upstream_of(y_true)))))
    assert_same_bits(actual, expected)


def test_predictions_of_a_model_require_a_gradient():
    y_true, y_pred = map(to_device, ssd_batch(2, 30))
    loss = device.ssd_loss_forward(y_true, y_pred.requires_grad_())["loss"]
    assert not loss.requires_grad


def test_errors():
    y_true, y_pred = map(to_device, ssd_batch(2, 30))
    with pytest.raises(ValueError, match=r"invalid_targets: expected .* on a GPU, got .*check_targets"):
        device.ssd_loss_forward(y_true, y_pred, invalid_targets="error")
    with pytest.raises(ValueError, match="y_true: expected a C-contiguous array"):
        device.ssd_loss_forward(y_true.transpose(0, 1).contiguous().transpose(0, 1), y_pred)
    with pytest.raises(ValueError, match="layout: expected class_column to name 5 columns"):
        device.ssd_loss_forward(y_true, y_pred, layout=dict(num_classes=None, class_column=20))
