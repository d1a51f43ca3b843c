"""Losses for Keras 3. Importing this module makes saved Keras 3 models with any loss of detloss loadable.

Raises:
  ImportError: Keras runs on another backend than TensorFlow.
"""

from __future__ import annotations

import keras

from detloss.compat import LOSS_CALLABLES
from detloss.losses.ssd_loss import SSDLoss

__all__ = ["SSDLoss"]

if keras.config.backend() != "tensorflow":
    raise ImportError(
        f"detloss.losses: expected Keras on the TensorFlow backend, got {keras.config.backend()!r}. "
        "Set KERAS_BACKEND=tensorflow before keras is imported."
    )

for _loss_callable in LOSS_CALLABLES:
    keras.saving.register_keras_serializable("detloss")(_loss_callable)
