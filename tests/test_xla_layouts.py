"""The memory layouts that the ops ask XLA for.

The kernels read and write row-major arrays. XLA's compiler for GPUs hands over whatever layout suits a producer, if the
call does not say which it takes; the one for CPUs is row-major by itself, so that only the compiled text can tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import detloss
import execution

BATCH, ROWS, COLUMNS, ANCHORS, CLASSES = 2, 4, 6, 3, 3
CHANNELS = ANCHORS * (5 + CLASSES)
STAGES = ("hlo", "optimized_hlo")
DTYPES = (tf.float32, tf.float16, tf.bfloat16, tf.float64)


def transposed(images: tf.Tensor) -> tf.Tensor:
    """Channels first, as convolutions on a GPU like them, to channels last."""
    return tf.transpose(images, [0, 3, 1, 2])


def convolved(images: tf.Tensor) -> tf.Tensor:
    """A head that turns the channels over."""
    kernel = tf.reverse(tf.eye(CHANNELS, dtype=images.dtype), [0])
    return tf.nn.conv2d(tf.transpose(images, [0, 3, 1, 2]), kernel[tf.newaxis, tf.newaxis], 1, "SAME")


PRODUCERS = {"transposed": transposed, "convolution": convolved}


def images_of(dtype: tf.DType, batch: int = BATCH) -> tf.Tensor:
    """Numbers whose convolution is exact in every dtype: `[batch, columns, channels, rows]`."""
    numbers = np.random.default_rng(0).integers(1, 9, (batch, COLUMNS, CHANNELS, ROWS)) / 16
    return tf.cast(numbers, dtype)


def ssd_loss(head: tf.Tensor) -> tf.Tensor:
    boxes = tf.reshape(head, [-1, ROWS * COLUMNS, CHANNELS])
    labels = tf.cast(tf.range(ROWS * COLUMNS)[:, tf.newaxis] % 5 == tf.range(CHANNELS), tf.float32)
    return detloss.ssd_loss(tf.broadcast_to(labels, tf.shape(boxes)), boxes, from_logits=True, n_neg_min=3)


def yolov3_loss(head: tf.Tensor) -> tf.Tensor:
    anchors = np.arange(1.0, 13.0).reshape(2, ANCHORS, 2) / 12
    with_anchors = tf.reshape(head, [-1, ROWS, COLUMNS, ANCHORS, 5 + CLASSES])
    scales = [with_anchors, head[:, ::2, ::2]]
    y_true = []
    for scale in scales:
        cells = tf.range(tf.reduce_prod(tf.shape(scale)[1:3]) * ANCHORS)
        row = tf.constant([0.5, 0.5, 0.25, 0.25, 1.0, 0.0, 1.0, 0.0])
        labels = tf.where(cells[:, tf.newaxis] % 5 == 0, row, 0.0)
        y_true.append(tf.broadcast_to(labels, [tf.shape(head)[0], *labels.shape]))
    shapes = [(ROWS, COLUMNS), (ROWS // 2, COLUMNS // 2)]
    labels = [tf.reshape(y, [-1, *shape, ANCHORS, 5 + CLASSES]) for y, shape in zip(y_true, shapes, strict=True)]
    return detloss.yolov3_loss(labels, scales, anchors)


def hard_negative_mask(head: tf.Tensor) -> tf.Tensor:
    losses = tf.reshape(head, [-1, ROWS * COLUMNS * CHANNELS])
    return detloss.hard_negative_mask(losses, tf.ones(tf.shape(losses)[:1]))


def yolo_ignore_mask(head: tf.Tensor) -> tf.Tensor:
    true_boxes = tf.reshape(tf.cast(head[:, 0, :, :4], tf.float32), [-1, COLUMNS, 4])
    return detloss.yolo_ignore_mask(head[..., :4], tf.transpose(tf.transpose(true_boxes, [2, 0, 1]), [1, 2, 0]))


def with_gradient(loss: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor], Any]:
    def differentiate(head: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(head)
            value = loss(head)
        return value, tape.gradient(value, head)

    return differentiate


#: What to compile, and how often each target is called.
FUNCTIONS: dict[str, tuple[Callable[[tf.Tensor], Any], dict[str, int]]] = {
    "ssd_loss": (with_gradient(ssd_loss), {"detloss_ssd_loss": 1, "detloss_ssd_loss_grad": 1}),
    "yolov3_loss": (with_gradient(yolov3_loss), {"detloss_yolov3_loss": 1, "detloss_yolov3_loss_grad": 2}),
    "hard_negative_mask": (hard_negative_mask, {"detloss_hard_negative_mining": 1}),
    "yolo_ignore_mask": (yolo_ignore_mask, {"detloss_yolo_ignore_mask": 1}),
}

SHAPE = re.compile(r"\b[a-z]+\d*\[(?P<sizes>[\d,]*)\](?:\{(?P<layout>[^}]*)\})?")
CALL = re.compile(
    r"= \((?P<results>.*)\) custom-call\((?P<operands>.*?)\), custom_call_target=\"(?P<target>detloss_\w+)\""
)
CONSTRAINTS = re.compile(r"operand_layout_constraints=\{(?P<shapes>.*?)\}, api_version")


def layouts(text: str) -> list[str]:
    """Of every shape in the text: `"row-major"`, or how it is written."""
    found = []
    for shape in SHAPE.finditer(text):
        rank = len(shape["sizes"].split(",")) if shape["sizes"] else 0
        row_major = ",".join(str(dimension) for dimension in reversed(range(rank)))
        found.append("row-major" if (shape["layout"] or "") == row_major else shape[0])
    return found


def assert_row_major(text: str, calls: dict[str, int]) -> None:
    """Every call of a handler takes and gives row-major arrays, and says so."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        call = CALL.search(line)
        if call is None:
            assert "detloss_" not in line or "custom-call" not in line, line
            continue
        found[call["target"]] = found.get(call["target"], 0) + 1
        constraints = CONSTRAINTS.search(line)
        assert constraints is not None, f"no operand_layout_constraints: {line}"
        assert set(layouts(call["results"])) == {"row-major"}, line
        operands = call["operands"].count("%") or call["operands"].count(",") + 1
        assert layouts(constraints["shapes"]) == ["row-major"] * operands, line
    assert found == calls


def compiled_text(function: Callable[..., Any], stage: str, *arguments: Any) -> str:
    return execution.in_mode("xla", function).experimental_get_compiler_ir(*arguments)(stage=stage)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("producer", PRODUCERS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_calls_take_and_give_row_major_arrays(name, producer, dtype):
    function, calls = FUNCTIONS[name]
    for stage in STAGES:
        text = compiled_text(lambda images: function(PRODUCERS[producer](images)), stage, images_of(dtype))
        assert_row_major(text, calls)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_so_do_calls_of_nothing(name):
    function, calls = FUNCTIONS[name]
    text = compiled_text(lambda images: function(transposed(images)), "hlo", images_of(tf.float32, batch=0))
    assert_row_major(text, calls)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("producer", PRODUCERS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_same_bits_as_eagerly(name, producer, dtype):
    function, _ = FUNCTIONS[name]
    eager, compiled = (
        execution.run(mode, lambda images: function(PRODUCERS[producer](images)), images_of(dtype))
        for mode in ("eager", "xla")
    )
    execution.assert_same_bits(compiled, eager)
