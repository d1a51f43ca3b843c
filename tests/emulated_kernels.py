"""The CUDA kernels emulated on the host (`tests/cc/simt`), behind the functions of `_core.device`.

`make cc-test` builds them.
"""

from __future__ import annotations

import importlib.util
import pathlib
from typing import Any

_BUILD = pathlib.Path(__file__).resolve().parent.parent / "build" / "cc-test" / "tests" / "cc"
_LIBRARIES = sorted(_BUILD.glob("_emulated.*.so"))


def load() -> Any:
    """A module that has `device`, as `_core` of a CUDA build has; `None` where it is not built."""
    if not _LIBRARIES:
        return None
    spec = importlib.util.spec_from_file_location("_emulated", _LIBRARIES[0])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
