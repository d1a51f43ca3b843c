"""Whether `tf.keras` is tf_keras in this process, as `TF_USE_LEGACY_KERAS` says. TensorFlow is not needed."""

from __future__ import annotations

import os


def is_chosen() -> bool:
    """Whether `TF_USE_LEGACY_KERAS` has one of the values that TensorFlow takes for yes."""
    return os.environ.get("TF_USE_LEGACY_KERAS") in ("1", "true", "True")
