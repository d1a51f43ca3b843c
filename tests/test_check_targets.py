"""`detloss.check_targets`: the rules that the losses apply, told before training."""

from __future__ import annotations

import re
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

import numpy_ssd_loss
import numpy_yolov3_loss
import ssd_cases
import yolov3_cases
from detloss.ssd_layout import SSDLayout
from detloss.targets import check_targets
from yolov3_loss_checks import CORNER_LABELS, LABELS


def place(cell: tuple[int, ...], scale: int = 0) -> str:
    image, row, column, anchor = cell
    return f"image {image}, scale {scale}, cell (row {row}, column {column}), anchor {anchor}: "


@pytest.mark.parametrize("case", sorted(set(yolov3_cases.AWKWARD) - {"invalid_labels"}))
def test_valid_labels(case):
    batch = yolov3_cases.AWKWARD[case]()
    assert check_targets(batch.y_true, target_format="center") is None
    for labels in batch.y_true:
        assert check_targets(labels, target_format="center") is None


@pytest.mark.parametrize("label", LABELS)
def test_center_labels(label):
    cell, column, value, invalid = LABELS[label]
    labels = yolov3_cases.small_batch().y_true[0]
    labels[(*cell, column)] = value
    if not invalid:
        check_targets(labels)
        return
    with pytest.raises(ValueError, match=r"y_true: expected .*, got 1 invalid cells") as caught:
        check_targets(labels)
    assert place(cell) in str(caught.value)
    assert "x, y, w, h, objectness, classes = " in str(caught.value)
    assert f"{value:g}" in str(caught.value).split("=")[-1]


@pytest.mark.parametrize("label", CORNER_LABELS)
def test_corner_labels(label):
    cell, column, value, invalid = CORNER_LABELS[label]
    labels = yolov3_cases.small_batch("corner").y_true[0]
    labels[(*cell, column)] = value
    options = dict(target_format="corner", num_classes=yolov3_cases.CLASSES)
    if not invalid:
        check_targets(labels, **options)
        return
    with pytest.raises(ValueError, match=r"y_true: expected .*, got 1 invalid cells") as caught:
        check_targets(labels, **options)
    assert place(cell) in str(caught.value)
    assert "x1, y1, x2, y2, objectness, class index = " in str(caught.value)


@pytest.mark.parametrize(
    "label, rule",
    [
        ("NaN x", "finite"),
        ("negative objectness", r"objectness must be within \[0, 1e\+06\]"),
        ("no width", "w and h must be above 0"),
        ("y far below", r"coordinates must be within 1e\+06"),
        ("negative class", r"class scores must be within \[0, 1e\+06\]"),
    ],
)
def test_the_rule_is_named(label, rule):
    cell, column, value, _ = LABELS[label]
    labels = yolov3_cases.small_batch().y_true[0]
    labels[(*cell, column)] = value
    with pytest.raises(ValueError, match=rf"{re.escape(place(cell))}.*{rule}"):
        check_targets(labels)


def test_first_few_of_many():
    batch = yolov3_cases.invalid_labels()
    expected = numpy_yolov3_loss.yolov3_loss(batch.y_true, batch.y_pred, batch.anchors)
    total = int(expected.components["num_invalid"].sum())
    with pytest.raises(ValueError) as caught:
        check_targets(batch.y_true)
    message = str(caught.value)
    assert f"got {total} invalid cells" in message
    assert f"and {total - 5} more" in message
    first = np.argwhere(~expected.valid[0])[:5]
    assert [place(tuple(cell)) in message for cell in first] == [True] * 5
    assert message.count("image") == 5


def test_second_scale_is_named():
    batch = yolov3_cases.yolov3_batch(2)
    batch.y_true[1][1, 4, 3, 2, 4] = -7
    with pytest.raises(ValueError, match=re.escape(place((1, 4, 3, 2), scale=1))):
        check_targets(tuple(batch.y_true))


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16])
def test_dtypes(dtype):
    labels = yolov3_cases.small_batch().y_true[0].astype(dtype)
    check_targets(labels)
    labels[(*yolov3_cases.OBJECT, 3)] = 0
    with pytest.raises(ValueError, match="w and h must be above 0"):
        check_targets(labels)


def test_labels_beyond_float32():
    labels = yolov3_cases.small_batch().y_true[0].astype(np.float64)
    labels[(*yolov3_cases.BACKGROUND, 0)] = 1e300
    with pytest.raises(ValueError, match="finite"):
        check_targets(labels)


@pytest.mark.parametrize("layout", ssd_cases.LAYOUTS)
def test_ssd_labels(layout):
    y_true, y_pred = ssd_cases.ssd_batch(3, 40, layout=ssd_cases.LAYOUTS[layout], positive_share=0.3)
    check_targets(y_true, layout=ssd_cases.LAYOUTS[layout])
    columns = ssd_cases.as_layout(ssd_cases.LAYOUTS[layout]).resolve(y_true.shape[-1])
    y_true[1, 7, columns.class_column] = np.nan
    y_true[1, 9, columns.class_column + 1] = -0.5
    y_true[2, :20, columns.box_column] = np.inf
    if columns.positive_column is not None:
        y_true[0, 3, columns.positive_column] = -1
    expected = numpy_ssd_loss.ssd_loss(y_true, y_pred, layout=ssd_cases.LAYOUTS[layout])
    total = int(expected.components["num_invalid"].sum())
    with pytest.raises(ValueError, match=f"y_true: expected .*, got {total} invalid boxes") as caught:
        check_targets(y_true, layout=ssd_cases.LAYOUTS[layout])
    assert "image 1, box 7: class labels must be within [0, 1e+06], got labels = " in str(caught.value)
    assert "image 1, box 9: " in str(caught.value)


@pytest.mark.parametrize(
    "labels, options, message",
    [
        (np.zeros((2, 3, 4, 8)), {}, r"y_true: expected shape .*5 \+ C\].*got \[2, 3, 4, 8\]"),
        (np.zeros((2, 3, 4, 2, 5)), {}, "y_true: expected shape"),
        (np.zeros((2, 3, 4, 2, 8)), dict(num_classes=4), r"y_true: expected shape .*5 \+ 4\]"),
        (np.zeros((2, 3, 4, 2, 8)), dict(target_format="corner", num_classes=3), r"y_true: expected shape .* 6\]"),
        (np.zeros((2, 3, 4, 2, 6)), dict(target_format="corner"), "num_classes: expected .*, got None"),
        (np.zeros((2, 3, 4, 2, 6)), dict(num_classes=0), "num_classes: expected an integer of at least 1, got 0"),
        (np.zeros((2, 3, 4, 2, 6)), dict(target_format="xywh"), "target_format: expected one of .*, got 'xywh'"),
        (np.zeros((2, 3, 17)), dict(layout="yolo"), "layout: expected .*, got 'yolo'"),
        (np.zeros((2, 17)), dict(layout="ssd_keras"), r"y_true: expected shape .*got \[2, 17\]"),
        (np.zeros((2, 3, 6)), dict(layout=SSDLayout()), "layout: expected "),
        (np.zeros((2, 3, 17)), dict(layout="ssd_keras", target_format="center"), "target_format: expected none"),
        ([], {}, "y_true: expected at least one scale, got none"),
        ((), dict(target_format="corner", num_classes=3), "y_true: expected at least one scale, got none"),
        ([], dict(layout="ssd_keras"), r"y_true: expected shape .*got \[0\]"),
    ],
)
def test_bad_arguments(labels, options, message):
    with pytest.raises(ValueError, match=message):
        check_targets(labels, **options)


# What each repository's labels are like, how they are checked, and how not.

REPOSITORIES = {
    "keras_yolo3": ((2, 3, 4, 3, 25), dict(num_classes=20)),
    "keras_yolov3_model_set": ((2, 3, 4, 3, 6), dict(num_classes=1)),
    "yolov3_tf2": ((2, 3, 4, 3, 6), dict(target_format="corner", num_classes=20)),
    "ssd_keras": ((2, 10, 33), dict(layout="ssd_keras", num_classes=21)),
    "rykov8": ((2, 10, 33), dict(layout="ssd_keras_rykov8", num_classes=21)),
}
ALL_CALLS = (
    "keras-yolo3, keras-YOLOv3-model-set",
    "check_targets(y_true, num_classes=C)",
    'check_targets(y_true, target_format="corner", num_classes=C)',
    'check_targets(y_true, layout="ssd_keras", num_classes=C)',
    'check_targets(y_true, layout="ssd_keras_rykov8", num_classes=C)',
)


@pytest.mark.parametrize("repository", REPOSITORIES)
def test_labels_of_every_repository(repository):
    shape, options = REPOSITORIES[repository]
    check_targets(np.zeros(shape), **options)
    check_targets(np.zeros((0, *shape[1:])), **options)


@pytest.mark.parametrize(
    "shape, options",
    [
        (REPOSITORIES["yolov3_tf2"][0], {}),
        (REPOSITORIES["ssd_keras"][0], {}),
        (REPOSITORIES["ssd_keras"][0], dict(num_classes=21)),
        (REPOSITORIES["ssd_keras"][0], dict(target_format="corner", num_classes=20)),
        (REPOSITORIES["ssd_keras"][0], dict(layout="ssd_keras", num_classes=20)),
        (REPOSITORIES["keras_yolo3"][0], dict(layout="ssd_keras")),
        (REPOSITORIES["keras_yolo3"][0], dict(target_format="corner", num_classes=20)),
        (REPOSITORIES["keras_yolo3"][0][1:], {}),
    ],
)
def test_other_shapes_are_told_how_every_repositorys_are_checked(shape, options):
    with pytest.raises(ValueError, match=r"expected .*, got ") as caught:
        check_targets(np.zeros(shape), **options)
    assert [call in str(caught.value) for call in ALL_CALLS] == [True] * len(ALL_CALLS)


def test_six_columns_say_no_format():
    """One class by its centre, or corners and a class index."""
    message = r"y_true: expected target_format or num_classes for 6 columns, .* got shape \[2, 3, 4, 3, 6\] alone"
    with pytest.raises(ValueError, match=message):
        check_targets(np.zeros((2, 3, 4, 3, 6)))
    check_targets(np.zeros((2, 3, 4, 3, 6)), target_format="center")


@pytest.mark.parametrize("dtype", [np.complex64, str, object])
def test_labels_that_are_no_numbers(dtype):
    with pytest.raises(TypeError, match=r"y_true\[1\]: expected a numeric dtype, got "):
        check_targets([np.zeros((1, 2, 2, 1, 7)), np.zeros((1, 2, 2, 1, 7)).astype(dtype)])


@pytest.mark.parametrize("value", [None, "labels", {"labels": 1}, [[[1.0, 2.0], [3.0]]], object()])
def test_no_arrays(value):
    with pytest.raises(TypeError, match=r"y_true: expected .*, got "):
        check_targets(value, layout="ssd_keras")


def test_tensorflow_is_not_loaded():
    program = (
        "import sys, numpy, detloss; detloss.check_targets(numpy.zeros((1, 2, 2, 1, 7)));"
        "sys.exit('tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
