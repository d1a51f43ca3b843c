"""Checks and conversions that the losses' arguments share."""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection
from typing import Any

import tensorflow as tf

_PREDICTION_DTYPES = (tf.float32, tf.float16, tf.bfloat16, tf.float64)


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


def as_predictions(name: str, value: Any) -> tf.Tensor:
    """`value` as a tensor of one of the four floating-point dtypes, unchanged where it is one already.

    Raises:
      TypeError: any other dtype.
    """
    tensor = tf.convert_to_tensor(value)
    if tensor.dtype not in _PREDICTION_DTYPES:
        expected = ", ".join(dtype.name for dtype in _PREDICTION_DTYPES)
        raise TypeError(f"{name}: expected one of the dtypes {expected}, got {tensor.dtype.name}")
    return tensor


def label_dtype(predictions: tf.Tensor) -> tf.DType:
    """Dtype of labels and losses: float32, or float64 for float64 predictions."""
    return tf.float64 if predictions.dtype == tf.float64 else tf.float32


def as_labels(name: str, value: Any, predictions: tf.Tensor) -> tf.Tensor:
    """`value` as a tensor of the predictions' label dtype, without a gradient.

    Raises:
      TypeError: a dtype that is no number.
    """
    tensor = tf.convert_to_tensor(value)
    if not (tensor.dtype.is_floating or tensor.dtype.is_integer or tensor.dtype.is_bool):
        raise TypeError(f"{name}: expected a numeric dtype, got {tensor.dtype.name}")
    return tf.stop_gradient(tf.cast(tensor, label_dtype(predictions)))
