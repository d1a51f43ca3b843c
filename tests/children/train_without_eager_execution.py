"""Trains keras-yolo3's model with `print_loss=True` in the mode of TensorFlow 1, two steps on the same batch.

Prints the first epoch's loss and the losses that were printed as JSON. A process of its own, because eager execution is
off for all of it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile

import numpy as np
import tensorflow as tf
import tf_keras

import yolov3_training
from detloss.compat import keras_yolo3

tf.compat.v1.disable_eager_execution()
model = yolov3_training.build_lambda_model(tf_keras, keras_yolo3.yolo_loss, print_loss=True)
model.compile(tf_keras.optimizers.legacy.SGD(1e-3), loss={"yolo_loss": keras_yolo3.take_prediction})

standard_error = os.dup(sys.stderr.fileno())
with tempfile.TemporaryFile("w+") as captured:
    os.dup2(captured.fileno(), sys.stderr.fileno())
    x = [yolov3_training.images(4), *yolov3_training.labels(4)]
    history = model.fit(x, np.zeros(4), batch_size=4, epochs=2, shuffle=False, verbose=0).history
    os.dup2(standard_error, sys.stderr.fileno())
    captured.seek(0)
    lines = [line.split() for line in captured if line.startswith("loss:")]
print(json.dumps([history["loss"][0], [float(line[1]) for line in lines]]))
