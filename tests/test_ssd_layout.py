"""Layouts of SSD rows: Python and the kernels resolve them alike, and `num_classes` chooses and checks the width."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

import detloss
import execution
import ssd_cases
from detloss import _core
from detloss.ssd_layout import SSDLayout, as_layout

EXACT = [as_layout("ssd_keras", 21), as_layout("ssd_keras_rykov8", 21), SSDLayout(exact_width=True)]
LAYOUTS = [
    *EXACT,
    SSDLayout(),
    SSDLayout(class_column=4, box_column=0, positive_column=-8),
    SSDLayout(num_classes=21),
    SSDLayout(num_classes=21, box_column=21),
    SSDLayout(num_classes=5, class_column=-6, box_column=2, positive_column=7),
    SSDLayout(num_classes=2**63 - 1, box_column=2**63 - 1, exact_width=True),
    SSDLayout(num_classes=3, class_column=2, box_column=0),
    SSDLayout(num_classes=3, box_column=2**63 - 1),
    SSDLayout(num_classes=3, box_column=-(2**63)),
]


def core_options(layout: SSDLayout) -> dict[str, int | bool | None]:
    return {**dataclasses.asdict(layout), "num_classes": layout.num_classes or 0}


@pytest.mark.parametrize("width", [1, 6, 12, 13, 14, 17, 24, 25, 26, 33, 34])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_python_and_kernels_resolve_alike(layout, width):
    rows = np.zeros((1, 2, width), np.float32)
    assert resolution(layout.resolve, width) == resolution(
        lambda _: _core.ssd_loss_forward(rows, rows, **core_options(layout)), width
    )


def resolution(resolve: Callable[[int], object], width: int) -> str | None:
    """How a layout is refused, if it is."""
    try:
        resolve(width)
    except ValueError as error:
        return str(error).removesuffix(f": y_true and y_pred have shape [1,2,{width}]")
    return None


def test_columns_shared_by_classes_and_offsets():
    """A layout for rows of 33 columns, which used to read offsets among the classes of rows of 25."""
    with pytest.raises(
        ValueError, match=r"layout: expected columns of their own .* classes in 0 to 20 and offsets in 13"
    ):
        SSDLayout(num_classes=21).resolve(25)


def test_number_of_classes_chooses_the_width():
    for width in (25, 33):
        assert as_layout("ssd_keras", 21).resolve(width).box_column == 21
    resolved = as_layout("ssd_keras_rykov8", 21).resolve(33)
    assert (resolved.class_column, resolved.box_column, resolved.positive_column) == (4, 0, 25)
    # The columns of ssd_keras by whatever they are given, as a saved loss gives them.
    assert as_layout(SSDLayout(), 21) == as_layout(dataclasses.asdict(SSDLayout()), 21) == as_layout("ssd_keras", 21)
    own = SSDLayout(num_classes=21, box_column=21)
    assert as_layout(own, 21) is own
    with pytest.raises(ValueError, match="num_classes: expected 21, which the layout says, got 20"):
        as_layout(own, 20)


@pytest.mark.parametrize(
    "num_classes, error",
    [(1, ValueError), (0, ValueError), (-3, ValueError), (4.5, TypeError), ("21", TypeError), (True, TypeError)],
)
def test_bad_numbers_of_classes(num_classes, error):
    for make in (lambda: as_layout("ssd_keras", num_classes), lambda: SSDLayout(num_classes=num_classes)):
        with pytest.raises(error, match="num_classes: expected an integer of at least 2, got "):
            make()


@pytest.mark.parametrize(
    "columns, error, message",
    [
        (dict(class_column=0.5), TypeError, "class_column: expected an integer, got 0.5"),
        (dict(box_column="4"), TypeError, "box_column: expected an integer"),
        (dict(positive_column=False), TypeError, "positive_column: expected an integer"),
        (dict(box_column=2**63), ValueError, "box_column: expected an integer"),
        (dict(box_column=-3), ValueError, "layout: expected box_column to name 4 columns within a row"),
        (dict(num_classes=9, class_column=-8), ValueError, "layout: expected class_column to name 9 columns"),
        (dict(exact_width=1), TypeError, "exact_width: expected True or False"),
    ],
)
def test_bad_layouts(columns, error, message):
    for make in (lambda: SSDLayout(**columns), lambda: as_layout(columns), lambda: detloss.SSDLoss(layout=columns)):
        with pytest.raises(error, match=message):
            make()


@pytest.mark.parametrize("layout, error", [("yolo", ValueError), ({"width": 3}, ValueError), (3, TypeError)])
def test_no_layouts(layout, error):
    with pytest.raises(error, match="layout: expected "):
        detloss.SSDLoss(layout=layout)


# Rows of 21 classes and 4 offsets, as a new model has them.


def new_model_batch() -> ssd_cases.Batch:
    y_true, y_pred = ssd_cases.ssd_batch(2, 200, 21, from_logits=True, seed=7)
    return np.ascontiguousarray(y_true[..., :25]), np.ascontiguousarray(y_pred[..., :25])


@pytest.mark.parametrize("mode", execution.MODES)
@pytest.mark.parametrize("implementation", [detloss.ssd_loss, detloss.reference.ssd_loss])
def test_rows_of_classes_and_offsets(implementation, mode):
    y_true, y_pred = new_model_batch()
    assert y_true.shape[-1] == 25

    def loss(**options):
        return execution.differentiated(mode, lambda true, pred: implementation(true, pred, **options))(y_true, y_pred)

    by_number = loss(num_classes=21, from_logits=True)
    by_columns = loss(layout=SSDLayout(num_classes=21, box_column=21), from_logits=True)
    for value, expected in zip(by_number, by_columns, strict=True):
        np.testing.assert_array_equal(value, expected)
    # The width alone reads them as 13 classes with unused columns.
    by_width, _ = loss(from_logits=True)
    assert not np.allclose(by_width, by_number[0], rtol=1e-2)


def test_rows_with_unused_columns():
    y_true, y_pred = new_model_batch()
    unused = np.full((2, 200, 8), np.nan, np.float32)
    expected = detloss.ssd_loss(y_true, y_pred, num_classes=21, from_logits=True)
    wide = [np.concatenate([rows, unused], axis=-1) for rows in (y_true, y_pred)]
    np.testing.assert_array_equal(detloss.ssd_loss(*wide, num_classes=21, from_logits=True), expected)
    np.testing.assert_array_equal(detloss.ssd_loss(*wide, from_logits=True), expected)


WIDTHS = "num_classes + 4 = 25 or num_classes + 12 = 33"
BAD_WIDTHS = [
    *itertools.product(["ssd_keras"], [24, 26, 29, 34], [WIDTHS]),
    *itertools.product(["ssd_keras_rykov8"], [25, 32], [r"num_classes + 12 = 33"]),
]


@pytest.mark.parametrize("layout, width, widths", BAD_WIDTHS)
def test_other_widths_are_refused_by_name(layout, width, widths):
    text = (
        f"num_classes: expected rows of {widths} columns for num_classes=21, which counts the background, got {width} "
        f"columns: y_true and y_pred have shape "
    )
    rows = tf.zeros([2, 3, width])

    def loss(y_true, y_pred):
        return detloss.ssd_loss(y_true, y_pred, layout=layout, num_classes=21)

    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        loss(rows, rows)
    assert f"{text}[2,3,{width}]" in str(caught.value)
    static = tf.TensorSpec([None, None, width])
    with pytest.raises(ValueError) as caught:  # when the graph is built
        execution.in_mode("graph", loss).get_concrete_function(static, static)
    assert f"{text}[?,?,{width}]" in str(caught.value)
    for mode in ("graph", "xla"):
        unknown = tf.TensorSpec([None, None, None])
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            execution.in_mode(mode, loss, input_signature=[unknown, unknown])(rows, rows)
        assert f"{text}[2,3,{width}]" in str(caught.value)


@pytest.mark.parametrize("layout, width, widths", BAD_WIDTHS)
def test_the_reference_refuses_other_widths(layout, width, widths):
    rows = tf.zeros([2, 3, width])

    def loss(y_true, y_pred):
        return detloss.reference.ssd_loss(y_true, y_pred, layout=layout, num_classes=21)

    with pytest.raises(ValueError) as caught:
        loss(rows, rows)
    assert f"num_classes: expected rows of {widths} columns" in str(caught.value)
    assert f"(2, 3, {width})" in str(caught.value)
    unknown = tf.TensorSpec([None, None, None])
    with pytest.raises(tf.errors.InvalidArgumentError, match="num_classes: expected rows of"):
        execution.in_mode("graph", loss, input_signature=[unknown, unknown])(rows, rows)


def test_the_shape_of_the_predictions_is_expected_of_the_labels():
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"y_true: expected shape \[2,3,33\], the shape of y_pred, "
    ):
        detloss.ssd_loss(tf.zeros([2, 3, 25]), tf.zeros([2, 3, 33]), num_classes=21)


def test_number_of_classes_of_check_targets():
    y_true, _ = new_model_batch()
    detloss.check_targets(y_true, layout="ssd_keras", num_classes=21)
    with pytest.raises(ValueError, match=r"= 24 or .* = 32 columns .* got 25 .*\[2, 200, 25\]"):
        detloss.check_targets(y_true, layout="ssd_keras", num_classes=20)
