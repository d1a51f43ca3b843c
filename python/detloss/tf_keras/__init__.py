"""Losses for tf_keras 2.21. Importing this module makes saved tf_keras models with any loss of detloss loadable.

Raises:
  ImportError: tf_keras is not installed.
"""

from __future__ import annotations

from detloss import _legacy_keras

try:
    import tf_keras
except ModuleNotFoundError as error:
    if error.name != "tf_keras":
        raise
    otherwise = "unset TF_USE_LEGACY_KERAS" if _legacy_keras.is_chosen() else "use detloss.SSDLoss of Keras 3"
    raise ImportError(
        "detloss.tf_keras: expected tf_keras 2.21, but it is not installed. Run `pip install tf_keras~=2.21.0`, or "
        f"{otherwise}."
    ) from error

from detloss.compat import REGISTERED
from detloss.tf_keras.ssd_loss import SSDLoss
from detloss.tf_keras.yolov3_loss import YOLOv3Loss
from detloss.tf_keras.yolov3_loss_layer import YOLOv3LossLayer

__all__ = ["SSDLoss", "YOLOv3Loss", "YOLOv3LossLayer"]

for _of_a_drop_in in REGISTERED:
    tf_keras.saving.register_keras_serializable("detloss")(_of_a_drop_in)
