"""`detloss.compat.keras_yolov3_model_set`, the drop-in for david8862/keras-YOLOv3-model-set."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import detloss
import execution
import yolov3_training
from detloss.compat.keras_yolov3_model_set import take_prediction, yolo3_loss
from golden_cases import assert_golden_close, golden_cases
from yolov3_training import ANCHORS, NUM_CLASSES


@pytest.fixture(params=["keras", "tf_keras"])
def keras(request):
    return pytest.importorskip(request.param, reason=f"{request.param} is not installed")


@pytest.fixture
def arrays():
    """Labels and logits of two scales."""
    y_true = yolov3_training.labels(3)
    return y_true, yolov3_training.logits(y_true)


def losses_of(arrays, anchors=ANCHORS[:6], num_classes=NUM_CLASSES, **options):
    y_true, y_pred = arrays
    return yolo3_loss([*y_pred, *y_true], anchors, num_classes, **options)


@pytest.mark.parametrize("mode", execution.MODES)
@pytest.mark.parametrize("case", golden_cases("keras_yolov3_model_set"))
def test_golden_cases(case, mode):
    anchors = case["anchors"]
    y_true, y_pred = ([case[f"{name}_{i}"] for i in range(len(anchors) // 3)] for name in ("y_true", "y_pred"))
    losses, gradients = yolov3_training.value_and_gradients(
        mode, lambda *arrays: losses_of(arrays, anchors, **case.params), y_true, y_pred
    )
    for loss, name in zip(losses, ("loss", "location_loss", "confidence_loss", "class_loss"), strict=True):
        assert loss.shape == case[name].shape
        assert_golden_close(loss, case[name])
    for scale, gradient in enumerate(gradients):
        assert_golden_close(gradient, case[f"grad_y_pred_{scale}"])


def test_signature_begins_with_the_originals():
    parameters = list(inspect.signature(yolo3_loss).parameters.values())[:10]
    signature = inspect.Signature([parameter.replace(annotation=parameter.empty) for parameter in parameters])
    assert str(signature) == (
        "(args, anchors, num_classes, ignore_thresh=0.5, label_smoothing=0, elim_grid_sense=False, "
        "use_focal_loss=False, use_focal_obj_loss=False, use_softmax_loss=False, iou_loss_type='ciou')"
    )


def reference_loss(args, anchors, num_classes, ignore_thresh, label_smoothing):
    per_image, components = detloss.reference.yolov3_loss(
        args[2:],
        args[:2],
        np.asarray(anchors)[[[3, 4, 5], [0, 1, 2]]],
        stride=(32, 16),
        ignore_thresh=ignore_thresh,
        label_smoothing=label_smoothing,
        box_loss="ciou",
        return_components=True,
    )
    mean = {name: tf.reduce_mean(term) for name, term in components.items() if name != "num_invalid"}
    return tf.reduce_mean(per_image)[None], mean["box"], mean["object"] + mean["no_object"], mean["class"]


@functools.cache
def training_with_the_reference(keras: Any) -> yolov3_training.Training:
    return yolov3_training.fit_lambda_model(keras, yolov3_training.build_terms_model(keras, reference_loss))


@pytest.mark.parametrize("mode", yolov3_training.MODES)
def test_trains_like_the_reference(keras, mode):
    training = yolov3_training.fit_lambda_model(keras, yolov3_training.build_terms_model(keras, yolo3_loss), mode)
    training.assert_same(training_with_the_reference(keras))
    terms = {"location_loss", "confidence_loss", "class_loss"} if keras.__name__ == "tf_keras" else set()
    assert training.curves.keys() == {"loss", *terms}
    assert training.loss[1] < 0.98 * training.loss[0]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_trains_in_half_precision(keras, policy):
    with yolov3_training.policy(keras, policy):
        training = yolov3_training.fit_lambda_model(keras, yolov3_training.build_terms_model(keras, yolo3_loss), "xla")
    training.assert_same(training_with_the_reference(keras), rtol=2e-2)


@pytest.mark.parametrize("registry", ["keras", "tf_keras"])
def test_functions_are_registered(registry):
    saving = pytest.importorskip(registry, reason=f"{registry} is not installed").saving
    for function in (yolo3_loss, take_prediction):
        assert saving.get_registered_name(function) == f"detloss>{function.__name__}"


def test_no_iou_loss(arrays):
    for iou_loss_type in (None, "", False):
        losses = losses_of(arrays, iou_loss_type=iou_loss_type)
        np.testing.assert_array_equal(losses[0], losses_of(arrays, iou_loss_type=None)[0])
    with pytest.raises(ValueError, match=r"iou_loss_type: expected one of .*, or None, got 'eiou'"):
        losses_of(arrays, iou_loss_type="eiou")


@pytest.mark.parametrize("options", [{}, {"use_focal_loss": True}, {"use_softmax_loss": True}])
def test_one_class_has_no_class_loss(options):
    y_true = yolov3_training.labels(2, num_classes=1)
    losses = losses_of((y_true, yolov3_training.logits(y_true)), num_classes=1, **options)
    assert losses[3].numpy() == 0


def test_invalid_targets(arrays):
    arrays[0][1][0, 1, 2, 1] = [0.4, 0.4, 0, 0.2, 1, 1, 0, 0]
    assert np.isfinite(losses_of(arrays)[0]).all()
    with pytest.raises(tf.errors.InvalidArgumentError):
        losses_of(arrays, invalid_targets="error")


def test_wrong_number_of_anchors(arrays):
    with pytest.raises(ValueError, match="anchors: expected 9 or 6 anchors, got 8"):
        losses_of(arrays, ANCHORS[:8], elim_grid_sense=True)
