"""Drop-ins for the losses of well-known detector repositories, one module per repository.

Names, arguments, defaults and numbers are the originals', so that swapping the import is the only change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from detloss.compat import keras_yolo3, keras_yolov3_model_set, ssd_keras, ssd_keras_rykov8, yolov3_tf2

__all__ = [
    "REGISTERED",
    "keras_yolo3",
    "keras_yolov3_model_set",
    "ssd_keras",
    "ssd_keras_rykov8",
    "yolov3_tf2",
]

#: What saved Keras models hold of the drop-ins, classes of losses and functions: each Keras has to know them.
REGISTERED: tuple[Callable[..., Any], ...] = (
    keras_yolo3.take_prediction,
    keras_yolo3.yolo_loss,
    keras_yolov3_model_set.yolo3_loss,
    ssd_keras.SSDKerasLossCallable,
    ssd_keras_rykov8.SSDKerasRykov8LossCallable,
    yolov3_tf2.YoloLoss,
)
