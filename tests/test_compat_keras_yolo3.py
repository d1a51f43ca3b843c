"""`detloss.compat.keras_yolo3`, the drop-in for qqwweee/keras-yolo3."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import child_process
import detloss
import execution
import yolov3_training
from detloss.compat.keras_yolo3 import take_prediction, yolo_loss
from detloss.reference import original
from golden_cases import assert_golden_close, golden_cases
from yolov3_training import ANCHORS, NUM_CLASSES


def original_yolo_loss(args, anchors, num_classes, ignore_thresh=0.5, print_loss=False):
    """The repository's own graph."""
    scales = len(args) // 2
    per_image = original.keras_yolo3_loss(args[scales:], args[:scales], anchors, num_classes, ignore_thresh)
    return tf.reduce_mean(per_image)[tf.newaxis]


@functools.cache
def training_with_the_original(keras: Any, scales: int = 2) -> yolov3_training.Training:
    model = yolov3_training.build_lambda_model(keras, original_yolo_loss, scales)
    return yolov3_training.fit_lambda_model(keras, model, "graph", scales)


@pytest.fixture(params=["keras", "tf_keras"])
def keras(request):
    return pytest.importorskip(request.param, reason=f"{request.param} is not installed")


@pytest.fixture
def arrays():
    """Labels and logits of two scales."""
    y_true = yolov3_training.labels(3)
    return y_true, yolov3_training.logits(y_true)


def loss_of(arrays, anchors=ANCHORS[:6], num_classes=NUM_CLASSES, **options):
    y_true, y_pred = arrays
    return yolo_loss([*y_pred, *y_true], anchors, num_classes, **options)


@pytest.mark.parametrize("mode", execution.MODES)
@pytest.mark.parametrize("case", golden_cases("keras_yolo3"))
def test_golden_cases(case, mode):
    options = {name: value for name, value in case.params.items() if name != "input_hw"}
    anchors = case["anchors"]
    y_true, y_pred = ([case[f"{name}_{i}"] for i in range(len(anchors) // 3)] for name in ("y_true", "y_pred"))
    loss, gradients = yolov3_training.value_and_gradients(
        mode, lambda *arrays: loss_of(arrays, anchors, **options), y_true, y_pred
    )
    assert loss.shape == (1,)
    assert_golden_close(loss[0], case["loss"])
    for scale, gradient in enumerate(gradients):
        assert_golden_close(gradient, case[f"grad_y_pred_{scale}"])


def test_signature_begins_with_the_originals():
    parameters = list(inspect.signature(yolo_loss).parameters.values())[:5]
    signature = inspect.Signature([parameter.replace(annotation=parameter.empty) for parameter in parameters])
    assert str(signature) == "(args, anchors, num_classes, ignore_thresh=0.5, print_loss=False)"


@pytest.mark.parametrize("mode", yolov3_training.MODES)
def test_trains_like_the_original(keras, mode):
    training = yolov3_training.fit_lambda_model(keras, yolov3_training.build_lambda_model(keras, yolo_loss), mode)
    training.assert_same(training_with_the_original(keras))
    assert training.loss[1] < 0.98 * training.loss[0]


def test_three_scales_train_like_the_original(keras):
    model = yolov3_training.build_lambda_model(keras, yolo_loss, scales=3)
    training = yolov3_training.fit_lambda_model(keras, model, scales=3)
    training.assert_same(training_with_the_original(keras, 3))


@pytest.mark.parametrize("dtype", [None, "float32"])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_trains_in_half_precision(keras, policy, dtype, monkeypatch):
    seen, yolov3_loss = set(), detloss.yolov3_loss

    def spy(y_true, y_pred, *args, **options):
        seen.update((*(labels.dtype.name for labels in y_true), *(outputs.dtype.name for outputs in y_pred)))
        return yolov3_loss(y_true, y_pred, *args, **options)

    monkeypatch.setattr(detloss, "yolov3_loss", spy)
    with yolov3_training.policy(keras, policy):
        model = yolov3_training.build_lambda_model(keras, yolo_loss, dtype=dtype)
        training = yolov3_training.fit_lambda_model(keras, model, "graph" if dtype else "xla")
    assert seen == {dtype or policy.removeprefix("mixed_")}
    training.assert_same(training_with_the_original(keras), rtol=2e-2)


def test_batch_and_image_size_change_while_training(keras):
    model = yolov3_training.build_lambda_model(keras, yolo_loss)
    yolov3_training.compile_model(keras, model, {"yolo_loss": take_prediction})
    for images, size in [(2, (64, 64)), (3, (96, 64)), (1, (64, 160)), (2, (64, 64))]:
        x = [yolov3_training.images(images, size), *yolov3_training.labels(images, size=size)]
        expected = original_yolo_loss([*model_outputs(model, x[0]), *x[1:]], ANCHORS[:6], NUM_CLASSES)
        loss = model.train_on_batch(x, np.zeros(images))
        np.testing.assert_allclose(loss, expected[0], rtol=1e-5)


def model_outputs(model, images):
    """The outputs of the body inside a training model."""
    outputs = model.get_layer("yolo_loss").input[:2]
    return type(model)(model.inputs[0], outputs)(images)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_models_of_the_original_repository_load(suffix, tmp_path):
    """tf_keras stores the function's bytecode: such a model goes on with the original loss."""
    import keras

    model = yolov3_training.build_lambda_model(keras, original_yolo_loss)
    yolov3_training.compile_model(keras, model, {"yolo_loss": take_prediction}).save(tmp_path / f"model{suffix}")
    restored = keras.models.load_model(tmp_path / f"model{suffix}", custom_objects={"original_yolo_loss": yolo_loss})
    assert restored.get_layer("yolo_loss").function is yolo_loss
    x, y = [yolov3_training.images(4), *yolov3_training.labels(4)], np.zeros(4)
    losses = [each.evaluate(x, y, batch_size=4, verbose=0) for each in (restored, model)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_models_compiled_with_a_lambda_load_uncompiled(tmp_path):
    import keras

    model = yolov3_training.build_lambda_model(keras, yolo_loss)
    yolov3_training.compile_model(keras, model, {"yolo_loss": lambda y_true, y_pred: y_pred})
    model.save(tmp_path / "model.keras")
    restored = keras.models.load_model(tmp_path / "model.keras", compile=False)
    x = [yolov3_training.images(4), *yolov3_training.labels(4)]
    np.testing.assert_allclose(restored(x), model(x), rtol=1e-6)


def test_exported_bodies_need_no_detloss(keras, tmp_path):
    body, y_true = yolov3_training.build_body(keras), yolov3_training.label_inputs(keras)
    arguments = {"anchors": ANCHORS[:6], "num_classes": NUM_CLASSES}
    loss = keras.layers.Lambda(yolo_loss, output_shape=(1,), name="yolo_loss", arguments=arguments)
    model = keras.Model([body.input, *y_true], loss([*body.outputs, *y_true]))
    yolov3_training.fit_lambda_model(keras, model)
    body.export(tmp_path / "exported")
    ops = yolov3_training.graph_ops(tmp_path / "exported")
    assert "Conv2D" in ops
    assert not any(op.startswith("Detloss") for op in ops)


@pytest.mark.parametrize("registry", ["keras", "tf_keras"])
def test_functions_are_registered(registry):
    saving = pytest.importorskip(registry, reason=f"{registry} is not installed").saving
    for function in (yolo_loss, take_prediction):
        assert saving.get_registered_name(function) == f"detloss>{function.__name__}"
        assert saving.get_registered_object(f"detloss>{function.__name__}") is function


@pytest.mark.parametrize(
    "kind",
    [
        np.ndarray.tolist,
        tf.constant,
        lambda anchors: {"class_name": "__numpy__", "config": {"value": anchors.tolist(), "dtype": "float32"}},
        lambda anchors: {"type": "ndarray", "value": anchors.tolist()},
    ],
    ids=["list", "tensor", "numpy as Keras serialises it", "numpy as tf_keras serialised it"],
)
def test_anchors_of_any_kind(arrays, kind):
    np.testing.assert_array_equal(loss_of(arrays, kind(ANCHORS[:6])), loss_of(arrays))


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_prints_the_loss(arrays, mode, capfd):
    function = execution.in_mode(mode, lambda: loss_of(arrays, print_loss=True))
    loss = function().numpy()
    # TensorFlow may log before it, where this test is the first.
    (printed,) = (line for line in capfd.readouterr().err.splitlines() if line.startswith("loss: "))
    names, numbers = printed.split()[::2], [float(word) for word in printed.split()[1::2]]
    assert names == ["loss:", "xy:", "wh:", "confidence:", "class:"]
    assert numbers[0] == pytest.approx(loss[0], rel=1e-5)
    assert sum(numbers[1:]) == pytest.approx(loss[0], rel=1e-5)


def test_prints_the_loss_in_graphs_of_tensorflow_1(arrays, capfd):
    """They run only what their results depend on."""
    with tf.Graph().as_default():
        loss = loss_of(arrays, print_loss=True)
        with tf.compat.v1.Session() as session:
            value = session.run(loss)
    (printed,) = (line for line in capfd.readouterr().err.splitlines() if line.startswith("loss: "))
    assert float(printed.split()[1]) == pytest.approx(value[0], rel=1e-5)


def test_prints_the_loss_where_eager_execution_is_off():
    """A training model of tf_keras in the mode of TensorFlow 1, as `disable_eager_execution` leaves it."""
    pytest.importorskip("tf_keras", reason="tf_keras is not installed")
    shown, printed = child_process.run("train_without_eager_execution.py")
    assert len(printed) == 2
    assert printed[0] == pytest.approx(shown, rel=1e-5)


def test_print_loss_is_a_warning_under_xla(arrays, capfd):
    function = execution.in_mode("xla", lambda: loss_of(arrays, print_loss=True))
    with pytest.warns(UserWarning, match="print_loss"):
        loss = function()
    np.testing.assert_allclose(loss, loss_of(arrays), rtol=1e-6)
    assert "loss:" not in capfd.readouterr().err


def test_every_scale_has_a_gradient_op_of_its_own():
    """oneDNN joins a convolution's weight gradient with a bias gradient by the op that both come from.

    Two convolutions whose gradients are outputs of one op may then get each other's bias gradient, in graphs on CPUs.
    """
    y_true = yolov3_training.labels(1)
    with tf.Graph().as_default():
        y_pred = [tf.constant(each) for each in yolov3_training.logits(y_true)]
        gradients = tf.gradients(loss_of((y_true, y_pred)), y_pred)
        assert len({gradient.op.name for gradient in gradients}) == len(y_pred)


def test_graphs_give_each_bias_its_gradient(keras):
    body = yolov3_training.build_body(keras)
    images, y_true = yolov3_training.images(4), yolov3_training.labels(4)

    def gradients():
        with tf.GradientTape() as tape:
            loss = loss_of((y_true, body(images)))
        return tape.gradient(loss, [variable for layer in body.layers for variable in layer.trainable_variables])

    for in_graph, eager in zip(tf.function(gradients)(), gradients(), strict=True):
        np.testing.assert_allclose(in_graph, eager, rtol=1e-4, atol=1e-5)


def test_no_images():
    y_true = [labels[:0] for labels in yolov3_training.labels(1)]
    loss, gradients = yolov3_training.value_and_gradients(
        "eager", lambda *arrays: loss_of(arrays), y_true, yolov3_training.logits(y_true)
    )
    assert loss.tolist() == [0]
    assert [gradient.shape[0] for gradient in gradients] == [0, 0]


def test_invalid_targets(arrays):
    arrays[0][1][0, 1, 2, 1] = [0.4, 0.4, 0, 0.2, 1, 1, 0, 0]
    assert np.isfinite(loss_of(arrays)).all()
    with pytest.raises(tf.errors.InvalidArgumentError):
        loss_of(arrays, invalid_targets="error")


@pytest.mark.parametrize(
    "anchors, message",
    [
        (ANCHORS[:7], "anchors: expected 9 or 6 anchors, got 7"),
        (ANCHORS[:3], "anchors: expected 9 or 6 anchors, got 3"),
        (ANCHORS, "args: expected 3 outputs and as many labels for 9 anchors, got 4 tensors"),
        (ANCHORS[:6].reshape(2, 3, 2), r"anchors: expected shape \[9, 2\] or \[6, 2\], got \[2, 3, 2\]"),
    ],
)
def test_wrong_anchors(arrays, anchors, message):
    with pytest.raises(ValueError, match=message):
        loss_of(arrays, anchors)


def test_wrong_number_of_classes(arrays):
    with pytest.raises(
        ValueError, match=r"y_pred\[0\]: expected 27 columns for num_classes=4 and 3 anchors, got shape"
    ):
        loss_of(arrays, num_classes=4)
