"""Trains YOLOv3 on two logical CPU devices and on one, and prints the weights of both as JSON.

Argument: `keras` or `tf_keras`. A process of its own, because logical devices must exist before TensorFlow starts.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys

import tensorflow as tf

import saved_yolov3_models

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
keras = importlib.import_module(sys.argv[1])


def weights_after_training(replicas: int, kind: str) -> list[float]:
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
    with strategy.scope() if replicas > 1 else contextlib.nullcontext():
        model = saved_yolov3_models.build(kind, keras)
    saved_yolov3_models.fit(kind, model)
    return [float(value) for variable in model.get_weights() for value in variable.ravel()]


kinds = ("yolov3_tf2", "layer", "weighted_layer", "lambda")
print(json.dumps({kind: [weights_after_training(replicas, kind) for replicas in (1, 2)] for kind in kinds}))
