"""Inputs, outputs and gradients that the original losses' own code computed."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
import pytest

_FOLDER = pathlib.Path(__file__).resolve().parent / "golden"


@dataclasses.dataclass(frozen=True)
class GoldenCase:
    """One file; the arrays load on access."""

    path: pathlib.Path

    @property
    def params(self) -> dict[str, Any]:
        """Arguments of the original loss."""
        return json.loads(str(self["meta"]))["params"]

    def __getitem__(self, array: str) -> np.ndarray:
        with np.load(self.path) as arrays:
            return arrays[array]


def golden_cases(drop_in: str) -> list[Any]:
    """The cases of a drop-in module as pytest parameters, named after their files."""
    paths = sorted(_FOLDER.glob(f"{drop_in}__*.npz"))
    assert paths, f"no golden cases of {drop_in} in {_FOLDER}"
    return [pytest.param(GoldenCase(path), id=path.stem.removeprefix(f"{drop_in}__")) for path in paths]


def assert_golden_close(actual: Any, expected: np.ndarray) -> None:
    """Within 1e-4 of the value, or 1e-5 of the largest magnitude of the array."""
    largest = np.max(np.abs(expected), initial=0)
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=1e-4, atol=1e-5 * largest)
