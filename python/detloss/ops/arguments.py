"""Conversions of the losses' tensor arguments."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

_PREDICTION_DTYPES = (tf.float32, tf.float16, tf.bfloat16, tf.float64)


def as_tensor(name: str, value: Any) -> tf.Tensor:
    """`value` as a dense tensor of any dtype.

    Raises:
      TypeError: a ragged or sparse tensor, rows of different lengths, or no tensor at all.
    """
    check_dense(name, value)
    try:
        return tf.convert_to_tensor(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected a dense tensor, got {type(value).__name__}: {error}") from error


def check_dense(name: str, value: Any) -> None:
    """Raises `TypeError` for a ragged or sparse tensor."""
    if isinstance(value, tf.RaggedTensor):
        raise TypeError(
            f"{name}: expected a dense tensor, got a RaggedTensor of shape {value.shape}. Pad its rows to one length "
            "with .to_tensor(), in the dataset or before the call"
        )
    if isinstance(value, tf.sparse.SparseTensor):
        raise TypeError(
            f"{name}: expected a dense tensor, got a SparseTensor of shape {value.shape}. Make it dense with "
            "tf.sparse.to_dense"
        )


def as_predictions(name: str, value: Any) -> tf.Tensor:
    """`value` as a tensor of one of the four floating-point dtypes, unchanged where it is one already.

    Raises:
      TypeError: any other dtype, or no dense tensor.
    """
    tensor = as_tensor(name, value)
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
      TypeError: a dtype that is no number, or no dense tensor.
    """
    tensor = as_tensor(name, value)
    if not (tensor.dtype.is_floating or tensor.dtype.is_integer or tensor.dtype.is_bool):
        raise TypeError(f"{name}: expected a numeric dtype, got {tensor.dtype.name}")
    return tf.stop_gradient(tf.cast(tensor, label_dtype(predictions)))
