"""`detloss.yolov3_loss`: the fused op."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import child_process
import detloss
import execution
import golden_yolov3
import yolov3_cases
from detloss import reference
from yolov3_cases import OPTION_SETS, batch_for
from yolov3_loss_checks import TOLERANCES, YOLOv3LossChecks


class TestYOLOv3Loss(YOLOv3LossChecks):
    yolov3_loss = staticmethod(detloss.yolov3_loss)

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("golden", golden_yolov3.all_golden_yolov3_cases())
    def test_golden(self, golden, mode):
        self.check_golden(golden, mode)

    @pytest.mark.parametrize("scope", ["scale", "image"])
    def test_thousands_of_true_boxes(self, scope):
        """More than any other implementation keeps; against the reference with room for all."""
        batch = yolov3_cases.yolov3_batch(2, ((30, 40), (60, 80)), boxes=(2500, 50), seed=50)
        arrays = batch.y_true, batch.y_pred, batch.anchors
        loss, _, gradient = self.differentiate(*arrays, ignore_scope=scope)
        with tf.GradientTape() as tape:
            logits = [tf.constant(scale) for scale in batch.y_pred]
            tape.watch(logits)
            expected = reference.yolov3_loss(batch.y_true, logits, batch.anchors, ignore_scope=scope, max_boxes=5000)
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
        for actual, slopes in zip(gradient, tape.gradient(expected, logits), strict=True):
            np.testing.assert_allclose(actual, slopes, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("mode", execution.MODES)
    def test_invalid_targets_raise(self, mode):
        batch = yolov3_cases.small_batch()
        batch.y_true[0][(*yolov3_cases.OBJECT, 2)] = -0.5
        with pytest.raises(tf.errors.InvalidArgumentError, match="expected width and height above 0"):
            self.differentiate(batch.y_true, batch.y_pred, batch.anchors, mode, invalid_targets="error")


# Equal inputs, equal bits


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", OPTION_SETS)
def test_same_bits_in_every_mode_and_run(name, dtype):
    options = OPTION_SETS[name]
    batch = batch_for(options, images=3, grids=((13, 17), (26, 34)), boxes=9, dtype=dtype, seed=51)
    upstream = tf.constant([1, -0.3, 7], batch.y_true[0].dtype)

    def loss_and_gradient(y_true, y_pred):
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            result = detloss.yolov3_loss(y_true, y_pred, batch.anchors, return_components=True, **options)
        return result, tape.gradient(result[0], y_pred, output_gradients=upstream)

    arrays = [[tf.constant(scale) for scale in scales] for scales in (batch.y_true, batch.y_pred)]
    calls = [execution.in_mode(mode, loss_and_gradient) for mode in execution.MODES]
    first, *others = [tf.nest.map_structure(np.asarray, call(*arrays)) for call in [*calls, *calls]]
    for other in others:
        execution.assert_same_bits(other, first)


@functools.cache
def hashes(threads: int, *flags: str) -> dict[str, Any]:
    return child_process.run("yolov3_loss_hashes.py", threads, *flags)


def test_same_bits_in_every_mode_of_a_process():
    found = hashes(2)
    cases = {key.rpartition(", ")[0] for key in found if ", " in key}
    assert len(cases) == 5
    for case in cases:
        assert found[f"{case}, eager"] == found[f"{case}, graph"] == found[f"{case}, xla"]


@pytest.mark.parametrize("threads", [1, 7])
def test_same_bits_for_any_number_of_threads(threads):
    assert hashes(threads) == hashes(2)


def test_op_determinism():
    assert hashes(2, "deterministic") == hashes(2)


# Which implementation, and what the graph knows


def test_reference_on_request(monkeypatch):
    batch = yolov3_cases.yolov3_batch()
    arguments = batch.y_true, batch.y_pred, batch.anchors
    options = dict(return_components=True, box_loss="giou", class_weights=(1, 2, 3), grid_sense=1.1)
    monkeypatch.setenv("DETLOSS_IMPL", "reference")
    actual = detloss.yolov3_loss(*arguments, **options)
    tf.nest.map_structure(np.testing.assert_array_equal, actual, reference.yolov3_loss(*arguments, **options))


def test_second_derivative_raises():
    batch = yolov3_cases.yolov3_batch(1)
    logits = tf.constant(batch.y_pred[0])
    with tf.GradientTape() as outer:
        outer.watch(logits)
        with tf.GradientTape() as inner:
            inner.watch(logits)
            loss = detloss.yolov3_loss(batch.y_true[0], logits, batch.anchors[0])
        gradient = inner.gradient(loss, logits)
    with pytest.raises(LookupError, match="yolov3_loss has no second derivative"):
        outer.gradient(gradient, logits)


@pytest.mark.parametrize("mode", execution.MODES)
def test_forward_mode_is_named(mode):
    """TensorFlow builds it from a second derivative, which its user never asked for."""
    batch = yolov3_cases.yolov3_batch(1)

    def directional_derivative(y_true, y_pred):
        with tf.autodiff.ForwardAccumulator(y_pred, tf.ones_like(y_pred)) as accumulator:
            loss = detloss.yolov3_loss(y_true, y_pred, batch.anchors[0])
        return accumulator.jvp(loss)

    with pytest.raises(LookupError, match=r"Forward-mode .*ForwardAccumulator\) is built from a second derivative"):
        execution.run(mode, directional_derivative, batch.y_true[0], batch.y_pred[0])


def test_unknown_shapes_are_inferred_as_far_as_they_can():
    anchors = yolov3_cases.yolov3_batch().anchors

    @tf.function(input_signature=[[tf.TensorSpec([None, None, None, 3, 8])] * 2, [tf.TensorSpec(None)] * 2])
    def loss(y_true, y_pred):
        value, components = detloss.yolov3_loss(y_true, y_pred, anchors, return_components=True)
        assert value.shape.as_list() == [None]
        assert components["num_invalid"].shape.rank == 1
        return value

    for images in (1, 3):
        batch = yolov3_cases.yolov3_batch(images)
        expected = detloss.yolov3_loss(batch.y_true, batch.y_pred, batch.anchors)
        np.testing.assert_array_equal(loss(batch.y_true, batch.y_pred), expected)


def test_shapes_are_checked_when_the_graph_is_built():
    @tf.function(input_signature=[tf.TensorSpec([None, 3, 4, 2, 8]), tf.TensorSpec([None, None, 4, 17])])
    def loss(y_true, y_pred):
        return detloss.yolov3_loss(y_true, y_pred, np.ones((2, 2)))

    with pytest.raises(ValueError, match=r"y_pred\[0\]: expected shape .* got \[\?,\?,4,17\]"):
        loss.get_concrete_function()
