"""The kinds of YOLOv3 training models that users save, and their loss on fixed images."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

import yolov3_cases
import yolov3_training
from yolov3_training import ANCHORS, NUM_CLASSES, STRIDES

KINDS = ("loss", "yolov3_tf2", "layer", "weighted_layer", "lambda", "lambda_of_lists", "lambda_of_terms")


def build(kind: str, keras: Any) -> Any:
    """A compiled model."""
    compat = importlib.import_module("detloss.compat")
    losses = importlib.import_module("detloss.losses" if keras.__name__ == "keras" else "detloss.tf_keras")
    anchors = yolov3_training.anchors_by_scale(2)
    if kind == "loss":
        model = yolov3_training.build_body(keras)
        loss = [
            losses.YOLOv3Loss(of_scale, NUM_CLASSES, stride=stride, box_loss="ciou", reduction="sum")
            for of_scale, stride in zip(anchors, STRIDES, strict=False)
        ]
    elif kind == "yolov3_tf2":
        model = yolov3_training.build_body(keras, split_anchors=True)
        loss = [compat.yolov3_tf2.YoloLoss(each / yolov3_training.SIZE[::-1], NUM_CLASSES) for each in anchors]
    elif kind in ("layer", "weighted_layer"):
        layer = losses.YOLOv3LossLayer(anchors, NUM_CLASSES, box_loss="giou")
        model = yolov3_training.build_layer_model(keras, layer, weighted=kind == "weighted_layer")
        loss = None
    elif kind == "lambda_of_terms":
        model = yolov3_training.build_terms_model(keras, compat.keras_yolov3_model_set.yolo3_loss)
        loss = {"yolo_loss": compat.keras_yolov3_model_set.take_prediction}
    else:
        anchors = ANCHORS[:6].tolist() if kind == "lambda_of_lists" else ANCHORS[:6]
        model = yolov3_training.build_lambda_model(keras, compat.keras_yolo3.yolo_loss, anchors=anchors)
        loss = {"yolo_loss": compat.keras_yolo3.take_prediction}
    return yolov3_training.compile_model(keras, model, loss)


def loss_of(kind: str, model: Any) -> float:
    """What `evaluate` says is the loss."""
    return model.evaluate(*_data(kind), batch_size=4, verbose=0, return_dict=True)["loss"]


def fit(kind: str, model: Any) -> yolov3_training.Training:
    """Two epochs."""
    return yolov3_training.fit(model, *_data(kind))


def _data(kind: str) -> tuple[Any, ...]:
    images, labels = yolov3_training.images(4), yolov3_training.labels(4)
    if kind == "loss":
        return images, labels
    if kind == "yolov3_tf2":
        return images, [yolov3_cases.to_corners(each).astype(np.float32) for each in labels]
    if kind == "weighted_layer":
        return [images, *labels, np.array([0.5, 3, 0, 2], np.float32)], None
    return [images, *labels], None if kind == "layer" else np.zeros(4)
