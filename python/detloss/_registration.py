"""Registers the losses with Keras as soon as Keras is there, so that `import detloss` suffices to load a saved model.

Keras finds custom classes only in its registry, and this package imports neither TensorFlow nor Keras by itself.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import wrapt


def register_when_keras_is_imported() -> None:
    """Runs at once for a Keras that is imported already, else right after its import."""
    wrapt.register_post_import_hook(_register_keras, "keras")
    wrapt.register_post_import_hook(_register_tf_keras, "tf_keras")


def _register_keras(keras: ModuleType) -> None:
    if keras.backend.backend() == "tensorflow":
        importlib.import_module("detloss.losses")


def _register_tf_keras(_: ModuleType) -> None:
    importlib.import_module("detloss.tf_keras")
