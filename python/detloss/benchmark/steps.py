"""A loss as the call that is timed: forward, or forward and backward, in eager mode, as a graph or compiled by XLA."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from detloss.benchmark.case import Batch, LossFunction

StepOutput = tuple[tf.Tensor, list[tf.Tensor]]
"""The loss, and its gradient with respect to every prediction tensor (none for a forward pass)."""

Step = Callable[[Sequence[tf.Tensor], Sequence[tf.Tensor]], StepOutput]


def make_step(loss: LossFunction, mode: str, what: str, like: Batch) -> Step:
    """`loss` as a step over batches of the shapes of `like`, for any number of images."""
    step = functools.partial(_forward if what == "forward" else _forward_backward, loss)
    if mode == "eager":
        return step
    signature = [[_specification(tensor) for tensor in tensors] for tensors in (like.labels, like.predictions)]
    function: Step = tf.function(step, input_signature=signature, jit_compile=True if mode == "xla" else None)
    return function


def run(step: Step, batch: Batch) -> StepOutput:
    """Calls `step` and returns when its result is there."""
    loss, gradients = step(list(batch.labels), list(batch.predictions))
    # On a CPU the results are there already. On a GPU the copy of the small loss waits for all work queued before it.
    loss.numpy()
    return loss, gradients


def _forward(loss: LossFunction, labels: Sequence[tf.Tensor], predictions: Sequence[tf.Tensor]) -> StepOutput:
    return loss(labels, predictions), []


def _forward_backward(loss: LossFunction, labels: Sequence[tf.Tensor], predictions: Sequence[tf.Tensor]) -> StepOutput:
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(predictions)
        value = loss(labels, predictions)
    return value, tape.gradient(value, list(predictions))


def _specification(tensor: tf.Tensor) -> tf.TensorSpec:
    return tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)
