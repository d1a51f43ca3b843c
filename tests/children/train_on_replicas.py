"""Trains on two logical CPU devices and on one, and prints the weights of both as JSON.

Argument: `keras` or `tf_keras`. A process of its own, because logical devices must exist before TensorFlow starts.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from typing import Any

import numpy as np
import tensorflow as tf

import ssd_training
from detloss.compat import ssd_keras, ssd_keras_rykov8

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
keras = importlib.import_module(sys.argv[1])
SSDLoss = importlib.import_module("detloss.losses" if sys.argv[1] == "keras" else "detloss.tf_keras").SSDLoss


def weights_after_training(replicas: int, loss: Any, layout: str, images: np.ndarray, weighted: bool) -> list[float]:
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
    with strategy.scope() if replicas > 1 else contextlib.nullcontext():
        model = ssd_training.compile_model(keras, ssd_training.build_model(keras, layout), loss)
    x, y = ssd_training.features(9)[images], ssd_training.labels(9, layout)[images]
    weights = (0.5 + images).astype(np.float32) if weighted else None
    model.fit(x, y, sample_weight=weights, batch_size=4, epochs=2, shuffle=False, verbose=0)
    return [float(value) for variable in model.get_weights() for value in variable.ravel()]


# A replica mines and normalises its own share of the batch. That equals one device where every image stands by itself,
# or where the halves of every batch are equal. A last batch of one leaves a replica without images.
by_image = SSDLoss(mining_scope="image", normalizer="image")
any_images, one_left_over, equal_halves = np.arange(8), np.arange(9), np.array([1, 2, 1, 2, 5, 6, 5, 6])
CASES = {
    "by image, weighted": (by_image, "ssd_keras", any_images, True),
    "one left over": (by_image, "ssd_keras", one_left_over, False),
    "ssd_keras, weighted": (ssd_keras.SSDLoss().compute_loss, "ssd_keras", equal_halves, True),
    "rykov8": (
        ssd_keras_rykov8.MultiboxLoss(ssd_training.NUM_CLASSES).compute_loss,
        "ssd_keras_rykov8",
        equal_halves,
        False,
    ),
}
print(json.dumps({name: [weights_after_training(n, *case) for n in (1, 2)] for name, case in CASES.items()}))
