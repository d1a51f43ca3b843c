"""Trains on two logical CPU devices what has to be refused, and prints the part of each error that says so as JSON.

Argument: `keras` or `tf_keras`. A process of its own, because logical devices must exist before TensorFlow starts.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from typing import Any

import numpy as np
import tensorflow as tf

import ssd_training
import yolov3_training
from detloss.compat import ssd_keras

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
keras = importlib.import_module(sys.argv[1])
names = ["detloss.losses", "detloss.tf_keras"]
own, other = map(importlib.import_module, names if sys.argv[1] == "keras" else names[::-1])
TEXT = re.compile(r"Use \S+ there\.|sample_weight: expected (shape|as the third input)")


def error_of(model: Any, *data: Any, **options: Any) -> str:
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        compiled = model()
    try:
        compiled.fit(*data, batch_size=4, verbose=0, **options)
    except (TypeError, ValueError) as error:
        found = TEXT.search(str(error))
        return found.group() if found else str(error)
    return "no error"


def ssd(loss: Any) -> Any:
    return lambda: ssd_training.compile_model(keras, ssd_training.build_model(keras), loss)


def layer() -> Any:
    model = yolov3_training.build_layer_model(
        keras, own.YOLOv3LossLayer(yolov3_training.anchors_by_scale(2), yolov3_training.NUM_CLASSES)
    )
    return yolov3_training.compile_model(keras, model)


x, y, per_box = ssd_training.features(4), ssd_training.labels(4), np.ones((4, ssd_training.BOXES), np.float32)
inputs = [yolov3_training.images(4), *yolov3_training.labels(4)]
print(
    json.dumps(
        {
            "SSDLoss": error_of(ssd(other.SSDLoss()), x, y),
            "weights per box": error_of(ssd(own.SSDLoss()), x, y, sample_weight=per_box),
            "weights per box, drop-in": error_of(ssd(ssd_keras.SSDLoss().compute_loss), x, y, sample_weight=per_box),
            "weights for a layer": error_of(layer, inputs, np.zeros(4), sample_weight=np.ones(4)),
        }
    )
)
