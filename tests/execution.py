"""Runs TensorFlow functions eagerly, as a graph and compiled by XLA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

MODES = ("eager", "graph", "xla")


def in_mode(mode: str, function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """The function as the mode runs it; `options` are those of `tf.function`."""
    if mode == "eager":
        return function
    return tf.function(function, jit_compile=mode == "xla", autograph=False, reduce_retracing=False, **options)


def run(mode: str, function: Callable[..., Any], *tensors: Any) -> Any:
    """The result of one call as NumPy arrays."""
    return _as_numpy(in_mode(mode, function)(*map(tf.convert_to_tensor, tensors)))


def differentiated(mode: str, loss: Callable[[tf.Tensor, tf.Tensor], Any]) -> Callable[..., tuple[Any, Any]]:
    """A function of labels, predictions and, if given, the gradient of the loss: result and gradient as NumPy arrays.

    The result is what `loss` returns, its first item the loss. Without a given gradient the loss is summed.
    """

    def with_gradient(y_true: tf.Tensor, y_pred: tf.Tensor, loss_gradient: tf.Tensor | None) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            result = loss(y_true, y_pred)
        value = result[0] if isinstance(result, tuple) else result
        return result, tape.gradient(value, y_pred, output_gradients=loss_gradient)

    function = in_mode(mode, with_gradient)

    def call(y_true: Any, y_pred: Any, loss_gradient: Any = None) -> tuple[Any, Any]:
        upstream = None if loss_gradient is None else tf.convert_to_tensor(loss_gradient)
        return _as_numpy(function(tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred), upstream))

    return call


def value_and_gradient(
    mode: str, loss: Callable[[tf.Tensor, tf.Tensor], Any], y_true: Any, y_pred: Any, loss_gradient: Any = None
) -> tuple[Any, Any]:
    """`differentiated` for one call."""
    return differentiated(mode, loss)(y_true, y_pred, loss_gradient)


def assert_same_bits(actual: Any, expected: Any) -> None:
    """For nested NumPy arrays."""
    for one, other in zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True):
        assert one.tobytes() == other.tobytes()


def _as_numpy(tensors: Any) -> Any:
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), tensors)
