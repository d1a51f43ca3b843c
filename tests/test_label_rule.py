"""The tables of docs/labels.md: what they say is what the originals, the losses and `check_targets` do."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

import detloss
import execution
import numpy_originals
from detloss.reference import original
from golden_cases import golden_cases
from label_rule_cases import LAMBDA_ANCHORS, REPOSITORIES, SSD_ROWS, YOLOV3_ROWS, Batch, Example, Repository

_PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs" / "labels.md"
#: An outcome, perhaps with how, or with the outcome in a variant of the repository.
_CELL = re.compile(r"(?P<outcome>[^()]+?)( \(((?P<variant>without IoU loss): (?P<other>[^()]+)|[^():]+)\))?")

_ABSENT = "\N{EN DASH}"
_TRAINS = ("trains on it", "takes no part")
_FINITE = (*_TRAINS, "not read")
_NOT_FINITE = {
    "loss NaN": np.isnan,
    "loss inf": np.isinf,
    "loss NaN or inf": lambda loss: ~np.isfinite(loss),
}


# ---- The page ----


def _tables() -> list[list[dict[str, str]]]:
    """Those whose first column is called label, as rows by column."""
    found = []
    for table in re.findall(r"(?:^\|.*\|\n)+", _PAGE.read_text(), re.MULTILINE):
        lines = [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()]
        if lines[0][0] == "label":
            found.append([dict(zip(lines[0], line, strict=True)) for line in lines[2:]])
    return found


def _outcome(cell: str, variant: str) -> str:
    parts = _CELL.fullmatch(cell)
    assert parts, f"a cell that is not understood: {cell}"
    return parts["other"] if parts["variant"] and parts["variant"] == variant else parts["outcome"]


def _cells() -> list[Any]:
    """Label, outcome in detloss, repository and outcome there, as pytest parameters; of every cell with an outcome."""
    return [
        pytest.param(
            row["label"],
            _outcome(row["detloss"], ""),
            repository,
            _outcome(row[column], variant),
            id=", ".join(filter(None, (row["label"], column, variant))),
        )
        for table in _tables()
        for row in table
        for (column, variant), repository in REPOSITORIES.items()
        if row.get(column, _ABSENT) != _ABSENT
    ]


_CELLS = _cells()
_each_cell = pytest.mark.parametrize("label, in_detloss, repository, outcome", _CELLS)


def _examples(label: str, repository: Repository) -> list[Example]:
    return [example for example in {**YOLOV3_ROWS, **SSD_ROWS}[label] if repository.has(example)]


def test_every_kind_of_label_is_on_the_page():
    yolov3, ssd = _tables()
    assert [*yolov3[0]] == ["label", "detloss", "keras-yolo3", "keras-YOLOv3-model-set", "yolov3-tf2"]
    assert [*ssd[0]] == ["label", "detloss", "ssd_keras", "rykov8"]
    for table, rows in ((yolov3, YOLOV3_ROWS), (ssd, SSD_ROWS)):
        assert sorted(row["label"] for row in table) == sorted(rows)
        for row in table:
            for column in list(row)[2:]:
                has_examples = any(_examples(row["label"], REPOSITORIES[column, ""]))
                assert has_examples == (row[column] != _ABSENT), (row["label"], column)


def test_outcomes_go_together():
    for cell in _CELLS:
        _, in_detloss, _, outcome = cell.values
        assert in_detloss in (*_FINITE, "left out", "raises"), cell.id
        assert outcome in (*_FINITE, *_NOT_FINITE, "raises"), cell.id
        assert outcome == in_detloss or in_detloss not in _TRAINS, cell.id


# ---- The originals ----


@pytest.mark.parametrize("case", golden_cases("keras_yolo3"))
def test_golden_keras_yolo3(case):
    options = {name: case.params[name] for name in ("num_classes", "ignore_thresh")}
    loss = numpy_originals.keras_yolo3_loss(*_scales(case), case["anchors"], **options)
    np.testing.assert_allclose(loss, case["loss"], rtol=1e-6)


#: Those whose options the NumPy loss has.
_MODEL_SET_CASES = {"default_ciou", "tiny_ciou", "classic", "one_class_classic", "softmax"}


@pytest.mark.parametrize(
    "case", [case for case in golden_cases("keras_yolov3_model_set") if case.id in _MODEL_SET_CASES]
)
def test_golden_keras_yolov3_model_set(case):
    loss = numpy_originals.keras_yolov3_model_set_loss(*_scales(case), case["anchors"], **case.params)
    np.testing.assert_allclose(loss, case["loss"].reshape(()), rtol=1e-6)


@pytest.mark.parametrize("case", golden_cases("yolov3_tf2"))
def test_golden_yolov3_tf2(case):
    loss = numpy_originals.yolov3_tf2_loss(case["y_true"], case["y_pred"], case["anchors"], **case.params)
    # These were computed eagerly, where the original clips the objectness at 1e-7.
    np.testing.assert_allclose(loss, case["loss"], rtol=5e-6)


@pytest.mark.parametrize("case", golden_cases("ssd_keras"))
def test_golden_ssd_keras(case):
    loss = numpy_originals.ssd_keras_loss(case["y_true"], case["y_pred"], **case.params)
    np.testing.assert_allclose(loss, case["loss"], rtol=1e-6)


@pytest.mark.parametrize("case", golden_cases("ssd_keras_rykov8"))
def test_golden_ssd_keras_rykov8(case):
    loss = numpy_originals.ssd_keras_rykov8_loss(case["y_true"], case["y_pred"], **case.params)
    np.testing.assert_allclose(loss, case["loss"], rtol=1e-6)


def _scales(case: Any) -> list[list[np.ndarray]]:
    return [[case[f"{name}_{scale}"] for scale in range(len(case["anchors"]) // 3)] for name in ("y_true", "y_pred")]


@_each_cell
def test_originals(label, in_detloss, repository, outcome):
    for example in _examples(label, repository):
        batch = repository.batch(example)
        if outcome == "raises":
            with pytest.raises(ValueError, match="outside the valid range"):
                repository.original(batch)
            continue
        loss = repository.original(batch)
        if outcome in _NOT_FINITE:
            assert _NOT_FINITE[outcome](loss).any()
            continue
        assert np.isfinite(loss).all()
        if outcome == "not read":
            np.testing.assert_array_equal(loss, repository.original(_valid_batch(repository, example)))


#: The repositories' own graphs, as far as the package has them.
_GRAPHS: dict[str, Callable[[Batch], tf.Tensor]] = {
    "keras-yolo3": lambda batch: tf.reduce_mean(
        original.keras_yolo3_loss(
            batch.y_true,
            [tf.reshape(logits, [*logits.shape[:3], -1]) for logits in batch.y_pred],
            LAMBDA_ANCHORS,
            batch.num_classes,
        )
    ),
    "ssd_keras": lambda batch: original.ssd_keras_loss(*batch.y_true, *batch.y_pred),
    "rykov8": lambda batch: original.ssd_keras_rykov8_loss(*batch.y_true, *batch.y_pred, batch.num_classes),
}


@pytest.mark.parametrize("column", _GRAPHS)
def test_originals_are_what_tensorflow_computes(column):
    """NaN and infinities included."""
    repository = REPOSITORIES[column, ""]
    graph = execution.in_mode("graph", lambda *batch: _GRAPHS[column](Batch(*batch)))
    for label in {"keras-yolo3": YOLOV3_ROWS}.get(column, SSD_ROWS):
        for example in _examples(label, repository):
            batch = repository.batch(example)
            expected = graph(_tensors(batch.y_true), _tensors(batch.y_pred), batch.num_classes)
            np.testing.assert_allclose(repository.original(batch), expected, rtol=1e-5, atol=1e-30, err_msg=label)


def _tensors(arrays: list[np.ndarray]) -> list[tf.Tensor]:
    return [tf.constant(array) for array in arrays]


def _valid_batch(repository: Repository, example: Example) -> Batch:
    return repository.batch(Example(example.place, {}, example.num_classes))


# ---- The losses ----


@functools.cache
def _function(
    implementation: str, mode: str, repository: Repository, num_classes: int, options: tuple[tuple[str, Any], ...]
) -> Callable[..., Any]:
    """The drop-in's loss of labels and predictions, and how many labels it leaves out of the batch."""

    def loss_and_count(y_true: list[tf.Tensor], y_pred: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        counts: list[tf.Tensor] = []

        def counting(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, return_components: bool = False, **choices: Any) -> Any:
                loss, components = function(*arguments, return_components=True, **choices)
                counts.append(tf.reduce_sum(components["num_invalid"]))
                return (loss, components) if return_components else loss

            return call

        losses = {name: counting(getattr(detloss, name)) for name in ("yolov3_loss", "ssd_loss")}
        chosen = mock.patch.dict(os.environ, DETLOSS_IMPL=implementation)
        with chosen, mock.patch.multiple(detloss, **losses):
            loss = repository.drop_in(Batch(y_true, y_pred, num_classes), **dict(options))
        return loss, counts[0]

    return execution.in_mode(mode, loss_and_count)


def _computed(
    implementation: str, mode: str, repository: Repository, batch: Batch, **options: Any
) -> tuple[np.ndarray, int]:
    function = _function(implementation, mode, repository, batch.num_classes, tuple(options.items()))
    loss, count = function(_tensors(batch.y_true), _tensors(batch.y_pred))
    return np.squeeze(loss.numpy()), int(count)


def _check_losses(implementation: str, mode: str, in_detloss: str, repository: Repository, example: Example) -> None:
    batch = repository.batch(example)
    options = {}
    if in_detloss == "raises":
        with pytest.raises(tf.errors.InvalidArgumentError, match="class index"):
            _computed(implementation, mode, repository, batch)
        options = {"invalid_targets": "ignore"}
    loss, left_out = _computed(implementation, mode, repository, batch, **options)
    if in_detloss in ("left out", "raises"):
        expected = repository.batch_without(example)
        assert left_out == 1
    else:
        expected = batch if in_detloss in _TRAINS else _valid_batch(repository, example)
        assert left_out == 0
    np.testing.assert_allclose(loss, repository.original(expected), rtol=1e-5)


# The reference is compiled once: eagerly it takes long.
@pytest.mark.parametrize("implementation, mode", [("fused", "eager"), ("reference", "graph")])
@_each_cell
def test_losses(label, in_detloss, repository, outcome, implementation, mode):
    for example in _examples(label, repository):
        _check_losses(implementation, mode, in_detloss, repository, example)


_IN_EVERY_MODE = (
    "objectness above 1",
    "no class score above 0",
    "class index out of range",
    "width or height below 0",
    "class weight above 1",
    "positive box: offset infinite",
)


@pytest.mark.parametrize("mode", ["graph", "xla"])
@pytest.mark.parametrize(
    "label, in_detloss, repository, outcome", [cell for cell in _CELLS if cell.values[0] in _IN_EVERY_MODE]
)
def test_losses_in_other_modes(label, in_detloss, repository, outcome, mode):
    for example in _examples(label, repository):
        _check_losses("fused", mode, in_detloss, repository, example)


def test_no_class_score_with_softmax():
    (example,) = YOLOV3_ROWS["no class score above 0"]
    repository = REPOSITORIES["keras-YOLOv3-model-set", ""]
    softmax = dataclasses.replace(repository, options={"use_softmax_loss": True})
    _check_losses("fused", "eager", "trains on it", softmax, example)


@pytest.mark.parametrize("mode", execution.MODES)
@pytest.mark.parametrize("index", [67, -1])
def test_class_index_out_of_range_is_named(index, mode):
    repository = REPOSITORIES["yolov3-tf2", ""]
    (example,) = (each for each in YOLOV3_ROWS["class index out of range"] if each.values["class index"] == index)
    text = (
        'y_true: expected a class index from 0 to 2 (invalid_targets="class_error"), '
        f"got [0.715, 0.35, 0.885, 0.65, 1, {index}] in image 0, scale 0, cell (1, 2), anchor 1"
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape(text)):
        _computed("fused", mode, repository, repository.batch(example))


# ---- The check ----


@_each_cell
def test_check_targets(label, in_detloss, repository, outcome):
    for example in _examples(label, repository):
        batch = repository.batch(example)
        check = functools.partial(detloss.check_targets, **repository.check_options(batch))
        y_true = batch.y_true if len(batch.y_true) > 1 else batch.y_true[0]
        if in_detloss in _FINITE:
            check(y_true)
            continue
        with pytest.raises(
            ValueError, match=r"y_true: expected valid labels, got 1 invalid (cells|boxes):\n  image 0, "
        ):
            check(y_true)
