"""Checks that the losses' options share, one per kind of option. TensorFlow is not needed.

Every function returns the option as a plain Python value, which serialises, and never converts what is of another kind:
a string is no flag, a tensor or a variable no number.
"""

from __future__ import annotations

import math
import numbers
import struct
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

#: Options are float32 and int64 in the kernels.
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
LARGEST_INT64 = 2**63 - 1
_SMALLEST_INT64 = -(2**63)
_MOST_SHOWN = 120


def check_option(name: str, value: object, expected: Collection[str], or_else: str | None = None) -> str:
    """Raises `TypeError` unless `value` is a string, `ValueError` unless it is one of `expected`.

    The text tells what the caller takes, or else.
    """
    text = f"one of {sorted(expected)}" + (f", or {or_else}" if or_else else "")
    if not isinstance(value, str):
        raise _wrong_type(name, text, value)
    if value not in expected:
        raise _wrong_value(name, text, value)
    return str(value)


def check_flag(name: str, value: object) -> bool:
    """Raises `TypeError` unless `value` is a boolean."""
    if not isinstance(value, bool | np.bool_):
        raise _wrong_type(name, "True or False", value)
    return bool(value)


def check_count(name: str, value: object, least: int | None = 0, most: int = LARGEST_INT64) -> int:
    """Raises `TypeError` unless `value` is an integer, `ValueError` unless it is from `least` to `most`.

    `None` stands for the smallest int64.
    """
    text = "an integer" if least is None else f"an integer of at least {least}"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise _wrong_type(name, text, value)
    count = int(value)
    if count > most:
        raise _wrong_value(name, f"{text} and at most {most}", value)
    if count < (_SMALLEST_INT64 if least is None else least):
        raise _wrong_value(name, text, value)
    return count


def check_number(name: str, value: object, least: float = 0, below: float = math.inf) -> float:
    """Raises `TypeError` unless `value` is a real number, `ValueError` unless its float32 is finite and in the range.

    The range is checked as the kernels see it, after rounding to float32: the largest number below 1 is no number below
    1 there.
    """
    text = f"a finite number of at least {least:g}" + (f" and below {below:g}" if below < math.inf else "")
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise _wrong_type(name, text, value)
    try:
        (rounded,) = struct.unpack("f", struct.pack("f", value))
    except OverflowError:
        largest = f"{text}, and of at most {LARGEST_FLOAT32:.8g} in magnitude, the largest float32"
        raise _wrong_value(name, largest, value) from None
    if not (math.isfinite(rounded) and least <= rounded < below):
        raise _wrong_value(name, text, value)
    return float(value)


def as_sequence(name: str, value: Any, expected: str) -> list[Any]:
    """The items of a list, tuple or one-dimensional array.

    Raises:
      TypeError: anything else, a string or a tensor too.
    """
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1):
        return list(value)
    raise _wrong_type(name, expected, value)


def as_numbers(name: str, value: Any) -> npt.NDArray[np.float64]:
    """Numbers in an array, an eager tensor or nested lists as a float64 array.

    Raises:
      TypeError: anything else, as a variable, which would have to be followed.
      ValueError: lists of different lengths.
    """
    if hasattr(value, "numpy") and not hasattr(value, "assign"):
        value = value.numpy()  # a tensor of TensorFlow never changes: it is as good as an array
    _check_leaves(name, value)
    try:
        return np.asarray(value, np.float64)
    except ValueError:
        raise _wrong_value(name, "lists of equal lengths", value) from None


def _check_leaves(name: str, value: Any) -> None:
    if isinstance(value, list | tuple):
        for item in value:
            _check_leaves(name, item)
        return
    is_array = isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "fiu"
    if not is_array and (isinstance(value, bool) or not isinstance(value, numbers.Real)):
        raise _wrong_type(name, "numbers in an array or in lists", value)


def _wrong_type(name: str, expected: str, value: object) -> TypeError:
    text = f"{name}: expected {expected}, got {_shown(value)} of type {type(value).__name__}"
    if hasattr(value, "dtype") and not isinstance(value, np.ndarray | np.generic):
        text += ". Options are plain Python values that stay as they were given: tensors and variables are not followed"
    return TypeError(text)


def _wrong_value(name: str, expected: str, value: object) -> ValueError:
    return ValueError(f"{name}: expected {expected}, got {_shown(value)}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
