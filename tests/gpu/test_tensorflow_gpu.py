"""The TensorFlow ops on a GPU: in every mode, what the originals, the definition and the CPU give."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import child_process
import detloss
import execution
from device_comparison import DTYPES, assert_close, assert_equal
from golden_yolov3 import all_golden_yolov3_cases
from ssd_cases import OPTION_SETS as SSD_OPTION_SETS
from ssd_cases import batch_for as ssd_batch_for
from ssd_cases import with_layout
from ssd_loss_checks import SSDLossChecks
from yolo_ignore_mask_checks import YoloIgnoreMaskChecks
from yolov3_cases import OPTION_SETS as YOLOV3_OPTION_SETS
from yolov3_cases import batch_for as yolov3_batch_for
from yolov3_loss_checks import YOLOv3LossChecks

pytestmark = pytest.mark.gpu

GPU, CPU = "/GPU:0", "/CPU:0"


def refused() -> Any:
    return pytest.raises(
        tf.errors.InvalidArgumentError, match=r"invalid_targets: expected .* on a GPU, .*check_targets"
    )


@pytest.fixture
def on_gpu() -> Iterator[None]:
    with tf.device(GPU):
        yield


# What every implementation has to show, on the GPU


@pytest.mark.usefixtures("on_gpu")
class TestSSDLossOnGPU(SSDLossChecks):
    ssd_loss = staticmethod(detloss.ssd_loss)

    @pytest.mark.parametrize("mode", execution.MODES)
    def test_invalid_labels_raise_on_request(self, mode):
        with refused():
            self.differentiate(*self.small_batch(), mode, invalid_targets="error")


@pytest.mark.usefixtures("on_gpu")
class TestYOLOv3LossOnGPU(YOLOv3LossChecks):
    yolov3_loss = staticmethod(detloss.yolov3_loss)

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("golden", all_golden_yolov3_cases())
    def test_golden(self, golden, mode):
        self.check_golden(golden, mode)

    @pytest.mark.parametrize("mode", execution.MODES)
    def test_invalid_labels_raise_on_request(self, mode):
        batch = yolov3_batch_for({})
        with refused():
            self.differentiate(batch.y_true, batch.y_pred, batch.anchors, mode, invalid_targets="error")

    def test_invalid_label_of_the_second_scale(self):
        pytest.skip("invalid labels raise on the CPU only")


@pytest.mark.usefixtures("on_gpu")
class TestYoloIgnoreMaskOnGPU(YoloIgnoreMaskChecks):
    yolo_ignore_mask = staticmethod(detloss.yolo_ignore_mask)


# Against the CPU


def on(device: str, mode: str, function: Callable[..., Any], *arrays: Any) -> Any:
    """The function's tensors as arrays, computed on a device, where eager calls must have been."""

    def placed(*tensors: Any) -> Any:
        with tf.device(device):
            return function(*tensors)

    with tf.device(device):
        result = execution.in_mode(mode, placed)(*tf.nest.map_structure(tf.constant, arrays))
    if mode == "eager":
        assert all(tensor.device.endswith(device[1:].upper()) for tensor in tf.nest.flatten(result))
    return tf.nest.map_structure(np.asarray, result)


def with_gradient(loss: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def function(y_true: Any, y_pred: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            value, components = loss(y_true, y_pred)
        return {"loss": value, **components}, tape.gradient(value, y_pred)

    return function


def check_against_the_cpu(mode: str, function: Callable[..., Any], *arrays: Any) -> None:
    actual, expected = (on(device, mode, function, *arrays) for device in (GPU, CPU))
    for found, wanted in zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True):
        assert_close(found, wanted)


@pytest.mark.parametrize("mode", execution.MODES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SSD_OPTION_SETS)
def test_ssd_loss(name, dtype, mode):
    options = SSD_OPTION_SETS[name]
    batch = ssd_batch_for(options, 4, 8732, dtype=dtype, positive_share=0.004)
    loss = functools.partial(detloss.ssd_loss, return_components=True, **with_layout(options))
    check_against_the_cpu(mode, with_gradient(loss), *batch)


@pytest.mark.parametrize("mode", execution.MODES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", YOLOV3_OPTION_SETS)
def test_yolov3_loss(name, dtype, mode):
    options = YOLOV3_OPTION_SETS[name]
    batch = yolov3_batch_for(options, images=3, grids=((13, 17), (26, 34)), boxes=9, fractional=True, dtype=dtype)
    loss = functools.partial(detloss.yolov3_loss, anchors=batch.anchors, return_components=True, **options)
    check_against_the_cpu(mode, with_gradient(loss), batch.y_true, batch.y_pred)


@pytest.mark.parametrize("mode", execution.MODES)
@pytest.mark.parametrize("mining_scope", ["batch", "image", "image_uniform"])
def test_hard_negative_mask(mining_scope, mode):
    keys = np.random.default_rng(0).choice(np.arange(50, dtype=np.float32), (4, 8732))
    positives = np.full(4, 400.5, np.float32)
    mask = functools.partial(detloss.hard_negative_mask, mining_scope=mining_scope)
    assert_equal(on(GPU, mode, mask, keys, positives), on(CPU, mode, mask, keys, positives))


def test_unknown_shapes_under_xla():
    signature = [tf.TensorSpec([None, None, 17], tf.float32)] * 2
    function = tf.function(with_gradient(_loss_and_components), jit_compile=True, input_signature=signature)
    for images, boxes in ((1, 50), (3, 900), (0, 10)):
        batch = ssd_batch_for({}, images, boxes, positive_share=0.1)
        with tf.device(GPU):
            actual = tf.nest.map_structure(np.asarray, function(*map(tf.constant, batch)))
        expected = on(CPU, "eager", with_gradient(_loss_and_components), *batch)
        for found, wanted in zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True):
            assert_close(found, wanted)


def _loss_and_components(y_true: Any, y_pred: Any) -> Any:
    return detloss.ssd_loss(y_true, y_pred, return_components=True)


@pytest.mark.parametrize("jit_compile", [False, True, "auto"])
def test_fit(jit_compile):
    """A model that trains on the GPU, where Keras compiles by itself."""
    import keras

    y_true, _ = ssd_batch_for({}, 16, 40, positive_share=0.1)
    inputs = keras.Input((8,))
    outputs = keras.layers.Reshape((40, 17))(keras.layers.Dense(40 * 17)(inputs))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", loss=detloss.SSDLoss(from_logits=True), jit_compile=jit_compile)
    features = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
    losses = model.fit(features, y_true, batch_size=8, epochs=4, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


# The same bits


@pytest.mark.parametrize("script", ["ssd_loss_hashes.py", "yolov3_loss_hashes.py"])
def test_same_bits_in_every_process_and_mode(script):
    """Ops of these processes run on the GPU, which is TensorFlow's choice where there is one."""
    first, again, deterministic = (child_process.run(script, 2, *flags) for flags in ((), (), ("deterministic",)))
    assert again == first
    assert deterministic == first
    cases = {key.rpartition(", ")[0] for key in first if ", " in key}
    assert cases
    for case, mode in itertools.product(cases, ("graph", "xla")):
        assert first[f"{case}, {mode}"] == first[f"{case}, eager"]
