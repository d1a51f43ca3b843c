"""The op library, loaded on first use: `DETLOSS_IMPL=reference` works where it does not load."""

from __future__ import annotations

import functools
import pathlib
from typing import Any

import tensorflow as tf

from detloss import _tensorflow_version

_PATH = pathlib.Path(__file__).resolve().parent.parent / "_ops.so"


@functools.cache
def ops() -> Any:
    """The generated Python functions of the registered ops.

    Raises:
      ImportError: the library is missing or was built for another TensorFlow.
    """
    # A TensorFlow that shadows the installed distribution shows its version only now.
    _tensorflow_version.check(tf.__version__)
    if not _PATH.exists():
        raise ImportError(
            f"detloss: the op library {_PATH.name} is missing beside the package: it runs from a source tree that was "
            "never built. Run `pip install .` or, for development, `pip install -e . --no-build-isolation`."
        )
    try:
        return tf.load_op_library(str(_PATH))
    except tf.errors.NotFoundError as error:
        raise ImportError(
            f"detloss: the op library was built for TensorFlow {_tensorflow_version.BUILT_FOR} and does not load under "
            f"TensorFlow {tf.__version__}: {error}. Run `pip install --force-reinstall --no-deps detloss`."
        ) from error
