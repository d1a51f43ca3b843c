"""A loss as the call that is timed: forward, or forward and backward, in eager mode, as a graph or compiled by XLA.

A call takes one step over each of several batches, as `steps_per_execution` of `Model.compile` does: calling a
`tf.function` costs up to a millisecond, which a training step pays once for the whole model and not for its loss.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from detloss.benchmark.case import Batch, LossFunction

StepOutput = tuple[tf.Tensor, list[tf.Tensor]]
"""The loss, and its gradient with respect to every prediction tensor (none for a forward pass)."""

Tensors = Sequence[tf.Tensor]

Steps = Callable[[Sequence[Tensors], Sequence[Tensors]], list[StepOutput]]
"""`(labels, predictions)` of every batch to what a step over it gives."""


def make_steps(loss: LossFunction, mode: str, what: str, like: Sequence[Batch]) -> Steps:
    """`loss` as a call that takes a step over each of `len(like)` batches of any size, one after the other."""
    steps = functools.partial(_in_a_row, _forward if what == "forward" else _forward_backward, loss)
    if mode == "eager":
        return steps
    signature = [
        [_specifications(batch.labels) for batch in like],
        [_specifications(batch.predictions) for batch in like],
    ]
    function: Steps = tf.function(steps, input_signature=signature, jit_compile=True if mode == "xla" else None)
    return function


def run(steps: Steps, batches: Sequence[Batch]) -> list[StepOutput]:
    """Calls `steps` and returns when its results are there."""
    outputs = steps([list(batch.labels) for batch in batches], [list(batch.predictions) for batch in batches])
    # On a CPU the results are there already. On a GPU the copy of the small loss waits for all work queued before it.
    outputs[-1][0].numpy()
    return outputs


def _in_a_row(
    step: Callable[[LossFunction, Tensors, Tensors], StepOutput],
    loss: LossFunction,
    labels: Sequence[Tensors],
    predictions: Sequence[Tensors],
) -> list[StepOutput]:
    outputs: list[StepOutput] = []
    for batch_labels, batch_predictions in zip(labels, predictions, strict=True):
        # A graph would run steps that do not depend on each other at the same time.
        with tf.control_dependencies(tf.nest.flatten(outputs[-1:])):
            ready = [[tf.identity(tensor) for tensor in tensors] for tensors in (batch_labels, batch_predictions)]
        outputs.append(step(loss, *ready))
    return outputs


def _forward(loss: LossFunction, labels: Tensors, predictions: Tensors) -> StepOutput:
    return loss(labels, predictions), []


def _forward_backward(loss: LossFunction, labels: Tensors, predictions: Tensors) -> StepOutput:
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(predictions)
        value = loss(labels, predictions)
    return value, tape.gradient(value, list(predictions))


def _specifications(tensors: Tensors) -> list[tf.TensorSpec]:
    return [tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype) for tensor in tensors]
