"""Calls the ops on empty tensors with huge dimensions, in one mode. Prints how many calls gave a result or an error."""

from __future__ import annotations

import collections
import itertools
import json
import math
import operator
import sys

import hypothesis
import tensorflow as tf
from hypothesis import strategies

import execution
import raw_ops

MODE = sys.argv[1]
EXAMPLES = {"eager": 100, "graph": 50, "xla": 30}
HUGE = [2**31, 2**32, 2**40, 2**48, 2**62]
# A result for every image is as large as the batch: none between what is quickly made and what is refused.
BATCHES = strategies.sampled_from([0, 1, 2, 2**20]) | strategies.sampled_from([0, *HUGE])
SIZES = strategies.sampled_from([0, 1, 2, 3]) | strategies.sampled_from([0, 2**16, 2**31 - 1, *HUGE])
COLUMNS = strategies.sampled_from([14, 28, 42]) | strategies.sampled_from([0, 4, 6, 15, 2**20, *HUGE])
ERRORS = (ValueError, tf.errors.InvalidArgumentError)


def boxes(draw, columns=COLUMNS, dimensions=1):
    return [draw(BATCHES), *(draw(SIZES) for _ in range(dimensions)), draw(columns)]


def shapes_of(op: str, draw) -> list[list[int]]:
    """Shapes that fit each other but for their sizes; now and then one that does not."""
    if op.startswith("ssd_loss"):
        y_pred = boxes(draw)
        shapes = [y_pred, y_pred]
        if op == "ssd_loss_grad":
            shapes = [y_pred[:1], *shapes, y_pred[:2]]
    elif op == "hard_negative_mining":
        losses = [draw(BATCHES), draw(SIZES)]
        shapes = [losses, losses[:1]]
    elif op == "yolo_ignore_mask":
        predicted = boxes(draw, strategies.just(4), draw(strategies.integers(0, 3)))
        shapes = [predicted, [predicted[0], draw(SIZES), 4]]
    else:
        cells = [draw(BATCHES), draw(SIZES), draw(SIZES)]
        y_pred = [*cells, draw(COLUMNS)] if draw(strategies.booleans()) else [*cells, 2, draw(COLUMNS)]
        shapes = [y_pred, y_pred]
        if op == "yolov3_loss_grad":
            shapes = [cells[:1], *shapes, [cells[0], min(2 * cells[1] * cells[2], 2**62)]]
    if draw(strategies.integers(0, 4)) == 0:
        shapes[draw(strategies.integers(0, len(shapes) - 1))] = [draw(SIZES) for _ in range(draw(SIZES) % 4)]
    return shapes


def most_elements(shape: list[int]) -> int:
    """The largest number that counting the elements meets."""
    return max(itertools.accumulate(shape, operator.mul, initial=1))


def can_be_made(shape: list[int]) -> bool:
    return most_elements(shape) < 2**63 and math.prod(shape) <= 2**21


def call(op: str, shapes: list[list[int]], known: bool) -> None:
    tensors = [tf.zeros(shape) for shape in shapes]
    signature = {} if known or MODE == "eager" else dict(input_signature=[tf.TensorSpec(None)] * len(shapes))
    execution.in_mode(MODE, raw_ops.OPS[op][0], **signature)(*tensors)


def fuzz(op: str) -> collections.Counter[str]:
    outcomes: collections.Counter[str] = collections.Counter()

    @hypothesis.settings(
        max_examples=EXAMPLES[MODE],
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategies.data())
    def call_once(data):
        shapes = shapes_of(op, data.draw)
        hypothesis.assume(all(can_be_made(shape) for shape in shapes))
        print(op, shapes, file=sys.stderr, flush=True)  # the last one is what a crash was about
        try:
            # XLA itself crashes on arguments that are unknown beforehand and have more bytes than an integer counts.
            known = MODE == "xla" and max(map(most_elements, shapes)) >= 2**60
            call(op, shapes, known or data.draw(strategies.booleans()))
            outcomes["results"] += 1
        except ERRORS as error:
            outcomes["errors" if "expected" in str(error) else str(error)] += 1

    call_once()
    return outcomes


print(json.dumps({op: fuzz(op) for op in raw_ops.OPS}))
