"""Registers with TensorFlow and Keras what saved models need, as soon as they are there: `import detloss` suffices.

TensorFlow finds ops and gradients, and Keras custom classes, only in their registries, and this package imports neither
by itself.
"""

from __future__ import annotations

import contextlib
import importlib
import warnings
from types import ModuleType

import wrapt

_MODULES_WITH_OPS = ("hard_negative_mining", "ssd_loss", "yolo_ignore_mask", "yolov3_loss")


def load() -> None:
    """Loads the ops and their gradients now, as a SavedModel that holds them needs it.

    `import detloss` does so by itself, as soon as TensorFlow is imported, but for `DETLOSS_IMPL=reference`, and warns
    where it fails. This raises what is wrong.

        detloss.load()
        model = tf.saved_model.load("training_model")

    Raises:
      ImportError: TensorFlow is not installed, or the op library is missing or was built for another TensorFlow.
    """
    for module in _MODULES_WITH_OPS:
        importlib.import_module(f"detloss.ops.{module}")
    importlib.import_module("detloss.ops.library").ops()


def register_when_imported() -> None:
    """Registers with TensorFlow and both Kerases: at once with what is imported already, else after its import."""
    wrapt.register_post_import_hook(_register_tensorflow, "tensorflow")
    wrapt.register_post_import_hook(_register_keras, "keras")
    wrapt.register_post_import_hook(_register_tf_keras, "tf_keras")


def _register_tensorflow(_: ModuleType) -> None:
    # Nothing that goes wrong here may break an import, be it TensorFlow's, which runs this, or that of this package.
    try:
        if not importlib.import_module("detloss.ops.implementation").uses_reference():
            load()
    except Exception as error:
        # Under `-W error` even a warning raises.
        with contextlib.suppress(Warning):
            warnings.warn(
                f"detloss: its ops did not load, so SavedModels with them will not, and the first call of a loss will "
                f"fail; detloss.load() raises the error: {error}",
                RuntimeWarning,
                stacklevel=2,
            )


def _register_keras(keras: ModuleType) -> None:
    if keras.backend.backend() == "tensorflow":
        importlib.import_module("detloss.losses")


def _register_tf_keras(_: ModuleType) -> None:
    importlib.import_module("detloss.tf_keras")
