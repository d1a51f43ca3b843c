"""Which TensorFlow this package was built for, checked before any library of it is loaded.

TensorFlow's C++ symbols carry a dated Abseil namespace, so an op library loads under the minor version that it was
compiled for and no other. The build reads `BUILT_FOR` from this file and refuses any other TensorFlow.
"""

from __future__ import annotations

import importlib.metadata
import sys

BUILT_FOR = "2.21"
_DISTRIBUTIONS = ("tensorflow", "tensorflow-cpu", "tensorflow-gpu", "tf-nightly", "tf-nightly-cpu")


def installed_version() -> str | None:
    """Version of the TensorFlow that `import tensorflow` finds, without importing it; `None` when there is none."""
    loaded = getattr(sys.modules.get("tensorflow"), "__version__", None)
    if loaded is not None:
        return str(loaded)
    for distribution in _DISTRIBUTIONS:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def check(found: str | None) -> None:
    """Raises `ImportError` for a TensorFlow of another minor version; none at all is fine for `detloss._core`."""
    if found is None or found.split(".")[:2] == BUILT_FOR.split("."):
        return
    raise ImportError(
        f"detloss was built for TensorFlow {BUILT_FOR}, but TensorFlow {found} is installed, and an op library loads "
        f'only under the minor version it was compiled for. Run `pip install "tensorflow~={BUILT_FOR}.0"`, or install '
        f"the detloss release for TensorFlow {'.'.join(found.split('.')[:2])}."
    )
