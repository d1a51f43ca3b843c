"""Drop-ins for the losses of well-known detector repositories, one module per repository.

Names, arguments, defaults and numbers are the originals', so that swapping the import is the only change.
"""

from __future__ import annotations

from detloss.compat import ssd_keras, ssd_keras_rykov8
from detloss.keras_common.loss_callable import LossCallable

__all__ = ["LOSS_CALLABLES", "ssd_keras", "ssd_keras_rykov8"]

#: What the losses of Keras models are after loading: each Keras has to know these classes.
LOSS_CALLABLES: tuple[type[LossCallable], ...] = (
    ssd_keras.SSDKerasLossCallable,
    ssd_keras_rykov8.SSDKerasRykov8LossCallable,
)
