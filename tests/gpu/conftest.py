"""Skips, visibly, the files of this folder that need what this machine lacks."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pathlib

import pytest

from detloss import _core

# TensorFlow would take all of the GPU's memory, of which other tests need some.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")


def pytest_pycollect_makemodule(module_path: pathlib.Path, parent: pytest.Collector) -> pytest.Module | None:
    """Collects a file only where what it imports is there."""
    reason = why_not(module_path.name)
    return None if reason is None else _Skipped.from_parent(parent, path=module_path, reason=reason)


def why_not(file: str) -> str | None:
    """What is missing for the tests of a file."""
    if not hasattr(_core, "device"):
        return "this build of detloss has no CUDA kernels"
    if file.startswith("test_tensorflow"):
        return _why_not_tensorflow()
    return _why_not_cupy() if file == "test_device_cupy.py" else _why_not_torch()


def _why_not_torch() -> str | None:
    if importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed"
    return None if importlib.import_module("torch").cuda.is_available() else "PyTorch finds no GPU"


def _why_not_cupy() -> str | None:
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed"
    return None if importlib.import_module("cupy").is_available() else "CuPy finds no GPU"


def _why_not_tensorflow() -> str | None:
    if importlib.util.find_spec("tensorflow") is None:
        return "TensorFlow is not installed"
    if not (pathlib.Path(str(_core.__file__)).parent / "_ops.so").is_file():
        return "detloss was built without its TensorFlow ops"
    gpus = importlib.import_module("tensorflow").config.list_physical_devices("GPU")
    return None if gpus else "TensorFlow finds no GPU"


class _Skipped(pytest.Module):
    def __init__(self, *, reason: str, **arguments: object):
        super().__init__(**arguments)
        self._reason = reason

    def collect(self) -> list[pytest.Item]:
        pytest.skip(f"{self.path.name}: {self._reason}", allow_module_level=True)
