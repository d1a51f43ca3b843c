"""What the ops themselves refuse, whoever calls them: when a graph is built, or at the call."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import child_process
import detloss
import execution
import raw_ops
import ssd_cases
import yolov3_cases
from detloss import reference

NON_NEGATIVE = "expected a finite number of at least 0, got "
#: TensorFlow itself turns a number that float32 cannot hold into infinity.
NOT_NON_NEGATIVE = [(-0.5, "-0.5"), (math.nan, "nan"), (math.inf, "inf"), (1e300, "inf")]
BAD_NUMBERS: dict[str, list[tuple[Any, str]]] = {
    **{
        name: [(value, NON_NEGATIVE + got) for value, got in NOT_NON_NEGATIVE]
        for name in (
            "alpha",
            "neg_pos_ratio",
            "ignore_thresh",
            "box_weight",
            "object_weight",
            "no_object_weight",
            "class_weight",
        )
    },
    "class_weights": [([1.0, value], NON_NEGATIVE + got) for value, got in NOT_NON_NEGATIVE],
    "n_neg_min": [(-1, "expected at least 0, got -1"), (-(2**63), "expected at least 0, got -9223372036854775808")],
    "label_smoothing": [
        (value, f"expected a number from 0 to below 1, got {got}")
        for value, got in [(1.0, "1"), (-0.5, "-0.5"), (math.nan, "nan"), (1e300, "inf")]
    ],
    "anchors": [
        ([1.0, value, 1.0, 1.0], f"expected finite numbers above 0 that are not subnormal, got {got}")
        for value, got in [(0.0, "0"), (-1.0, "-1"), (math.nan, "nan"), (1e300, "inf"), (1e-40, "9.99995e-41")]
    ],
    "grid_sense": [
        ([value], f"expected a finite number of at least 1, got {got}")
        for value, got in [(0.5, "0.5"), (math.nan, "nan"), (1e300, "inf")]
    ],
    "strides": [
        ([value], f"expected integers from 0 to 1048576, got {value}") for value in (-1, 2**20 + 1, 2**62, -(2**63))
    ],
}
#: Wrong for any shape. Those of a layout say so under another name.
BAD_COUNTS: dict[str, tuple[Any, str]] = {
    "anchors": ([1.0, 1.0, 1.0], "anchors: expected width and height of the same number of anchors for 1 scale(s), "),
    "strides": ([32, 16], "strides: expected 1 numbers, one per scale, got 2"),
    "grid_sense": ([1.0, 1.0], "grid_sense: expected 1 numbers, one per scale, got 2"),
    "num_classes": (1, "layout: expected at least 2 classes (background and one more), got 1"),
}
#: Wrong for the shapes of `raw_ops.OPS` only.
BAD_FOR_THE_SHAPE: dict[str, tuple[Any, str]] = {
    "class_weights": ([1.0], "class_weights: expected 2 numbers, one per class, got 1"),
    "box_column": (12, "layout: expected box_column to name 4 columns within a row of 15, got first column 12"),
}
ATTRIBUTES = {
    "ssd_loss": ["alpha", "neg_pos_ratio", "n_neg_min", "num_classes", "box_column"],
    "ssd_loss_grad": ["alpha", "num_classes", "box_column"],
    "hard_negative_mining": ["neg_pos_ratio", "n_neg_min"],
    "yolo_ignore_mask": ["ignore_thresh"],
    "yolov3_loss": [
        "anchors",
        "strides",
        "grid_sense",
        "ignore_thresh",
        "label_smoothing",
        "box_weight",
        "object_weight",
        "no_object_weight",
        "class_weight",
        "class_weights",
    ],
    "yolov3_loss_grad": [
        "anchors",
        "strides",
        "grid_sense",
        "label_smoothing",
        "box_weight",
        "class_weight",
        "class_weights",
    ],
}


def bad_attributes(op: str, known_shapes: bool) -> list[tuple[dict[str, Any], str]]:
    """Attributes of which one is bad, and what the error says."""
    cases = []
    for name in ATTRIBUTES[op]:
        cases += [({name: value}, f"{name}: {text}") for value, text in BAD_NUMBERS.get(name, [])]
        for bad in [BAD_COUNTS, *([BAD_FOR_THE_SHAPE] if known_shapes else [])]:
            if name in bad:
                cases.append(({name: bad[name][0]}, bad[name][1]))
    return cases


@pytest.mark.parametrize("op", raw_ops.OPS)
def test_bad_attributes_are_named_eagerly(op):
    call, shapes = raw_ops.OPS[op]
    arguments = [tf.zeros(shape) for shape in shapes]
    call(*arguments)
    for attributes, text in bad_attributes(op, known_shapes=True):
        with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape(text)):
            call(*arguments, **attributes)


@pytest.mark.parametrize("mode", ["graph", "xla"])
@pytest.mark.parametrize("known_shapes", [True, False], ids=["known shapes", "unknown shapes"])
@pytest.mark.parametrize("op", raw_ops.OPS)
def test_bad_attributes_are_named_when_a_graph_is_built(op, known_shapes, mode):
    call, shapes = raw_ops.OPS[op]
    specs = [tf.TensorSpec(shape if known_shapes else None, tf.float32) for shape in shapes]
    for attributes, text in bad_attributes(op, known_shapes):
        function = execution.in_mode(mode, lambda *arguments, given=attributes: call(*arguments, **given))
        with pytest.raises(ValueError, match=re.escape(text)):
            function.get_concrete_function(*specs)


@pytest.mark.parametrize("mode", execution.MODES)
@pytest.mark.parametrize("op", raw_ops.OPS)
def test_label_dtypes_are_named(op, mode):
    call, shapes = raw_ops.OPS[op]
    predictions = {"ssd_loss_grad": 2, "yolov3_loss_grad": 2, "yolov3_loss": 1, "ssd_loss": 1}.get(op, 0)
    arguments = [tf.zeros(shape) for shape in shapes]
    arguments[predictions] = tf.cast(arguments[predictions], tf.float64)
    if mode == "eager":  # TensorFlow's own text, which lists the pairs that there are
        expected = pytest.raises(tf.errors.NotFoundError, match=r"T in \[DT_DOUBLE\]; Tlabel in \[DT_DOUBLE\]")
    else:
        text = "Tlabel: expected float32, or float64 with float64 predictions, got float with double"
        expected = pytest.raises(ValueError, match=text)
    with expected:
        execution.in_mode(mode, call)(*arguments)


# Subnormal attributes. TensorFlow's threads take them for zero; a caller's thread does not.

SUBNORMAL = 1e-40


def in_every_mode(function: Any, *tensors: Any) -> Any:
    """The result, which has the same bits in every mode."""
    first, *others = [execution.run(mode, function, *tensors) for mode in execution.MODES]
    for other in others:
        execution.assert_same_bits(other, first)
    return first


@pytest.mark.parametrize("implementation", [detloss, reference], ids=["fused", "reference"])
def test_a_subnormal_ratio_asks_for_negatives(implementation):
    losses, positives = np.float32([[3, 1, 2], [1, 2, 3]]), np.float32([1, 0])

    def kept(ratio):
        return in_every_mode(
            lambda *tensors: implementation.hard_negative_mask(
                *tensors, neg_pos_ratio=ratio, n_neg_min=2, mining_scope="image_uniform"
            ),
            losses,
            positives,
        ).sum()

    assert kept(SUBNORMAL) == 0  # the first image asks for less than one
    assert kept(0.0) == 4  # no image asks for any


@pytest.mark.parametrize("implementation", [detloss, reference], ids=["fused", "reference"])
def test_a_subnormal_threshold_is_above_no_overlap(implementation):
    boxes = np.float32([[[0.5, 0.5, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1]]])

    def ignored(thresh, comparator):
        return in_every_mode(
            lambda *tensors: implementation.yolo_ignore_mask(*tensors, ignore_thresh=thresh, comparator=comparator),
            boxes,
            boxes[:, :1],
        ).tolist()

    assert ignored(SUBNORMAL, "<") == [[True, False]]
    assert ignored(0.0, "<") == [[True, True]]
    assert ignored(SUBNORMAL, "<=") == ignored(0.0, "<=") == [[True, False]]


def test_a_subnormal_alpha_is_no_zero():
    y_true, y_pred = ssd_cases.ssd_batch(2, 50, positive_share=0.3)
    y_pred[..., -12:-8] *= 1e6

    def localization(labels, predictions):
        with tf.GradientTape() as tape:
            tape.watch(predictions)
            loss, components = detloss.ssd_loss(labels, predictions, alpha=SUBNORMAL, return_components=True)
        return components["localization"], tape.gradient(loss, predictions)

    term, gradient = in_every_mode(localization, y_true, y_pred)
    assert (term > 0).all()
    assert gradient[..., -12:-8].view(np.int32).any()


@pytest.mark.parametrize(
    "attribute, component",
    [
        ("box_weight", "box"),
        ("object_weight", "object"),
        ("no_object_weight", "no_object"),
        ("class_weight", "class"),
        ("class_weights", "class"),
    ],
)
def test_subnormal_weights_are_no_zeros(attribute, component):
    batch = yolov3_cases.yolov3_batch()
    weight: Any = [SUBNORMAL] * yolov3_cases.CLASSES if attribute == "class_weights" else SUBNORMAL

    def term(*tensors):
        labels, logits = tensors[:2], tensors[2:]
        _, components = detloss.yolov3_loss(
            labels, logits, batch.anchors, return_components=True, **{attribute: weight}
        )
        return components[component]

    assert in_every_mode(term, *batch.y_true, *[1e4 * logits for logits in batch.y_pred]).view(np.int32).all()


# Shapes


@pytest.mark.parametrize("mode", execution.MODES)
@pytest.mark.parametrize("known", [True, False], ids=["static", "unknown"])
@pytest.mark.parametrize("op", ["yolov3_loss", "yolov3_loss_grad"])
def test_more_cells_than_an_integer_counts(op, known, mode):
    call, _ = raw_ops.OPS[op]
    cells, none = tf.zeros([0, 2**32, 2**31, 1, 6]), tf.zeros([0])
    arguments = [cells, cells] if op == "yolov3_loss" else [none, cells, cells, tf.zeros([0, 1])]
    signature = {} if known or mode == "eager" else dict(input_signature=[tf.TensorSpec(None)] * len(arguments))
    function = execution.in_mode(mode, lambda *tensors: call(*tensors, anchors=[1.0, 1.0]), **signature)
    text = "y_pred[0]: expected at most 2147483647 cells times anchors in a batch, got shape "
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=re.escape(text)) as caught:
        function(*arguments)
    assert "[0,4294967296,2147483648,1,6]" in str(caught.value)


@pytest.mark.parametrize("mode", execution.MODES)
def test_shapes_of_nothing_in_a_child_process(mode):
    """Dimensions up to 2^62 beside empty ones: an error or a result, where a crash would end the process."""
    outcomes = child_process.run("fuzz_raw_op_shapes.py", mode)
    assert outcomes.keys() == raw_ops.OPS.keys()
    assert set().union(*(found.keys() for found in outcomes.values())) == {"results", "errors"}
