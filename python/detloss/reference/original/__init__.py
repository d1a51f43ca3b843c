"""The losses as the repositories wrote them: the yardstick of the benchmark."""

from detloss.reference.original.ssd_loss import ssd_keras_loss, ssd_keras_rykov8_loss
from detloss.reference.original.yolov3_loss import keras_yolo3_loss

__all__ = ["keras_yolo3_loss", "ssd_keras_loss", "ssd_keras_rykov8_loss"]
