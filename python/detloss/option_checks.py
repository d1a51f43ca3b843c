"""Checks that the losses' options share. TensorFlow is not needed."""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection


def check_option(name: str, value: object, expected: Collection[str]) -> None:
    """Raises `ValueError` unless `value` is one of `expected`."""
    if value not in expected:
        raise ValueError(f"{name}: expected one of {sorted(expected)}, got {value!r}")


def check_non_negative(name: str, value: object) -> None:
    """Raises `TypeError` unless `value` is a real number, `ValueError` unless it is finite and at least zero."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: expected a finite number of at least 0, got {value!r}")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name}: expected a finite number of at least 0, got {value!r}")


def check_count(name: str, value: object) -> None:
    """Raises `TypeError` unless `value` is an integer, `ValueError` unless it is at least zero."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: expected an integer of at least 0, got {value!r}")
    if value < 0:
        raise ValueError(f"{name}: expected an integer of at least 0, got {value!r}")
