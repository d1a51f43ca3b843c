"""Weights of the images: the shapes that every loss takes, and what is said about all others."""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import pytest
import tensorflow as tf

import detloss
import execution
import ssd_training
import yolov3_cases
import yolov3_training
from detloss.compat import keras_yolo3, keras_yolov3_model_set, ssd_keras, ssd_keras_rykov8, yolov3_tf2
from detloss.keras_common.image_weights import as_image_weights

EXPECTED = r"sample_weight: expected shape \[batch\], \[batch, 1\] or a scalar, got"
SHAPES = [(), (0,), (1,), (2,), (3,), (0, 1), (1, 1), (3, 1), (1, 3), (3, 3), (1, 24), (3, 24), (3, 2, 2, 3)]
ANCHORS = yolov3_training.anchors_by_scale(2)
STRIDES = yolov3_training.STRIDES[:2]


@pytest.fixture(params=["keras", "tf_keras"])
def keras(request):
    return pytest.importorskip(request.param, reason=f"{request.param} is not installed")


def losses_of(keras):
    return importlib.import_module("detloss.losses" if keras.__name__ == "keras" else "detloss.tf_keras")


def signature(shape, known):
    """How much a function knows of a shape: all of it, its rank, or nothing."""
    return {"shape": shape, "rank": [None] * len(shape), "nothing": None}[known]


@pytest.mark.parametrize("known", ["shape", "rank", "nothing"])
@pytest.mark.parametrize("mode", execution.MODES)
def test_one_value_per_image_or_an_error(mode, known):
    for batch in (0, 1, 3):
        for shape in SHAPES:
            weights = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
            specs = [tf.TensorSpec(signature(each, known), tf.float64) for each in (shape, (batch, 2))]
            options = {} if mode == "eager" else {"input_signature": specs}
            function = execution.in_mode(mode, lambda w, p: as_image_weights(w, p), **options)
            arguments = tf.constant(weights), tf.zeros((batch, 2), tf.float64)
            if shape in ((), (batch,), (batch, 1)):
                np.testing.assert_array_equal(function(*arguments), np.broadcast_to(weights.ravel(), batch))
                continue
            error = ValueError if mode == "eager" or known == "shape" else (ValueError, tf.errors.InvalidArgumentError)
            # XLA drops the assertion that names the shapes, but not the scope of what fails then.
            text = "sample_weight" if mode == "xla" else "sample_weight: expected shape"
            with pytest.raises(error, match=text):
                function(*arguments)


def ssd(images):
    return ssd_training.labels(images), ssd_training.predictions(images)


def yolov3(images):
    labels = yolov3_training.labels(images)
    return labels[0], yolov3_training.logits(labels)[0]


def yolov3_corners(images):
    labels, logits = yolov3(images)
    return yolov3_cases.to_corners(labels).astype(np.float32), logits.reshape(labels.shape)


CALLABLES = {
    "ssd_keras": (lambda: ssd_keras.SSDLoss().compute_loss, ssd),
    "ssd_keras_rykov8": (
        lambda: ssd_keras_rykov8.MultiboxLoss(ssd_training.NUM_CLASSES).compute_loss,
        lambda images: (
            ssd_training.labels(images, "ssd_keras_rykov8"),
            ssd_training.predictions(images, "ssd_keras_rykov8"),
        ),
    ),
    "yolov3_tf2": (lambda: yolov3_tf2.YoloLoss(ANCHORS[0] / 96, yolov3_training.NUM_CLASSES), yolov3_corners),
}
CLASSES = {
    "SSDLoss": (lambda losses: losses.SSDLoss(reduction="none"), ssd),
    "YOLOv3Loss": (
        lambda losses: losses.YOLOv3Loss(ANCHORS[0], yolov3_training.NUM_CLASSES, stride=32, reduction="none"),
        yolov3,
    ),
}
# At these batch sizes the weights used to be broadcast to a wrong number.
WRONG = {
    "per box, one image": (1, (1, 24)),
    "per cell, one image": (1, (1, 2, 3, 3)),
    "per cell, three images": (3, (3, 2, 3, 3)),
    "per box": (4, (4, 24)),
    "another batch": (4, (3,)),
    "one for four": (4, (1,)),
    "transposed": (4, (1, 4)),
}


def every_loss(keras):
    yield from ((make(), data) for make, data in CALLABLES.values())
    yield from ((make(losses_of(keras)), data) for make, data in CLASSES.values())


@pytest.mark.parametrize("mode", execution.MODES)
def test_weights_scale_the_images(keras, mode):
    weights = np.array([1.0, 2.0, 0.0, 4.0], np.float32)
    for loss, data in every_loss(keras):
        per_image = loss(*data(4)).numpy()
        for given in (weights, weights[:, None], weights.astype(np.int64)):
            weighted = execution.in_mode(mode, loss)(*map(tf.constant, (*data(4), given)))
            np.testing.assert_allclose(weighted, per_image * weights, rtol=1e-6)
        np.testing.assert_allclose(execution.in_mode(mode, loss)(*data(4), 2), per_image * 2, rtol=1e-6)


@pytest.mark.parametrize("mode", execution.MODES)
@pytest.mark.parametrize("wrong", WRONG)
def test_other_weights_are_refused(keras, mode, wrong):
    images, shape = WRONG[wrong]
    for loss, data in every_loss(keras):
        with pytest.raises(ValueError, match=EXPECTED):
            execution.in_mode(mode, loss)(*map(tf.constant, data(images)), tf.ones(shape))


def test_ragged_weights_are_named(keras):
    for loss, data in every_loss(keras):
        with pytest.raises(TypeError, match="sample_weight: expected a dense tensor, got a RaggedTensor"):
            loss(*data(2), tf.ragged.constant([[1.0], [2.0, 3.0]]))


def test_a_scalar_weighs_one_image_too(keras):
    """Keras 3 does not scale a loss by the replicas whose weighted value is a scalar."""
    loss = losses_of(keras).SSDLoss()
    np.testing.assert_allclose(loss(*ssd(1), 3.0), 3 * loss(*ssd(1)), rtol=1e-6)


def compiled_ssd(keras, name, mode):
    loss = ssd_keras.SSDLoss().compute_loss if name == "drop-in" else losses_of(keras).SSDLoss()
    return ssd_training.compile_model(keras, ssd_training.build_model(keras), loss, mode)


@pytest.mark.parametrize("mode", ssd_training.MODES)
@pytest.mark.parametrize("name", ["drop-in", "class"])
def test_fit_takes_weights_per_image(keras, name, mode):
    x, y, weights = ssd_training.features(4), ssd_training.labels(4), np.array([1.0, 2.0, 0.0, 4.0], np.float32)
    expected = np.mean(weights * detloss.ssd_loss(y, ssd_training.build_model(keras)(x)))
    for given in (weights, weights[:, None]):
        model = compiled_ssd(keras, name, mode)
        validation = {"validation_data": (x, y, given), "validation_batch_size": 4}
        history = model.fit(x, y, sample_weight=given, batch_size=4, verbose=0, **validation).history
        np.testing.assert_allclose(history["loss"], expected, rtol=1e-5)
        assert np.isfinite(history["val_loss"]).all()


@pytest.mark.parametrize("mode", ssd_training.MODES)
@pytest.mark.parametrize("name", ["drop-in", "class"])
@pytest.mark.parametrize("images", [1, 4])
def test_fit_refuses_weights_per_box(keras, name, images, mode):
    model = compiled_ssd(keras, name, mode)
    weights = np.ones((images, ssd_training.BOXES), np.float32)
    with pytest.raises(ValueError, match=EXPECTED):
        model.fit(ssd_training.features(images), ssd_training.labels(images), sample_weight=weights, verbose=0)


@pytest.mark.parametrize("name", ["drop-in", "class"])
@pytest.mark.parametrize("shape", [(1,), (2,), (1, 3), (3, 24)])
def test_weights_of_unknown_shape_are_refused_at_run_time(keras, name, shape):
    def batches():
        yield ssd_training.features(3), ssd_training.labels(3), np.ones(shape, np.float32)

    specs = [(None, ssd_training.BOXES, width) for width in (ssd_training.FEATURES, ssd_training.WIDTH)]
    dataset = tf.data.Dataset.from_generator(
        batches, output_signature=tuple(map(tf.TensorSpec, [*specs, [None] * len(shape)]))
    )
    # Around a drop-in, an op of the Keras' own may fail first.
    text = "sample_weight: expected shape|Can not squeeze|Incompatible shapes" if name == "drop-in" else EXPECTED
    with pytest.raises(tf.errors.InvalidArgumentError, match=text):
        compiled_ssd(keras, name, "graph").fit(dataset, verbose=0)


@pytest.mark.parametrize("name", ["drop-in", "class"])
@pytest.mark.parametrize("images", [1, 3])
def test_masks_per_box_are_refused(keras, name, images):
    model = ssd_training.build_model(keras)
    model = keras.Model(model.input, keras.layers.Masking()(model.output))
    loss = ssd_keras.SSDLoss().compute_loss if name == "drop-in" else losses_of(keras).SSDLoss()
    ssd_training.compile_model(keras, model, loss, "eager")
    with pytest.raises(ValueError, match=r"(mask|sample_weight): expected shape"):
        model.evaluate(ssd_training.features(images), ssd_training.labels(images), verbose=0)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("name", ["drop-in", "class"])
def test_labels_of_unknown_rank(keras, name, known):
    """Keras 3 itself asks for the rank where a plain callable is the loss; `tf.ensure_shape` tells it."""

    def with_labels(features):
        labels = tf.numpy_function(lambda: ssd_training.labels(3), [], tf.float32)
        return features, tf.ensure_shape(labels, (3, ssd_training.BOXES, ssd_training.WIDTH)) if known else labels

    model = compiled_ssd(keras, name, "graph")
    dataset = tf.data.Dataset.from_tensors(ssd_training.features(3)).map(with_labels)
    if keras.__name__ == "keras" and name == "drop-in" and not known:
        with pytest.raises(ValueError, match="Cannot take the length of shape with unknown rank"):
            model.evaluate(dataset, verbose=0)
    else:
        assert np.isfinite(model.evaluate(dataset, verbose=0))


# The losses in a Lambda layer


def lambda_model(keras, name="keras_yolo3", mode="graph"):
    if name == "keras_yolo3":
        model = yolov3_training.build_lambda_model(keras, keras_yolo3.yolo_loss)
    else:
        model = yolov3_training.build_terms_model(keras, keras_yolov3_model_set.yolo3_loss)
    return yolov3_training.compile_model(keras, model, {"yolo_loss": keras_yolo3.take_prediction}, mode)


@pytest.mark.parametrize("name", ["keras_yolo3", "keras_yolov3_model_set"])
def test_a_lambda_is_weighted_by_the_mean_with_a_warning(keras, name):
    x, weights = [yolov3_training.images(4), *yolov3_training.labels(4)], np.array([1.0, 2.0, 0.0, 5.0], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss = lambda_model(keras, name).evaluate(x, np.zeros(4), batch_size=4, verbose=0, return_dict=True)["loss"]
    with pytest.warns(UserWarning, match="sample_weight: .* multiplies by the mean of the weights"):
        weighted = lambda_model(keras, name).evaluate(
            x, np.zeros(4), sample_weight=weights, batch_size=4, verbose=0, return_dict=True
        )["loss"]
    assert weighted == pytest.approx(loss * np.mean(weights), rel=1e-6)


@pytest.mark.parametrize("mode", yolov3_training.MODES)
def test_a_lambda_refuses_weights_of_another_shape(keras, mode):
    x = [yolov3_training.images(4), *yolov3_training.labels(4)]
    with pytest.raises(ValueError, match=EXPECTED):
        lambda_model(keras, mode=mode).fit(x, np.zeros(4), sample_weight=np.ones((4, 5)), verbose=0)
