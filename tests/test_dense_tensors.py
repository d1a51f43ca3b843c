"""Ragged and sparse tensors, and what is no tensor, are refused by name, with the cure, wherever losses take them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import detloss
import detloss.tf_keras
import execution
from detloss import reference
from detloss.compat import keras_yolo3, keras_yolov3_model_set, ssd_keras, ssd_keras_rykov8, yolov3_tf2

SSD, YOLOV3, CORNERS = (np.zeros(shape, np.float32) for shape in ((2, 6, 17), (2, 2, 2, 2, 8), (2, 2, 2, 2, 6)))
ANCHORS = [[0.1, 0.2], [0.2, 0.3]]
KINDS = {
    "ragged": (tf.RaggedTensor.from_tensor, r"got a RaggedTensor of shape .*\.to_tensor\(\)"),
    "sparse": (tf.sparse.from_dense, r"got a SparseTensor of shape .*tf\.sparse\.to_dense"),
}

#: Losses with labels and predictions that they take.
LOSSES: dict[str, tuple[Callable[..., Any], np.ndarray, np.ndarray]] = {
    "ssd_loss": (detloss.ssd_loss, SSD, SSD),
    "reference.ssd_loss": (reference.ssd_loss, SSD, SSD),
    "yolov3_loss": (lambda true, pred: detloss.yolov3_loss(true, pred, ANCHORS), YOLOV3, YOLOV3),
    "reference.yolov3_loss": (lambda true, pred: reference.yolov3_loss(true, pred, ANCHORS), YOLOV3, YOLOV3),
    "SSDLoss": (detloss.SSDLoss(), SSD, SSD),
    "tf_keras.SSDLoss": (detloss.tf_keras.SSDLoss(), SSD, SSD),
    "YOLOv3Loss": (detloss.YOLOv3Loss(ANCHORS, 3), YOLOV3, YOLOV3),
    "tf_keras.YOLOv3Loss": (detloss.tf_keras.YOLOv3Loss(ANCHORS, 3), YOLOV3, YOLOV3),
    "ssd_keras": (ssd_keras.SSDLoss().compute_loss, SSD, SSD),
    "rykov8": (ssd_keras_rykov8.MultiboxLoss(5).compute_loss, SSD, SSD),
    "yolov3_tf2": (yolov3_tf2.YoloLoss(ANCHORS, 3), CORNERS, YOLOV3),
}


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LOSSES)
def test_losses(name, kind, mode):
    loss, y_true, y_pred = LOSSES[name]
    convert, text = KINDS[kind]
    function = execution.in_mode(mode, loss)
    with pytest.raises(TypeError, match=f"y_true: expected a dense tensor, {text}"):
        function(convert(y_true), tf.constant(y_pred))
    with pytest.raises(TypeError, match=f"y_pred: expected a dense tensor, {text}"):
        function(tf.constant(y_true), convert(y_pred))


@pytest.mark.parametrize("kind", KINDS)
def test_scales_are_named(kind):
    convert, text = KINDS[kind]
    anchors = [ANCHORS] * 2
    for loss in (detloss.yolov3_loss, reference.yolov3_loss):
        with pytest.raises(TypeError, match=rf"y_true\[1\]: expected a dense tensor, {text}"):
            loss([YOLOV3, convert(YOLOV3)], [YOLOV3, YOLOV3], anchors)
    for losses in (detloss, detloss.tf_keras):
        layer = losses.YOLOv3LossLayer(anchors, 3, strides=None)
        dense = tf.constant(YOLOV3)
        with pytest.raises(TypeError, match=rf"y_true\[1\]: expected a dense tensor, {text}"):
            layer([[dense, dense], [dense, convert(YOLOV3)]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", [keras_yolo3.yolo_loss, keras_yolov3_model_set.yolo3_loss])
def test_lambda_drop_ins(loss, kind):
    convert, text = KINDS[kind]
    outputs = [np.zeros((2, size, size, 3, 7), np.float32) for size in (2, 4)]
    with pytest.raises(TypeError, match=rf"args\[3\]: expected a dense tensor, {text}"):
        loss([*outputs, outputs[0], convert(outputs[1])], np.ones((6, 2)), 2)
    with pytest.raises(TypeError, match="args: expected a list of outputs and labels, got RaggedTensor"):
        loss(tf.RaggedTensor.from_tensor(SSD), np.ones((6, 2)), 2)


def test_building_blocks():
    text = KINDS["ragged"][1]
    for module in (detloss, reference):
        with pytest.raises(TypeError, match=f"negative_loss: expected a dense tensor, {text}"):
            module.hard_negative_mask(tf.ragged.constant([[1.0, 2.0], [1.0]]), [1.0, 1.0])
        boxes = tf.RaggedTensor.from_row_lengths(tf.zeros([3, 4]), [1, 2])
        with pytest.raises(TypeError, match=f"true_boxes: expected a dense tensor, {text}"):
            module.yolo_ignore_mask(tf.zeros([2, 3, 4]), boxes)


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "of_keras, loss",
    [
        (keras, detloss.SSDLoss()),
        (keras, ssd_keras.SSDLoss().compute_loss),
        (tf_keras, detloss.tf_keras.SSDLoss()),
        (tf_keras, ssd_keras.SSDLoss().compute_loss),
    ],
)
def test_fit(of_keras, loss, kind, eager):
    convert, text = KINDS[kind]
    inputs = of_keras.Input((6, 17))
    model = of_keras.Model(inputs, of_keras.layers.Dense(17)(inputs))
    model.compile("sgd", loss, run_eagerly=eager)
    with pytest.raises(TypeError, match=rf"y_true: expected a dense tensor, {text}"):
        model.fit(tf.data.Dataset.from_tensors((SSD, convert(SSD))), verbose=0)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [np.zeros((6, 17)), np.zeros((5, 17))],
        np.array([np.zeros((6, 17)), np.zeros((5, 17))], dtype=object),
        {"y_true": SSD},
        keras.Input((6, 17)),
    ],
    ids=["None", "rows of different lengths", "objects", "dict", "KerasTensor"],
)
def test_no_tensors(value):
    for loss in (detloss.ssd_loss, detloss.SSDLoss(), ssd_keras.SSDLoss().compute_loss):
        with pytest.raises(TypeError, match="y_true: expected a dense tensor, got "):
            loss(value, SSD)
        with pytest.raises(TypeError, match="y_pred: expected a dense tensor, got "):
            loss(SSD, value)
