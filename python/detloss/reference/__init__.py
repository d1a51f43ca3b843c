"""The losses in plain TensorFlow.

The tests compare the ops with them, and `DETLOSS_IMPL=reference` makes the public functions use them.
"""

from detloss.reference import original
from detloss.reference.hard_negative_mining import hard_negative_mask
from detloss.reference.ssd_loss import ssd_loss
from detloss.reference.yolo_ignore_mask import yolo_ignore_mask
from detloss.reference.yolov3_loss import yolov3_loss

__all__ = ["hard_negative_mask", "original", "ssd_loss", "yolo_ignore_mask", "yolov3_loss"]
