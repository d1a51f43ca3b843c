"""Losses for Keras 3. Importing this module makes saved Keras 3 models with any loss of detloss loadable.

Raises:
  ImportError: Keras runs on another backend than TensorFlow.
"""

from __future__ import annotations

import keras

from detloss.compat import REGISTERED
from detloss.losses.ssd_loss import SSDLoss
from detloss.losses.yolov3_loss import YOLOv3Loss
from detloss.losses.yolov3_loss_layer import YOLOv3LossLayer

__all__ = ["SSDLoss", "YOLOv3Loss", "YOLOv3LossLayer"]

if keras.config.backend() != "tensorflow":
    raise ImportError(
        f"detloss.losses: expected Keras on the TensorFlow backend, got {keras.config.backend()!r}. "
        "Set KERAS_BACKEND=tensorflow before keras is imported."
    )

for _of_a_drop_in in REGISTERED:
    keras.saving.register_keras_serializable("detloss")(_of_a_drop_in)
