"""`detloss.compat.yolov3_tf2`, the drop-in for zzh8829/yolov3-tf2."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import json
import pickle
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import detloss
import execution
import yolov3_training
from detloss.compat.yolov3_tf2 import YoloLoss
from golden_cases import assert_golden_close, golden_cases
from yolov3_cases import to_corners
from yolov3_training import NUM_CLASSES

#: Relative to the input, as in the repository; coarsest scale first.
ANCHORS = yolov3_training.anchors_by_scale(2) / np.array(yolov3_training.SIZE[::-1])


@pytest.fixture(params=["keras", "tf_keras"])
def keras(request):
    return pytest.importorskip(request.param, reason=f"{request.param} is not installed")


@pytest.fixture
def arrays():
    """Labels and logits of the coarser scale."""
    y_true = yolov3_training.labels(3)
    y_pred = yolov3_training.logits(y_true)
    return to_corners(y_true[0]).astype(np.float32), y_pred[0].reshape(y_true[0].shape)


def reference_loss(anchors: np.ndarray) -> Any:
    def yolo_loss(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return detloss.reference.yolov3_loss(
            y_true, y_pred, anchors, box_loss="squared", class_loss="normalized_sigmoid", target_format="corner"
        )

    return yolo_loss


def train(keras: Any, losses: Any, mode: str = "graph") -> yolov3_training.Training:
    body = yolov3_training.build_body(keras, split_anchors=True)
    model = yolov3_training.compile_model(keras, body, losses, mode)
    y = [to_corners(labels).astype(np.float32) for labels in yolov3_training.labels(6)]
    return yolov3_training.fit(model, yolov3_training.images(6), y)


@functools.cache
def training_with_the_reference(keras: Any) -> yolov3_training.Training:
    return train(keras, [reference_loss(anchors) for anchors in ANCHORS])


@pytest.mark.parametrize("mode", execution.MODES)
@pytest.mark.parametrize("case", golden_cases("yolov3_tf2"))
def test_golden_cases(case, mode):
    loss = YoloLoss(case["anchors"], **case.params)
    value, gradient = execution.value_and_gradient(mode, loss, case["y_true"], case["y_pred"])
    assert_golden_close(value, case["loss"])
    assert_golden_close(gradient, case["grad_y_pred"])


def test_signature_is_the_originals():
    parameters = inspect.signature(YoloLoss).parameters.values()
    positional = [each for each in parameters if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    signature = inspect.Signature([parameter.replace(annotation=parameter.empty) for parameter in positional])
    assert str(signature) == "(anchors, classes=80, ignore_thresh=0.5)"
    assert YoloLoss(ANCHORS[0]).__name__ == "yolo_loss"


@pytest.mark.parametrize("mode", yolov3_training.MODES)
def test_trains_like_the_reference(keras, mode):
    training = train(keras, [YoloLoss(anchors, NUM_CLASSES) for anchors in ANCHORS], mode)
    # The curves of single outputs Keras 3 weights by batch size in eager mode only.
    training.assert_same(training_with_the_reference(keras), ["loss"])
    assert training.loss[1] < 0.98 * training.loss[0]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_trains_in_half_precision(keras, policy):
    with yolov3_training.policy(keras, policy):
        training = train(keras, [YoloLoss(anchors, NUM_CLASSES) for anchors in ANCHORS], "xla")
    training.assert_same(training_with_the_reference(keras), ["loss"], rtol=2e-2)


def test_sample_weights_scale_the_images(keras, arrays):
    y_true, y_pred = arrays
    weights = np.array([0.5, 2, 3], np.float32)
    model = keras.Sequential([keras.Input(y_pred.shape[1:]), keras.layers.Identity()])
    model.compile(loss=YoloLoss(ANCHORS[0], NUM_CLASSES))
    loss = model.evaluate(y_pred, y_true, sample_weight=weights, batch_size=3, verbose=0)
    np.testing.assert_allclose(loss, np.mean(weights * reference_loss(ANCHORS[0])(y_true, y_pred)), rtol=1e-5)


def test_the_repositorys_own_training_loop(keras):
    """Outputs, labels and losses are zipped, and everything is summed."""
    body = yolov3_training.build_body(keras, split_anchors=True)
    losses = [YoloLoss(anchors, NUM_CLASSES) for anchors in ANCHORS]
    labels = [tf.constant(to_corners(each), tf.float32) for each in yolov3_training.labels(3)]
    with tf.GradientTape() as tape:
        outputs = body(yolov3_training.images(3), training=True)
        per_scale = [loss(label, output) for output, label, loss in zip(outputs, labels, losses, strict=True)]
        total = tf.reduce_sum(per_scale)
    gradients = tape.gradient(total, body.trainable_variables)
    assert [loss.shape for loss in per_scale] == [(3,), (3,)]
    assert all(np.isfinite(gradient).all() and np.any(gradient) for gradient in map(np.asarray, gradients))


def test_custom_objects_of_the_original_repository_load(keras, tmp_path):
    loss = reference_loss(ANCHORS[0])
    model = keras.Sequential([keras.Input((2, 3, 3, 8)), keras.layers.Identity()])
    model.compile("sgd", loss=loss)
    for suffix in (".keras", ".h5"):
        model.save(tmp_path / f"model{suffix}")
        drop_in = YoloLoss(ANCHORS[0], NUM_CLASSES)
        restored = keras.models.load_model(tmp_path / f"model{suffix}", custom_objects={"yolo_loss": drop_in})
        assert restored.loss == drop_in


def test_serialises_under_its_registered_name(keras):
    loss = YoloLoss(ANCHORS[0].astype(np.float32), np.int64(3), np.float32(0.5), invalid_targets="error")
    serialised = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    assert serialised["registered_name"] == "detloss>YoloLoss"
    assert keras.losses.deserialize(serialised) == loss


def test_duplicates_are_equal():
    loss = YoloLoss(ANCHORS[0], 3)
    duplicates = [copy.deepcopy(loss), pickle.loads(pickle.dumps(loss)), YoloLoss.from_config(loss.get_config())]
    assert duplicates == [loss] * 3
    assert len({loss, *duplicates}) == 1
    assert dataclasses.replace(loss, classes=4) != loss != YoloLoss(ANCHORS[1], 3)


def test_weights_by_hand(arrays):
    loss = YoloLoss(ANCHORS[0], NUM_CLASSES)
    per_image, weights = loss(*arrays).numpy(), np.array([1, 0, 4], np.float32)
    np.testing.assert_array_equal(loss(*arrays, weights), per_image * weights)


def test_one_class_has_no_class_loss():
    y_true = to_corners(yolov3_training.labels(2, num_classes=1)[0]).astype(np.float32)
    y_pred = np.zeros((*y_true.shape[:-1], 6), np.float32)
    loss = YoloLoss(ANCHORS[0], 1)(y_true, y_pred)
    y_pred[..., 5] = 7
    np.testing.assert_array_equal(YoloLoss(ANCHORS[0], 1)(y_true, y_pred), loss)


def test_invalid_targets(arrays):
    loss = YoloLoss(ANCHORS[0], NUM_CLASSES)
    arrays[0][0, 1, 2, 1] = [0.6, 0.6, 0.4, 0.8, 1, 0]  # swapped corners
    assert np.isfinite(loss(*arrays)).all()
    with pytest.raises(tf.errors.InvalidArgumentError):
        dataclasses.replace(loss, invalid_targets="error")(*arrays)


def test_wrong_arguments(arrays):
    with pytest.raises(
        ValueError, match=r"anchors: expected shape \[A, 2\], the anchors of one scale, got \[2, 3, 2\]"
    ):
        YoloLoss(ANCHORS)
    with pytest.raises(ValueError, match="y_pred: expected 85 columns for num_classes=80 and 3 anchors, got shape"):
        YoloLoss(ANCHORS[0])(*arrays)
