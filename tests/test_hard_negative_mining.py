"""`detloss.hard_negative_mask`, fused and reference, against a stable sort."""

from __future__ import annotations

from typing import Any

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

import detloss
import execution
import numpy_ssd_loss
from detloss import reference
from detloss.ssd_options import MINING_SCOPES

DTYPES = (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)
BAD_SHAPE = (ValueError, tf.errors.InvalidArgumentError)

IMPLEMENTATIONS = {"fused": detloss.hard_negative_mask, "reference": reference.hard_negative_mask}


@pytest.fixture(params=IMPLEMENTATIONS)
def hard_negative_mask(request):
    return IMPLEMENTATIONS[request.param]


def check(
    hard_negative_mask: Any, keys: np.ndarray, n_positive: np.ndarray, mode: str = "eager", **options: Any
) -> None:
    mask = execution.run(mode, lambda *tensors: hard_negative_mask(*tensors, **options), keys, n_positive)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, numpy_ssd_loss.hard_negative_mask(keys, n_positive, **options))


def random_keys(images: int, boxes: int, seed: int = 0) -> np.ndarray:
    """A third of zeros, many ties, negative keys, and some of every special value."""
    rng = np.random.default_rng(seed)
    keys = np.round(rng.normal(size=(images, boxes)), 1) * (rng.random((images, boxes)) > 0.3)
    special = rng.choice([np.nan, np.inf, -np.inf, -0.0, 1e-40, -1e-40], (images, boxes))
    return np.where(rng.random((images, boxes)) < 0.05, special, keys).astype(np.float32)


@pytest.mark.parametrize("mining_scope", MINING_SCOPES)
@pytest.mark.parametrize("boxes", [0, 1, 6, 300])
@pytest.mark.parametrize("images", [0, 1, 4])
def test_shapes(hard_negative_mask, images, boxes, mining_scope):
    n_positive = np.arange(images, dtype=np.float32)
    for seed in range(5):
        check(hard_negative_mask, random_keys(images, boxes, seed), n_positive, mining_scope=mining_scope)


@pytest.mark.parametrize("mode", ["graph", "xla"])
@pytest.mark.parametrize("mining_scope", MINING_SCOPES)
def test_modes(hard_negative_mask, mining_scope, mode):
    check(hard_negative_mask, random_keys(3, 200), np.array([0, 4, 9]), mode, mining_scope=mining_scope)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mining_scope", MINING_SCOPES)
def test_dtypes(hard_negative_mask, mining_scope, dtype):
    keys = random_keys(3, 200).astype(dtype)
    check(hard_negative_mask, keys, np.array([1, 4, 9]), mining_scope=mining_scope)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neighbouring_numbers(hard_negative_mask, dtype):
    """Keys that differ in the last bit only, on both sides of zero and around powers of two."""
    places = np.array([-2, -1, -1e-300 if dtype == np.float64 else -1e-38, 0, 1e-30, 1, 2, 1e30], dtype)
    keys = np.concatenate([places, np.nextafter(places, dtype(np.inf)), np.nextafter(places, -dtype(np.inf))])
    keys = np.random.default_rng(0).permutation(np.tile(keys, 4))[None]
    for n_positive in range(0, keys.size, 5):
        check(hard_negative_mask, keys, np.array([n_positive]), neg_pos_ratio=1)


@pytest.mark.parametrize("mining_scope", MINING_SCOPES)
def test_many_boxes(hard_negative_mask, mining_scope):
    """Enough for several tasks of counting, with ties that cross from one to the next."""
    keys = np.random.default_rng(1).choice(np.linspace(0, 9, 40, dtype=np.float32), (4, 30_000))
    check(hard_negative_mask, keys, np.array([900, 1100.5, 1000, 1500]), mining_scope=mining_scope)


@pytest.mark.parametrize("value", [0.0, -1.0, 2.5, np.nan, np.inf])
@pytest.mark.parametrize("mining_scope", MINING_SCOPES)
def test_all_equal(hard_negative_mask, mining_scope, value):
    check(hard_negative_mask, np.full((3, 20), value, np.float32), np.array([1, 2, 0]), mining_scope=mining_scope)


@pytest.mark.parametrize("mode", execution.MODES)
@pytest.mark.parametrize("mining_scope", MINING_SCOPES)
@pytest.mark.filterwarnings("ignore:overflow")
def test_no_ratio_and_positives_beyond_float32(hard_negative_mask, mining_scope, mode):
    keys = np.arange(1, 9, dtype=np.float32).reshape(2, 4)
    for n_positive in (np.array([3e38, 3e38], np.float32), np.array([1.0, 2e38], np.float32)):
        options = dict(mining_scope=mining_scope, neg_pos_ratio=0, n_neg_min=2)
        check(hard_negative_mask, keys, n_positive, mode, **options)
    mask = execution.run(mode, lambda *tensors: hard_negative_mask(*tensors, **options), keys, n_positive)
    assert mask.sum() == (2 if mining_scope == "batch" else 4)


def test_zeros_outrank_negative_keys(hard_negative_mask):
    keys = np.array([[-1, 0, -2, 3, -0.0]], np.float32)
    mask = hard_negative_mask(keys, [3.0], neg_pos_ratio=1)
    assert mask.numpy().tolist() == [[False, True, False, True, True]]


@hypothesis.given(data=st.data())
@hypothesis.settings(deadline=None, max_examples=150, derandomize=True)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_any_input(implementation, data):
    shape = data.draw(st.tuples(st.integers(0, 4), st.integers(0, 24)))
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    number = st.floats(width=32, allow_subnormal=False) | st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-40, np.nan])
    keys = data.draw(hypothesis.extra.numpy.arrays(dtype, shape, elements=number))
    n_positive = data.draw(hypothesis.extra.numpy.arrays(np.float32, shape[:1], elements=st.floats(0, 30, width=32)))
    options = dict(
        mining_scope=data.draw(st.sampled_from(MINING_SCOPES)),
        neg_pos_ratio=data.draw(st.sampled_from([0, 0.1, 0.5, 1, 3, 1e6])),
        n_neg_min=data.draw(st.sampled_from([0, 1, 5, 10**6])),
    )
    check(IMPLEMENTATIONS[implementation], keys, n_positive, **options)


@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_unknown_static_shapes(hard_negative_mask, mode):
    signature = [tf.TensorSpec([None, None], tf.float32), tf.TensorSpec([None], tf.float32)]
    function = execution.in_mode(mode, hard_negative_mask, input_signature=signature)
    for images, boxes in [(2, 30), (3, 11)]:
        keys, n_positive = random_keys(images, boxes), np.arange(images, dtype=np.float32)
        np.testing.assert_array_equal(function(keys, n_positive), numpy_ssd_loss.hard_negative_mask(keys, n_positive))


def test_has_no_gradient(hard_negative_mask):
    keys, n_positive = tf.constant(random_keys(2, 9)), tf.constant([1.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch([keys, n_positive])
        kept = tf.reduce_sum(tf.cast(hard_negative_mask(keys, n_positive), tf.float32))
    assert tape.gradient(kept, [keys, n_positive]) == [None, None]


@pytest.mark.parametrize(
    "keys_shape, n_positive_shape, argument",
    [
        ((4,), (4,), "negative_loss"),
        ((2, 3, 4), (2,), "negative_loss"),
        ((2, 3), (3,), "n_positive"),
        ((2, 3), (2, 1), "n_positive"),
    ],
)
def test_bad_shapes(hard_negative_mask, keys_shape, n_positive_shape, argument):
    keys, n_positive = np.zeros(keys_shape, np.float32), np.zeros(n_positive_shape, np.float32)
    with pytest.raises(BAD_SHAPE, match=f"{argument}: expected .* got "):
        hard_negative_mask(keys, n_positive)
    with pytest.raises(ValueError, match=argument):
        execution.in_mode("graph", hard_negative_mask).get_concrete_function(keys, n_positive)
    unknown = tf.TensorSpec(None, tf.float32)
    function = execution.in_mode("graph", hard_negative_mask, input_signature=[unknown, unknown])
    with pytest.raises(tf.errors.InvalidArgumentError):
        function(keys, n_positive)


@pytest.mark.parametrize(
    "option, value", [("neg_pos_ratio", -0.5), ("neg_pos_ratio", np.nan), ("n_neg_min", -1), ("mining_scope", "boxes")]
)
def test_bad_options(hard_negative_mask, option, value):
    with pytest.raises(ValueError, match=f"{option}: expected .* got "):
        hard_negative_mask(np.zeros((2, 3), np.float32), np.zeros(2), **{option: value})


def test_bad_dtypes(hard_negative_mask):
    with pytest.raises(TypeError, match=r"negative_loss: expected .* got int32"):
        hard_negative_mask(np.zeros((2, 3), np.int32), np.zeros(2))
    with pytest.raises(TypeError, match=r"n_positive: expected .* got string"):
        hard_negative_mask(np.zeros((2, 3), np.float32), ["one", "two"])
