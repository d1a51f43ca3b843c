"""The losses as the repositories wrote them: the yardstick of the benchmark."""

from detloss.reference.original.ssd_loss import ssd_keras_loss, ssd_keras_rykov8_loss

__all__ = ["ssd_keras_loss", "ssd_keras_rykov8_loss"]
