"""`detloss.check_targets` on the tensors of a graph, whose values are known only when it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy.typing as npt
import tensorflow as tf

from detloss.ops import arguments, implementation


def is_symbolic(value: Any) -> bool:
    """Whether `value` is a tensor, or a variable, of a graph that is being built."""
    if isinstance(value, tf.Variable):
        return not tf.executing_eagerly()
    return bool(tf.is_symbolic_tensor(value))


def check_when_run(
    check: Callable[[Sequence[npt.NDArray[Any]]], None], names: Sequence[str], values: Sequence[Any]
) -> list[list[int | None] | None]:
    """Calls `check` with the arrays of all values whenever the graph runs; their shapes as far as they are known now.

    The call is stateful, so that `Dataset.map` and `tf.function` run it, though nothing takes a result of it.

    Raises:
      NotImplementedError: XLA compiles the graph, or it is one of TensorFlow 1, which would drop the call.
      TypeError: a value is no dense tensor.
    """
    if implementation.xla_compiles():
        raise NotImplementedError(
            "check_targets: XLA compiles this function and cannot call Python. Check labels in the data pipeline, "
            "dataset.map(...), or outside the function that jit_compile=True compiles"
        )
    if not tf.compat.v1.get_default_graph().building_function:
        raise NotImplementedError(
            "check_targets: expected eager tensors or those of a tf.function or Dataset.map, got those of a graph of "
            "TensorFlow 1, which runs only what a session asks for"
        )
    tensors = [arguments.as_tensor(name, value) for name, value in zip(names, values, strict=True)]

    def call(*arrays: npt.NDArray[Any]) -> None:
        check(arrays)

    tf.numpy_function(call, tensors, [])
    return [None if tensor.shape.rank is None else tensor.shape.as_list() for tensor in tensors]
