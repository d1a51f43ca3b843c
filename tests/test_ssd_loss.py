"""`detloss.ssd_loss`, the fused op and its gradient."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import child_process
import detloss
import execution
import ssd_cases
import ssd_loss_checks
from detloss import reference
from ssd_loss_checks import BAD_SHAPE, BAD_SHAPES, LABELS, OPTION_SETS, TOLERANCES, SSDLossChecks


class TestSSDLoss(SSDLossChecks):
    ssd_loss = staticmethod(detloss.ssd_loss)

    @pytest.mark.parametrize("mode", ["graph", "xla"])
    @pytest.mark.parametrize("dtype", TOLERANCES)
    @pytest.mark.parametrize("name", OPTION_SETS)
    def test_dtypes_in_other_modes(self, name, dtype, mode):
        options = OPTION_SETS[name]
        self.check(*ssd_loss_checks.batch_for(options, 2, 60, dtype=dtype, positive_share=0.2, seed=2), mode, **options)

    @pytest.mark.parametrize("case", ssd_cases.AWKWARD)
    @pytest.mark.parametrize("mode", ["graph", "xla"])
    def test_awkward_in_other_modes(self, case, mode):
        self.check(*ssd_cases.AWKWARD[case](), mode, n_neg_min=5)

    @pytest.mark.parametrize("name", ["ssd_keras", "rykov8"])
    def test_ssd300_against_numpy(self, name):
        options = OPTION_SETS[name]
        self.check(*ssd_loss_checks.batch_for(options, 1, 8732, classes=21, positive_share=0.002), **options)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("name", OPTION_SETS)
    def test_ssd300_against_the_reference(self, name, dtype):
        options = ssd_loss_checks.with_layout(OPTION_SETS[name])
        batch = ssd_loss_checks.batch_for(OPTION_SETS[name], 3, 8732, dtype=dtype, positive_share=0.004)
        loss, components, gradient = self.differentiate(*batch, "graph", **options)
        (expected_loss, expected_components), expected_gradient = execution.value_and_gradient(
            "graph",
            lambda *labels_and_predictions: reference.ssd_loss(
                *labels_and_predictions, **options, return_components=True
            ),
            *batch,
        )
        ssd_loss_checks.assert_close(loss, expected_loss, dtype)
        ssd_loss_checks.assert_close(gradient, expected_gradient, dtype)
        assert components.keys() == expected_components.keys()
        for component, expected in expected_components.items():
            ssd_loss_checks.assert_close(components[component], expected, dtype)

    @pytest.mark.parametrize("label", [label for label, (*_, invalid) in LABELS.items() if invalid])
    def test_invalid_labels_raise_under_xla(self, label):
        box, column, value, _ = LABELS[label]
        y_true, y_pred = self.small_batch()
        y_true[1, box, column] = value
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            self.differentiate(y_true, y_pred, "xla", invalid_targets="error")
        ssd_loss_checks.assert_names_the_box(str(caught.value), 1, box, value)

    @pytest.mark.parametrize("mode", execution.MODES)
    def test_the_first_invalid_box_of_several_blocks_is_named(self, mode):
        y_true, y_pred = ssd_cases.ssd_batch(3, 5000)
        y_true[1, [3210, 4000], 0] = -2.5
        y_true[2, 7, 0] = np.nan
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            self.differentiate(y_true, y_pred, mode, invalid_targets="error")
        ssd_loss_checks.assert_names_the_box(str(caught.value), 1, 3210, -2.5)

    @pytest.mark.parametrize("mode", ["graph", "xla"])
    @pytest.mark.parametrize("case", BAD_SHAPES)
    def test_texts_of_bad_shapes_at_run_time(self, case, mode):
        true_shape, pred_shape, options, argument = BAD_SHAPES[case]
        unknown = tf.TensorSpec(None, tf.float32)
        function = execution.in_mode(
            mode, lambda y_true, y_pred: self.ssd_loss(y_true, y_pred, **options), input_signature=[unknown, unknown]
        )
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"{argument}.*: expected .* got "):
            function(np.zeros(true_shape, np.float32), np.zeros(pred_shape, np.float32))


# Finite differences


def separated_batch(options: dict[str, Any], seed: int) -> ssd_cases.Batch:
    """float64, with probabilities away from zero and offsets away from the kinks of smooth L1."""
    y_true, y_pred = ssd_loss_checks.batch_for(options, 3, 10, dtype=np.float64, positive_share=0.3, seed=seed)
    error = y_pred - y_true
    at_a_kink = np.abs(np.abs(error) - 1) < 0.01
    return y_true, y_pred + 0.05 * at_a_kink


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", OPTION_SETS)
def test_gradient_equals_finite_differences(name, seed):
    options = {**ssd_loss_checks.with_layout(OPTION_SETS[name]), "n_neg_min": 2}
    y_true, y_pred = separated_batch(OPTION_SETS[name], seed)
    upstream = np.array([1.0, -0.5, 2.0])

    def loss(predictions: np.ndarray) -> float:
        return float(upstream @ detloss.ssd_loss(y_true, predictions, **options).numpy())

    _, gradient = execution.value_and_gradient(
        "eager", lambda labels, predictions: detloss.ssd_loss(labels, predictions, **options), y_true, y_pred, upstream
    )
    step = 1e-5
    differences = np.zeros(y_pred.shape)
    for index in np.ndindex(y_pred.shape):
        higher, lower = y_pred.copy(), y_pred.copy()
        higher[index] += step
        lower[index] -= step
        differences[index] = (loss(higher) - loss(lower)) / (2 * step)
    np.testing.assert_array_equal(gradient[differences == 0], 0)
    np.testing.assert_allclose(gradient, differences, rtol=1e-6, atol=1e-6 * np.abs(gradient).max() * 1e-3)


@pytest.mark.parametrize("mode", execution.MODES)
def test_second_derivative_raises(mode):
    def second_derivative(y_true, y_pred):
        with tf.GradientTape() as outer:
            outer.watch(y_pred)
            with tf.GradientTape() as inner:
                inner.watch(y_pred)
                loss = detloss.ssd_loss(y_true, y_pred)
            gradient = inner.gradient(loss, y_pred)
        return outer.gradient(gradient, y_pred)

    with pytest.raises(LookupError, match="second derivative"):
        execution.run(mode, second_derivative, *ssd_cases.ssd_batch(2, 10))


@pytest.mark.parametrize("mode", execution.MODES)
def test_forward_mode_is_named(mode):
    """TensorFlow builds it from a second derivative, which its user never asked for."""

    def directional_derivative(y_true, y_pred):
        with tf.autodiff.ForwardAccumulator(y_pred, tf.ones_like(y_pred)) as accumulator:
            loss = detloss.ssd_loss(y_true, y_pred)
        return accumulator.jvp(loss)

    with pytest.raises(LookupError, match=r"Forward-mode .*ForwardAccumulator\) is built from a second derivative"):
        execution.run(mode, directional_derivative, *ssd_cases.ssd_batch(2, 10))


# Equal inputs, equal bits


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", OPTION_SETS)
def test_same_bits_in_every_mode_and_run(name, dtype):
    options = ssd_loss_checks.with_layout(OPTION_SETS[name])
    y_true, y_pred = ssd_loss_checks.batch_for(OPTION_SETS[name], 3, 2500, dtype=dtype, seed=8)
    upstream = np.array([1, -0.3, 7], y_true.dtype)

    def loss(y_true, y_pred):
        return detloss.ssd_loss(y_true, y_pred, return_components=True, **options)

    calls = [execution.differentiated(mode, loss) for mode in execution.MODES]
    first, *others = [call(y_true, y_pred, upstream) for call in [*calls, *calls]]
    for other in others:
        execution.assert_same_bits(other, first)


@pytest.mark.parametrize("dtype, smallest", [(np.float32, 1e-41), (np.float64, 1e-310)])
def test_subnormal_probabilities_rank_in_every_mode(dtype, smallest):
    """TensorFlow's threads flush subnormal numbers to zero, a caller's thread does not."""
    y_true, y_pred = ssd_cases.ssd_batch(2, 20_000, dtype=dtype, positive_share=0.02)
    y_pred[..., 1:5] = smallest * np.random.default_rng(0).integers(0, 3, (2, 20_000, 4))

    def loss(y_true, y_pred):
        return detloss.ssd_loss(y_true, y_pred, return_components=True, rank_by="foreground", n_neg_min=30_000)

    first, *others = [execution.value_and_gradient(mode, loss, y_true, y_pred) for mode in execution.MODES]
    assert first[0][1]["n_kept"].sum() == 30_000
    for other in others:
        execution.assert_same_bits(other, first)


@functools.cache
def hashes(threads: int, *flags: str) -> dict[str, Any]:
    return child_process.run("ssd_loss_hashes.py", threads, *flags)


def test_same_bits_in_every_mode_of_a_process():
    found = hashes(2)
    cases = {key.rpartition(", ")[0] for key in found if ", " in key}
    assert len(cases) == 7
    for case in cases:
        assert found[f"{case}, eager"] == found[f"{case}, graph"] == found[f"{case}, xla"]


@pytest.mark.parametrize("threads", [1, 7])
def test_same_bits_for_any_number_of_threads(threads):
    assert hashes(threads) == hashes(2)


def test_op_determinism():
    assert hashes(2, "deterministic") == hashes(2)


# Which implementation


def test_reference_on_request(monkeypatch):
    y_true, y_pred = ssd_cases.ssd_batch(2, 30)
    monkeypatch.setenv("DETLOSS_IMPL", "reference")
    loss, components = detloss.ssd_loss(y_true, y_pred, return_components=True, alpha=2, mining_scope="image")
    expected = reference.ssd_loss(y_true, y_pred, return_components=True, alpha=2, mining_scope="image")
    tf.nest.map_structure(np.testing.assert_array_equal, (loss, components), expected)


def test_unknown_implementation(monkeypatch):
    monkeypatch.setenv("DETLOSS_IMPL", "fast")
    with pytest.raises(ValueError, match=r"DETLOSS_IMPL: expected .* got 'fast'"):
        detloss.ssd_loss(*ssd_cases.ssd_batch(1, 3))


def test_gradient_op_checks_its_shapes():
    from detloss.ops import library

    y_true, y_pred = ssd_cases.ssd_batch(2, 5)
    arguments = dict(
        loss_gradient=np.ones(2, np.float32),
        y_true=y_true,
        y_pred=y_pred,
        n_pos=np.ones(2, np.float32),
        n_kept=np.ones(2, np.float32),
        selection=np.zeros((2, 5), np.uint8),
    )
    library.ops().detloss_ssd_loss_grad(**arguments)
    for name, wrong in [
        ("loss_gradient", np.ones(3, np.float32)),
        ("n_pos", np.ones(1, np.float32)),
        ("n_kept", np.ones((2, 1), np.float32)),
        ("selection", np.zeros((2, 4), np.uint8)),
        ("y_true", y_true[:, :4]),
    ]:
        with pytest.raises(BAD_SHAPE, match=f"{name}: expected .* got "):
            library.ops().detloss_ssd_loss_grad(**{**arguments, name: wrong})
