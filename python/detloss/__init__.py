"""Fused training losses for object detectors: TensorFlow custom ops behind thin Keras losses.

Attributes load on first use, so that `detloss._core` works in processes without TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from detloss import _legacy_keras, _registration, _tensorflow_version

if TYPE_CHECKING:
    from detloss import compat, device, losses, reference
    from detloss._registration import load
    from detloss.losses import SSDLoss, YOLOv3Loss, YOLOv3LossLayer
    from detloss.ops.hard_negative_mining import hard_negative_mask
    from detloss.ops.ssd_loss import ssd_loss
    from detloss.ops.yolo_ignore_mask import yolo_ignore_mask
    from detloss.ops.yolov3_loss import yolov3_loss
    from detloss.ssd_layout import SSDLayout
    from detloss.targets import check_targets

__version__ = "0.1.0"
__all__ = [
    "SSDLayout",
    "SSDLoss",
    "YOLOv3Loss",
    "YOLOv3LossLayer",
    "check_targets",
    "compat",
    "device",
    "hard_negative_mask",
    "load",
    "losses",
    "reference",
    "ssd_loss",
    "yolo_ignore_mask",
    "yolov3_loss",
]

_HOME = {
    "SSDLayout": "detloss.ssd_layout",
    "check_targets": "detloss.targets",
    "hard_negative_mask": "detloss.ops.hard_negative_mining",
    "load": "detloss._registration",
    "ssd_loss": "detloss.ops.ssd_loss",
    "yolo_ignore_mask": "detloss.ops.yolo_ignore_mask",
    "yolov3_loss": "detloss.ops.yolov3_loss",
}
# They belong to the Keras that `tf.keras` is.
_OF_TF_KERAS_OR_KERAS = frozenset({"SSDLoss", "YOLOv3Loss", "YOLOv3LossLayer"})
_MODULES = frozenset({"benchmark", "compat", "device", "losses", "reference", "tf_keras"})


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"detloss.{name}")
    if name in _OF_TF_KERAS_OR_KERAS:
        home = "detloss.tf_keras" if _legacy_keras.is_chosen() else "detloss.losses"
    elif name in _HOME:
        home = _HOME[name]
    else:
        raise AttributeError(f"module 'detloss' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


_tensorflow_version.check(_tensorflow_version.installed_version())
_registration.register_when_imported()
