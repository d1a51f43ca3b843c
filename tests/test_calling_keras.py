"""Every loss and layer refuses the Keras that it is not of, by name, and works in its own."""

from __future__ import annotations

import timeit

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf

import child_process
import detloss
import ssd_training
import yolov3_training
from detloss.keras_common import calling_keras

tf_keras = pytest.importorskip("tf_keras", reason="tf_keras is not installed")

LOSSES = {keras3: detloss.losses, tf_keras: detloss.tf_keras}
NAMES = {keras3: "detloss.", tf_keras: "detloss.tf_keras."}
ANCHORS = yolov3_training.anchors_by_scale(2)


@pytest.fixture(params=["keras", "tf_keras"])
def keras(request):
    return {"keras": keras3, "tf_keras": tf_keras}[request.param]


def other(keras):
    return tf_keras if keras is keras3 else keras3


def refusal(keras, name):
    """The text of the other Keras' class `name` in a model of `keras`."""
    kind = {keras3: "Keras 3", tf_keras: "tf_keras"}
    return (
        rf"{NAMES[other(keras)]}{name}: expected a model of {kind[other(keras)]}, got a .* {kind[keras]}, "
        rf"which weights and scales losses by other rules\. Use {NAMES[keras]}{name} there\."
    )


def ssd_model(keras, loss, mode="graph"):
    return ssd_training.compile_model(keras, ssd_training.build_model(keras), loss, mode)


def ssd_data(images=4):
    return ssd_training.features(images), ssd_training.labels(images)


def yolov3_losses(keras):
    return [LOSSES[keras].YOLOv3Loss(anchors, 3, stride=stride) for anchors, stride in zip(ANCHORS, (32, 16))]  # noqa: B905


@pytest.mark.parametrize("mode", ssd_training.MODES)
@pytest.mark.parametrize("call", ["fit", "evaluate", "train_on_batch"])
def test_the_other_keras_is_refused(keras, mode, call):
    model = ssd_model(keras, LOSSES[other(keras)].SSDLoss(), mode)
    with pytest.raises(TypeError, match=refusal(keras, "SSDLoss")):
        getattr(model, call)(*ssd_data())


@pytest.mark.parametrize("structure", ["list", "dict"])
def test_losses_of_several_outputs(keras, structure):
    def compiled(losses):
        model = yolov3_training.build_body(keras)
        by_name = dict(zip(("stride_32", "stride_16"), losses, strict=True))
        return yolov3_training.compile_model(keras, model, by_name if structure == "dict" else losses)

    data = yolov3_training.images(2), yolov3_training.labels(2)
    assert np.isfinite(compiled(yolov3_losses(keras)).evaluate(*data, verbose=0)).all()
    with pytest.raises(TypeError, match=refusal(keras, "YOLOv3Loss")):
        compiled(yolov3_losses(other(keras))).evaluate(*data, verbose=0)


@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
def test_nothing_is_saved_with_the_other_keras(keras, suffix, tmp_path):
    if keras is keras3 and not suffix:
        pytest.skip("Keras 3 saves no SavedModel")
    with pytest.raises(TypeError, match=refusal(keras, "SSDLoss")):
        ssd_model(keras, LOSSES[other(keras)].SSDLoss()).save(tmp_path / f"model{suffix}")


def test_custom_training_steps(keras):
    class Model(keras.Model):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = self.compute_own_loss(y, self(x, training=True))
            self.optimizer.apply_gradients(
                zip(tape.gradient(loss, self.trainable_variables), self.trainable_variables, strict=True)
            )
            return {"own": loss}

    for each in (keras, other(keras)):
        body = ssd_training.build_model(keras)
        model = Model(body.input, body.output)
        model.compute_own_loss = LOSSES[each].SSDLoss()
        model.compile(optimizer="sgd")
        if each is keras:
            assert np.isfinite(model.fit(*ssd_data(), verbose=0).history["own"]).all()
        else:
            with pytest.raises(TypeError, match=refusal(keras, "SSDLoss")):
                model.fit(*ssd_data(), verbose=0)


def test_layers_in_functional_models(keras):
    with pytest.raises(TypeError, match=refusal(keras, "YOLOv3LossLayer")):
        yolov3_training.build_layer_model(keras, LOSSES[other(keras)].YOLOv3LossLayer(ANCHORS, 3))


def test_layers_in_models_of_a_subclass(keras):
    class Model(keras.Model):
        def __init__(self, layer):
            super().__init__()
            self.body, self.loss_layer = yolov3_training.build_body(keras), layer

        def call(self, inputs):
            return self.loss_layer([self.body(inputs[0]), list(inputs[1:])])

    data = [yolov3_training.images(2), *yolov3_training.labels(2)]
    for each in (keras, other(keras)):
        model = yolov3_training.compile_model(keras, Model(LOSSES[each].YOLOv3LossLayer(ANCHORS, 3)))
        if each is keras:
            assert np.isfinite(model.fit(data, verbose=0).history["loss"]).all()
        else:
            with pytest.raises(TypeError, match=refusal(keras, "YOLOv3LossLayer")):
                model.fit(data, verbose=0)


def test_symbolic_tensors_outside_of_any_layer(keras):
    body = ssd_training.build_model(keras)
    labels = keras.Input((ssd_training.BOXES, ssd_training.WIDTH))
    with pytest.raises(TypeError, match=refusal(keras, "SSDLoss")):
        LOSSES[other(keras)].SSDLoss()(labels, body.output)
    if keras is tf_keras:
        model = keras.Model([labels, body.input], body.output)
        weights = np.array([1.0, 2.0, 0.0, 3.0], np.float32)
        model.add_loss(LOSSES[keras].SSDLoss()(labels, body.output, weights))
        model.compile("sgd")
        x, y = ssd_data()
        expected = np.mean(weights * detloss.ssd_loss(y, body(x)))
        assert model.evaluate([y, x], batch_size=4, verbose=0) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("autograph", [False, True])
@pytest.mark.parametrize("mode", ssd_training.MODES)
def test_plain_calls_of_both_work(keras, mode, autograph):
    loss = LOSSES[keras].SSDLoss()

    def call(y_true, y_pred, weights):
        return loss(y_true, y_pred, weights)

    function = call if mode == "eager" else tf.function(call, jit_compile=mode == "xla", autograph=autograph)
    y_true, y_pred = ssd_training.labels(4), ssd_training.predictions(4)
    weights = np.array([1.0, 2.0, 0.0, 3.0], np.float32)
    expected = np.mean(weights * detloss.ssd_loss(y_true, y_pred))
    np.testing.assert_allclose(function(*map(tf.constant, (y_true, y_pred, weights))), expected, rtol=1e-5)


def test_one_keras_inside_the_other(keras):
    """The nearer one is the caller."""
    losses = []

    class Callback(other(keras).callbacks.Callback):
        def on_epoch_end(self, *_):
            losses.append(ssd_model(keras, LOSSES[keras].SSDLoss()).evaluate(*ssd_data(), verbose=0))

    outer = ssd_model(other(keras), LOSSES[other(keras)].SSDLoss())
    outer.fit(*ssd_data(), callbacks=[Callback()], verbose=0)
    assert np.isfinite(losses).all()
    assert len(losses) == 1


def test_subclasses_are_refused_too(keras):
    class OwnLoss(LOSSES[other(keras)].SSDLoss):
        pass

    with pytest.raises(TypeError, match=refusal(keras, "SSDLoss")):
        ssd_model(keras, OwnLoss()).evaluate(*ssd_data())


def test_the_check_takes_microseconds():
    loss = detloss.SSDLoss()
    assert min(timeit.repeat(lambda: calling_keras.check_caller(loss, 1, 2), number=1000, repeat=5)) / 1000 < 100e-6


def test_replicas_of_the_other_keras_are_refused(keras):
    """Two replicas halved the loss without an error; the frames of a replica are those of a thread of its own."""
    assert child_process.run("refuse_on_replicas.py", keras.__name__) == {
        "SSDLoss": f"Use {NAMES[keras]}SSDLoss there.",
        "weights per box": "sample_weight: expected shape",
        "weights per box, drop-in": "sample_weight: expected shape",
        "weights for a layer": "sample_weight: expected as the third input",
    }
