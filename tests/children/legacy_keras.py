"""Trains, saves and loads under `TF_USE_LEGACY_KERAS=1` as its users write it, and prints the losses as JSON.

Argument: an empty folder. They know `tf.keras` and `detloss.SSDLoss` alone. The values of every kind: the loss of the
model, and of what each file gives back.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import numpy as np
import tensorflow as tf

import detloss
import ssd_training
import yolov3_training

folder = pathlib.Path(sys.argv[1])
keras = tf.keras
anchors, strides = yolov3_training.anchors_by_scale(2), yolov3_training.STRIDES
images, labels = yolov3_training.images(4), yolov3_training.labels(4)

losses = [detloss.YOLOv3Loss(each, 3, stride=stride) for each, stride in zip(anchors, strides, strict=False)]
models: dict[str, tuple[Any, Any, Any]] = {
    "ssd": (
        ssd_training.compile_model(keras, ssd_training.build_model(keras), detloss.SSDLoss()),
        ssd_training.features(4),
        ssd_training.labels(4),
    ),
    "yolov3": (yolov3_training.compile_model(keras, yolov3_training.build_body(keras), losses), images, labels),
    "layer": (
        yolov3_training.compile_model(
            keras, yolov3_training.build_layer_model(keras, detloss.YOLOv3LossLayer(anchors, 3))
        ),
        [images, *labels],
        None,
    ),
}
shown: dict[str, list[float]] = {}
for kind, (model, x, y) in models.items():
    model.fit(x, y, verbose=0)
    models_of_files = []
    for suffix in (".keras", ".h5", ""):
        model.save(folder / f"{kind}{suffix}")
        models_of_files.append(keras.models.load_model(folder / f"{kind}{suffix}"))
    shown[kind] = [each.evaluate(x, y, verbose=0, return_dict=True)["loss"] for each in (model, *models_of_files)]

assert all(np.isfinite(each).all() for each in shown.values())
assert detloss.SSDLoss is detloss.tf_keras.SSDLoss
assert detloss.YOLOv3Loss is detloss.tf_keras.YOLOv3Loss
assert detloss.YOLOv3LossLayer is detloss.tf_keras.YOLOv3LossLayer
assert detloss.losses.SSDLoss is not detloss.SSDLoss
print(json.dumps(shown))
