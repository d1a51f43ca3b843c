"""How near the results of the CPU and of a GPU have to be."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

DTYPES = (np.float32, np.float16, ml_dtypes.bfloat16, np.float64)

#: Largest relative differences, and those of a gradient, whose terms may cancel, as a share of its largest magnitude. A
#: unit in the last place of the dtype is always allowed.
_RELATIVE, _OF_LARGEST = {"float64": 1e-9}, {"float64": 1e-16}
_USUAL_RELATIVE, _USUAL_OF_LARGEST = 1e-5, 1e-7


def assert_close(actual: np.ndarray, expected: np.ndarray, name: str = "") -> None:
    """Within `1e-5` of the value (float64: `1e-9`) or a unit in the last place; NaN and infinity where expected.

    A gradient may also differ by a rounding error of its largest magnitude; integers are equal.
    """
    assert actual.dtype == expected.dtype, name
    assert actual.shape == expected.shape, name
    if expected.dtype.kind in "biu":
        return assert_equal(actual, expected, name)
    limits = ml_dtypes.finfo(expected.dtype)
    wanted, found = expected.astype(np.float64), actual.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        exponent = np.floor(np.log2(np.abs(wanted)))
        unit = np.maximum(np.exp2(exponent) * float(limits.eps), float(limits.smallest_subnormal))
        allowed = np.maximum(np.abs(wanted) * _RELATIVE.get(expected.dtype.name, _USUAL_RELATIVE), unit)
        if wanted.ndim > 2:
            largest = np.max(np.abs(wanted), initial=0, where=np.isfinite(wanted))
            allowed = allowed + largest * _OF_LARGEST.get(expected.dtype.name, _USUAL_OF_LARGEST)
        same = (found == wanted) | (np.isnan(found) & np.isnan(wanted)) | (np.abs(found - wanted) <= allowed)
    if not same.all():
        where = tuple(int(axis[0]) for axis in np.nonzero(~same))
        raise AssertionError(
            f"{name}: {np.count_nonzero(~same)} of {same.size} values differ, the first at {where}: "
            f"expected {expected[where]!r}, got {actual[where]!r}"
        )


def assert_equal(actual: np.ndarray, expected: np.ndarray, name: str = "") -> None:
    assert actual.dtype == expected.dtype, name
    np.testing.assert_array_equal(actual, expected, err_msg=name)


def assert_same_bits(actual: Any, expected: Any) -> None:
    """For nested dicts and lists of NumPy arrays."""
    if isinstance(expected, dict):
        actual, expected = list(actual.values()), list(expected.values())
    if isinstance(expected, list | tuple):
        for one, other in zip(actual, expected, strict=True):
            assert_same_bits(one, other)
        return
    assert actual.dtype == expected.dtype
    assert actual.tobytes() == expected.tobytes()


def upstream_of(labels: np.ndarray) -> np.ndarray:
    """A gradient of the loss with different values for the images."""
    return np.linspace(0.5, 2, len(labels)).astype(labels.dtype)
