"""What every implementation of the YOLOv3 loss has to show."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

import execution
import numpy_yolov3_loss
import yolov3_cases
from detloss.yolov3_options import BOX_LOSSES
from golden_yolov3 import GoldenYOLOv3Case
from yolov3_cases import BACKGROUND, CLASSES, OBJECT, OPTION_SETS, Batch, batch_for, yolov3_batch

#: Relative and absolute. Half precision: a unit in the last place of the gradient, and float16's smallest number.
TOLERANCES = {np.float64: (1e-9, 0), np.float32: (1e-5, 0), np.float16: (1e-3, 1e-7), ml_dtypes.bfloat16: (8e-3, 0)}

BAD_SHAPE = (ValueError, tf.errors.InvalidArgumentError)

#: For awkward batches; between them they use every term in most of its forms.
AWKWARD_OPTIONS: dict[str, dict[str, Any]] = {
    "classic": {},
    "ciou, softmax": dict(box_loss="ciou", class_loss="softmax", label_smoothing=0.1, ignore_scope="image"),
    "siou, focal": dict(box_loss="siou", class_focal=True, objectness_focal=True, grid_sense=1.1),
    "squared, normalized": dict(box_loss="squared", class_loss="normalized_sigmoid", comparator="<="),
}

#: Logits of `small_batch` that take part with some options, by cell and column.
READ: dict[str, tuple[tuple[int, ...], int, dict[str, Any]]] = {
    "x of an object": (OBJECT, 0, {}),
    "h of an object": (OBJECT, 3, dict(box_loss="ciou")),
    "objectness of an object": (OBJECT, 4, {}),
    "class of an object": (OBJECT, 6, {}),
    "another class of an object": (OBJECT, 5, dict(class_loss="softmax")),
    "class of an object, normalized": (OBJECT, 6, dict(class_loss="normalized_sigmoid")),
    "y of the background": (BACKGROUND, 1, {}),
    "w of the background": (BACKGROUND, 2, dict(box_loss="giou")),
    "h of the background without a mask": (BACKGROUND, 3, dict(objectness_focal=True)),
    "objectness of the background": (BACKGROUND, 4, {}),
    "objectness of an ignored cell": (BACKGROUND, 4, dict(ignore_thresh=0.0)),
    "x of an ignored cell": (BACKGROUND, 0, dict(ignore_thresh=0.0)),
    "class of the background, focal": (BACKGROUND, 7, dict(class_focal=True)),
    "class of the background, softmax focal": (BACKGROUND, 7, dict(class_focal=True, class_loss="softmax")),
}

#: Options without the weight of a term, the cell and the logits of `small_batch` that it alone reads, its component.
WITHOUT_WEIGHT: dict[str, tuple[dict[str, Any], tuple[int, ...], slice, str]] = {
    "box": (dict(box_weight=0), OBJECT, slice(0, 4), "box"),
    "squared box": (dict(box_weight=0, box_loss="squared"), OBJECT, slice(0, 4), "wh"),
    "object": (dict(object_weight=0), OBJECT, slice(4, 5), "object"),
    "object, focal": (dict(object_weight=0, objectness_focal=True), OBJECT, slice(4, 5), "object"),
    "no object": (dict(no_object_weight=0), BACKGROUND, slice(4, 5), "no_object"),
    "no object, focal": (dict(no_object_weight=0, objectness_focal=True), BACKGROUND, slice(4, 5), "no_object"),
    "class": (dict(class_weight=0), OBJECT, slice(5, 8), "class"),
    "class, softmax": (dict(class_weight=0, class_loss="softmax"), OBJECT, slice(5, 8), "class"),
    "class, focal": (dict(class_weight=0, class_focal=True), BACKGROUND, slice(5, 8), "class"),
    "one class": (dict(class_weights=(1.0, 1.0, 0.0)), OBJECT, slice(7, 8), "class"),
    "one class, focal": (dict(class_weights=(1.0, 0.0, 1.0), class_focal=True), OBJECT, slice(6, 7), "class"),
    "its class, softmax": (dict(class_weights=(1, 0, 1), class_loss="softmax"), OBJECT, slice(5, 8), "class"),
    "its class, normalized": (
        dict(class_weights=(1, 0, 1), class_loss="normalized_sigmoid"),
        OBJECT,
        slice(5, 8),
        "class",
    ),
}

#: Labels of `small_batch`, by cell and column; their new value; whether it makes the cell invalid.
LABELS: dict[str, tuple[tuple[int, ...], int, float, bool]] = {
    "NaN x": (OBJECT, 0, np.nan, True),
    "infinite h": (OBJECT, 3, np.inf, True),
    "NaN objectness": (OBJECT, 4, np.nan, True),
    "objectness above 1": (OBJECT, 4, 1.5, False),
    "objectness of 2": (OBJECT, 4, 2.0, False),
    "objectness of 1e38": (OBJECT, 4, 1e38, True),
    "negative objectness": (OBJECT, 4, -0.5, True),
    "fractional objectness": (OBJECT, 4, 0.25, False),
    "no width": (OBJECT, 2, 0.0, True),
    "negative height": (OBJECT, 3, -0.25, True),
    "box in pixels": (OBJECT, 2, 117.0, False),
    "large box": (OBJECT, 2, 3.5, False),
    "area of 2": (OBJECT, 2, 4.0, False),
    "largest width": (OBJECT, 2, 1e6, False),
    "width beyond the largest": (OBJECT, 2, 1.1e6, True),
    "x beyond the image": (OBJECT, 0, 1.25, False),
    "x a little beyond the image": (OBJECT, 0, 1.02, False),
    "negative y": (OBJECT, 1, -0.125, False),
    "y far below": (OBJECT, 1, -1.1e6, True),
    "y at the border": (OBJECT, 1, 1.0, False),
    "no class": (OBJECT, 6, 0.0, False),
    "class just above 1": (OBJECT, 6, float(np.nextafter(np.float32(1), np.float32(2))), False),
    "class above 1": (OBJECT, 6, 1.5, False),
    "class of 1e38": (OBJECT, 7, 1e38, True),
    "negative class": (OBJECT, 5, -0.5, True),
    "NaN class": (OBJECT, 7, np.nan, True),
    "second class": (OBJECT, 7, 0.5, False),
    "NaN in the background": (BACKGROUND, 1, np.nan, True),
    "infinity in the background": (BACKGROUND, 2, -np.inf, True),
    "NaN objectness in the background": (BACKGROUND, 4, np.nan, True),
    "box in the background": (BACKGROUND, 2, -5.0, False),
    "large box in the background": (BACKGROUND, 2, 1e38, False),
    "class in the background": (BACKGROUND, 6, np.nan, False),
}

#: The same for `"corner"` labels, whose object is x1, y1, x2, y2 = 0.675, 0.45, 0.925, 0.95.
CORNER_LABELS: dict[str, tuple[tuple[int, ...], int, float, bool]] = {
    "swapped corners": (OBJECT, 2, 0.5, True),
    "corner in pixels": (OBJECT, 2, 416.0, False),
    "corner beyond the largest": (OBJECT, 2, 1.1e6, True),
    "corner outside, centre outside": (OBJECT, 2, 1.5, False),
    "class of COCO for three": (OBJECT, 5, 67.0, True),
    "infinite corner": (OBJECT, 0, -np.inf, True),
    "corner outside, centre inside": (OBJECT, 2, 1.25, False),
    "class out of range": (OBJECT, 5, float(CLASSES), True),
    "negative class": (OBJECT, 5, -1.0, True),
    "a little below the first class": (OBJECT, 5, -0.5, True),
    "fractional class": (OBJECT, 5, 1.75, False),
    "NaN class": (OBJECT, 5, np.nan, True),
    "class in the background": (BACKGROUND, 5, np.nan, False),
}

#: Shapes of y_true, y_pred and anchors, options, name that the error starts with.
BAD_SHAPES: dict[str, tuple[Any, ...]] = {
    "rank of y_true": ((2, 3, 4, 8), (2, 3, 4, 2, 8), (2, 2), {}, "y_true"),
    "rank of y_pred": ((2, 3, 4, 2, 8), (2, 3, 16), (2, 2), {}, "y_pred"),
    "images": ((1, 3, 4, 2, 8), (2, 3, 4, 2, 8), (2, 2), {}, "y_true"),
    "rows": ((2, 4, 4, 2, 8), (2, 3, 4, 2, 8), (2, 2), {}, "y_true"),
    "columns": ((2, 3, 5, 2, 8), (2, 3, 4, 16), (2, 2), {}, "y_true"),
    "anchors of y_true": ((2, 3, 4, 3, 8), (2, 3, 4, 16), (2, 2), {}, "y_true"),
    "anchors of y_pred": ((2, 3, 4, 2, 8), (2, 3, 4, 3, 8), (2, 2), {}, "y_pred"),
    "classes": ((2, 3, 4, 2, 9), (2, 3, 4, 2, 8), (2, 2), {}, "y_true"),
    "no class": ((2, 3, 4, 2, 5), (2, 3, 4, 2, 5), (2, 2), {}, "y_pred"),
    "columns of y_pred": ((2, 3, 4, 2, 8), (2, 3, 4, 17), (2, 2), {}, "y_pred"),
    "corner labels": ((2, 3, 4, 2, 8), (2, 3, 4, 2, 8), (2, 2), dict(target_format="corner"), "y_true"),
    "class weights": ((2, 3, 4, 2, 8), (2, 3, 4, 2, 8), (2, 2), dict(class_weights=(1.0, 2.0)), "class_weights"),
}

BAD_OPTIONS: list[tuple[str, Any]] = [
    ("ignore_thresh", -0.1),
    ("ignore_thresh", np.nan),
    ("comparator", ">"),
    ("ignore_scope", "batch"),
    ("box_loss", "eiou"),
    ("class_loss", "hinge"),
    ("label_smoothing", 1.0),
    ("label_smoothing", -0.1),
    ("grid_sense", 0.9),
    ("grid_sense", [1.0, 1.1]),
    ("stride", 0),
    ("stride", (32, 16)),
    ("box_weight", -1),
    ("object_weight", np.inf),
    ("no_object_weight", np.nan),
    ("class_weight", -0.5),
    ("class_weights", (1.0, -1.0, 1.0)),
    ("target_format", "xyxy"),
    ("invalid_targets", "raise"),
]


@functools.cache
def _differentiated(loss: Callable[..., Any], mode: str, options: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
    keywords = dict(options)

    def with_gradient(y_true: Any, y_pred: Any, loss_gradient: tf.Tensor | None) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            result = loss(y_true, y_pred, return_components=True, **keywords)
        return result, tape.gradient(result[0], y_pred, output_gradients=loss_gradient)

    return execution.in_mode(mode, with_gradient)


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple | np.ndarray) else value


def assert_close(actual: Any, expected: np.ndarray, dtype: Any) -> None:
    """Within the dtype's precision, and within float32's of the largest magnitude, since sums cancel."""
    rtol, atol = TOLERANCES[np.dtype(dtype).type]
    largest = np.max(np.abs(expected), initial=0.1, where=np.isfinite(expected))
    with np.errstate(over="ignore"):
        expected = expected.astype(dtype).astype(np.float64)
    atol += largest * (1e-14 if dtype == np.float64 else 2e-6)
    np.testing.assert_allclose(np.asarray(actual).astype(np.float64), expected, rtol=rtol, atol=atol)


def assert_names_the_cell(message: str, cell: tuple[int, ...], value: float, scale: int = 0) -> None:
    """Whatever stands between the words and the numbers."""
    image, row, column, anchor = cell
    place = rf"image\D+{image}\D+scale\D+{scale}\D+cell\D+{row}\D{{1,12}}{column}\D+anchor\D+{anchor}\b"
    assert re.search(rf"y_true: expected .* got .*{place}", message, re.DOTALL), message
    assert f"{value:g}" in message


class YOLOv3LossChecks:
    """A subclass names the implementation."""

    yolov3_loss: Callable[..., Any]

    def differentiate(
        self, y_true: Any, y_pred: Any, anchors: Any, mode: str = "eager", loss_gradient: Any = None, **options: Any
    ) -> tuple[np.ndarray, dict[str, np.ndarray], Any]:
        """Loss, components and gradient; labels, logits and gradient are lists or single arrays.

        Functions of equal options are traced once.
        """
        keywords = tuple((name, _hashable(value)) for name, value in {"anchors": anchors, **options}.items())
        function = _differentiated(type(self).yolov3_loss, mode, keywords)
        upstream = None if loss_gradient is None else tf.convert_to_tensor(loss_gradient)
        y_true, y_pred = (tf.nest.map_structure(tf.convert_to_tensor, arrays) for arrays in (y_true, y_pred))
        (loss, components), gradient = tf.nest.map_structure(np.asarray, function(y_true, y_pred, upstream))
        return loss, components, gradient

    def check(self, batch: Batch, mode: str = "eager", loss_gradient: Any = None, **options: Any) -> Any:
        """Compares with the definition, whose result it returns."""
        arrays = batch.y_true, batch.y_pred, batch.anchors
        expected = numpy_yolov3_loss.yolov3_loss(*arrays, loss_gradient=loss_gradient, **options)
        # A best IoU so near the threshold that rounding decides would compare nothing; the threshold itself would.
        assert expected.closest == 0 or expected.closest > 1e-5
        loss, components, gradient = self.differentiate(*arrays, mode, loss_gradient, **options)
        loss_dtype = np.float64 if batch.y_pred[0].dtype == np.float64 else np.float32
        assert loss.dtype == loss_dtype
        assert_close(loss, expected.loss, loss_dtype)
        for logits, actual, slopes in zip(batch.y_pred, gradient, expected.gradient, strict=True):
            assert actual.dtype == logits.dtype
            assert_close(actual, slopes, logits.dtype)
        assert set(components) == set(expected.components)
        for name, component in components.items():
            assert component.dtype == (np.int32 if name == "num_invalid" else loss_dtype)
            assert_close(component, expected.components[name], loss_dtype)
        terms = sum(components[name].astype(np.float64) for name in ("box", "object", "no_object", "class"))
        assert_close(terms, loss.astype(np.float64), loss_dtype)
        return expected

    def check_golden(self, golden: GoldenYOLOv3Case, mode: str) -> None:
        result = self.differentiate(
            golden.y_true, golden.y_pred, golden.anchors, mode, golden.loss_gradient, **golden.options
        )
        golden.check(*result)

    # Values

    @pytest.mark.parametrize("fractional", [False, True], ids=["whole", "fractional"])
    @pytest.mark.parametrize("name", OPTION_SETS)
    def test_option_sets(self, name, fractional):
        options = OPTION_SETS[name]
        expected = self.check(batch_for(options, fractional=fractional, boxes=6, seed=20), **options)
        if name not in ("nothing ignored", "all ignored") and not options.get("objectness_focal"):
            n_ignored = sum(mask.sum() for mask in expected.ignored)
            assert 0 < n_ignored < sum(mask.size for mask in expected.ignored) / 2

    @pytest.mark.parametrize("mode", ["graph", "xla"])
    @pytest.mark.parametrize("name", OPTION_SETS)
    def test_modes(self, name, mode):
        options = OPTION_SETS[name]
        self.check(batch_for(options, grids=((2, 3), (4, 6)), fractional=True, seed=21), mode, **options)

    @pytest.mark.parametrize("dtype", TOLERANCES)
    @pytest.mark.parametrize("name", OPTION_SETS)
    def test_dtypes(self, name, dtype):
        options = OPTION_SETS[name]
        self.check(batch_for(options, fractional=True, dtype=dtype, seed=22), **options)

    @pytest.mark.parametrize("case", yolov3_cases.AWKWARD)
    @pytest.mark.parametrize("name", AWKWARD_OPTIONS)
    def test_awkward(self, name, case):
        expected = self.check(yolov3_cases.AWKWARD[case](), **AWKWARD_OPTIONS[name])
        assert np.isfinite(expected.loss).all()

    @pytest.mark.parametrize("case", ["no_objects", "one_cell", "large_logits", "invalid_labels", "no_images"])
    def test_awkward_under_xla(self, case):
        self.check(yolov3_cases.AWKWARD[case](), "xla", **AWKWARD_OPTIONS["ciou, softmax"])

    @pytest.mark.parametrize("mode", execution.MODES)
    def test_gradient_of_the_loss_scales_the_images(self, mode):
        self.check(yolov3_batch(3, seed=23), mode, loss_gradient=np.array([2.0, 0.0, -0.5], np.float32))

    @pytest.mark.parametrize("box_loss", BOX_LOSSES)
    def test_perfect_prediction(self, box_loss):
        """The logits decode to the true box exactly: the IoU losses have their kinks there."""
        batch = yolov3_cases.iou_of_one_half()
        batch.y_true[0][0, 0, 0, 0, :4] = [0.25, 0.25, 0.5, 0.5]
        expected = self.check(batch, box_loss=box_loss)
        # The cross-entropy of one half, twice, times 2 - w h.
        box = 2 * np.log(2) * 1.75 if box_loss == "classic" else 0
        np.testing.assert_allclose(expected.components["box"], box, atol=2e-6)

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("box_loss", BOX_LOSSES)
    def test_rounding_of_a_perfect_prediction_and_of_a_point(self, box_loss, mode):
        """Rounding takes the overlap of the first box with itself above 1, and leaves no width of the second."""
        batch = yolov3_cases.small_batch()
        batch.y_pred[0][OBJECT] = 0
        batch.anchors[0, 1] = np.float32([1.388, 0.867])
        for label, logits in (([1 / 1.2, 0.75, 1.388, 0.867], 0), ([1 / 1.2, 0.75, 1e-12, 1e-12], -30)):
            batch.y_true[0][(*OBJECT, slice(0, 4))] = label
            batch.y_pred[0][(*OBJECT, slice(2, 4))] = logits
            arrays = batch.y_true, batch.y_pred, batch.anchors
            loss, components, (gradient,) = self.differentiate(*arrays, mode, box_loss=box_loss)
            assert components["num_invalid"].tolist() == [0, 0]
            assert np.isfinite(loss).all()
            assert np.isfinite(gradient).all()

    # Scales and shapes

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("n_anchors", [1, 3])
    def test_one_scale_and_flat_logits(self, n_anchors, mode):
        batch = yolov3_batch(2, ((3, 4),), anchors=n_anchors, seed=24)
        expected = numpy_yolov3_loss.yolov3_loss(batch.y_true, batch.y_pred, batch.anchors)
        flat = batch.y_pred[0].reshape(2, 3, 4, -1)
        for logits in (batch.y_pred[0], flat):
            loss, _, gradient = self.differentiate(batch.y_true[0], logits, batch.anchors[0], mode)
            assert_close(loss, expected.loss, np.float32)
            assert_close(gradient, expected.gradient[0].reshape(logits.shape), np.float32)

    def test_the_scales_add_up(self):
        batch = yolov3_batch(2, seed=25)
        loss, components, gradient = self.differentiate(batch.y_true, batch.y_pred, batch.anchors)
        parts = [batch.scale(index) for index in range(2)]
        results = [self.differentiate(part.y_true, part.y_pred, part.anchors) for part in parts]
        assert_close(sum(result[0] for result in results), loss, np.float32)
        for name, component in components.items():
            assert_close(sum(result[1][name] for result in results), component, np.float32)
        for actual, result in zip(gradient, results, strict=True):
            np.testing.assert_array_equal(actual, result[2][0])

    @pytest.mark.parametrize("scope", ["scale", "image"])
    def test_true_boxes_of_another_scale(self, scope):
        """Where only the coarse scale has boxes, cells of the fine one are ignored if the scope is the image."""
        batch = yolov3_batch(2, boxes=6, seed=26)
        batch.y_true[1][:] = 0
        # Of the size that the coarse scale's boxes have.
        batch.anchors[1] = batch.anchors[0]
        expected = self.check(batch, ignore_scope=scope)
        assert expected.ignored[0].any()
        assert expected.ignored[1].any() == (scope == "image")

    @pytest.mark.parametrize("mode", ["graph", "xla"])
    @pytest.mark.parametrize("rank", [4, 5])
    def test_unknown_static_shapes(self, rank, mode):
        batches = [yolov3_batch(2, ((3, 4),), seed=27), yolov3_batch(1, ((5, 2),), seed=28)]
        # The anchors relative to the input are those of the first batch.
        anchors = batches[0].anchors[0].tolist()
        labels, logits = (tf.TensorSpec([None] * unknown, tf.float32) for unknown in (5, rank))

        def loss_and_gradient(y_true, y_pred):
            with tf.GradientTape() as tape:
                tape.watch(y_pred)
                loss = self.yolov3_loss(y_true, y_pred, anchors)
            assert loss.shape.rank == 1
            return loss, tape.gradient(loss, y_pred)

        function = execution.in_mode(mode, loss_and_gradient, input_signature=[labels, logits])
        for batch in batches:
            expected = numpy_yolov3_loss.yolov3_loss(batch.y_true[0], batch.y_pred[0], anchors)
            shape = batch.y_pred[0].shape if rank == 5 else (*batch.y_pred[0].shape[:3], -1)
            loss, gradient = function(batch.y_true[0], batch.y_pred[0].reshape(shape))
            assert_close(loss, expected.loss, np.float32)
            assert_close(gradient, expected.gradient.reshape(shape), np.float32)

    def test_unknown_rank(self):
        batch = yolov3_batch(2, ((3, 4),), target_format="corner", seed=29)
        unknown = tf.TensorSpec(None, tf.float32)
        options = dict(target_format="corner", class_weights=(0.5, 1.0, 2.0))
        function = execution.in_mode(
            "graph",
            lambda y_true, y_pred: self.yolov3_loss(y_true, y_pred, batch.anchors[0], **options),
            input_signature=[unknown, unknown],
        )
        expected = numpy_yolov3_loss.yolov3_loss(batch.y_true, batch.y_pred, batch.anchors, **options)
        assert_close(function(batch.y_true[0], batch.y_pred[0]), expected.loss, np.float32)

    # Ignored cells

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("comparator", ["<", "<="])
    @pytest.mark.parametrize("scope", ["scale", "image"])
    def test_iou_at_the_threshold(self, scope, comparator, mode):
        expected = self.check(yolov3_cases.iou_of_one_half(), mode, comparator=comparator, ignore_scope=scope)
        assert expected.closest == 0
        assert expected.ignored[0][0, 0, 1, 0] == (comparator == "<")
        assert expected.ignored[0].sum() == (comparator == "<")

    # NaN and infinity

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("place", READ)
    def test_nan_where_a_logit_takes_part(self, place, mode):
        cell, column, options = READ[place]
        batch = yolov3_cases.small_batch()
        batch.y_pred[0][(*cell, column)] = np.nan
        loss, components, _ = self.differentiate(batch.y_true, batch.y_pred, batch.anchors, mode, **options)
        assert np.isnan(loss).tolist() == [False, True]
        assert np.isnan(components["class" if column > 4 else "no_object"]).tolist() == [False, True]
        assert components["num_invalid"].tolist() == [0, 0]

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("column", [4, 5])
    def test_nan_gradient_of_its_logit_only(self, column, mode):
        batch = yolov3_cases.small_batch()
        batch.y_pred[0][(*OBJECT, column)] = np.nan
        _, _, (gradient,) = self.differentiate(batch.y_true, batch.y_pred, batch.anchors, mode)
        assert np.argwhere(np.isnan(gradient)).tolist() == [[*OBJECT, column]]

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_classes_of_the_background_are_not_read(self, value, mode):
        batch = yolov3_cases.small_batch()
        clean_loss, _, (clean_gradient,) = self.differentiate(batch.y_true, batch.y_pred, batch.anchors, mode)
        batch.y_pred[0][(*BACKGROUND, slice(5, None))] = value
        loss, _, (gradient,) = self.differentiate(batch.y_true, batch.y_pred, batch.anchors, mode)
        np.testing.assert_array_equal(loss, clean_loss)
        np.testing.assert_array_equal(gradient, clean_gradient)

    @pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
    @pytest.mark.parametrize("name", AWKWARD_OPTIONS)
    def test_logits_of_invalid_cells_are_not_read(self, name, value):
        batch = yolov3_cases.small_batch()
        batch.y_true[0][(*OBJECT, 0)] = np.nan
        batch.y_true[0][(*BACKGROUND, 4)] = 2
        options = AWKWARD_OPTIONS[name]
        clean_loss, _, (clean_gradient,) = self.differentiate(batch.y_true, batch.y_pred, batch.anchors, **options)
        batch.y_pred[0][OBJECT] = batch.y_pred[0][BACKGROUND] = value
        loss, _, (gradient,) = self.differentiate(batch.y_true, batch.y_pred, batch.anchors, **options)
        assert np.isfinite(clean_loss).all()
        np.testing.assert_array_equal(loss, clean_loss)
        np.testing.assert_array_equal(gradient, clean_gradient)
        assert not gradient[OBJECT].any()
        assert not gradient[BACKGROUND].any()

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("value", [np.inf, -np.inf, 1e30, 100.0, -100.0])
    def test_infinite_box_logits_of_the_background(self, value, mode):
        batch = yolov3_cases.small_batch()
        batch.y_pred[0][(*BACKGROUND, slice(0, 4))] = value
        loss, _, (gradient,) = self.differentiate(batch.y_true, batch.y_pred, batch.anchors, mode, box_loss="ciou")
        assert np.isfinite(loss).all()
        assert np.isfinite(gradient).all()
        assert not gradient[(*BACKGROUND, slice(0, 4))].any()

    @pytest.mark.parametrize("value", [1e4, -1e4, 1e3, 100.0, -100.0, 25.0, -25.0])
    @pytest.mark.parametrize("name", OPTION_SETS)
    def test_large_logits(self, name, value):
        """Some of them of either sign in every cell."""
        options = OPTION_SETS[name]
        batch = batch_for(options, grids=((2, 3), (4, 6)), fractional=True, seed=30)
        for logits in batch.y_pred:
            signs = np.where(np.random.default_rng(31).random(logits.shape) < 0.7, 1, -1)
            logits[:] = value * signs
        loss, _, gradient = self.differentiate(batch.y_true, batch.y_pred, batch.anchors, **options)
        assert np.isfinite(loss).all()
        assert all(np.isfinite(slopes).all() for slopes in gradient)

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("dtype", TOLERANCES)
    @pytest.mark.parametrize("focal", [False, True])
    def test_infinite_logits_that_say_what_the_label_does(self, focal, dtype, mode):
        batch = yolov3_cases.small_batch()
        options = dict(objectness_focal=focal, class_focal=focal)
        logits = batch.y_pred[0]
        logits[..., 4], logits[(*BACKGROUND, 4)] = -2, -3e4
        logits[(*OBJECT, slice(5, None))] = [-3e4, 3e4, -3e4]
        expected = self.differentiate(batch.y_true, [logits.astype(dtype)], batch.anchors, mode, **options)
        logits[np.abs(logits) == 3e4] *= np.inf
        loss, _, (gradient,) = self.differentiate(batch.y_true, [logits.astype(dtype)], batch.anchors, mode, **options)
        np.testing.assert_array_equal(loss, expected[0])
        np.testing.assert_array_equal(gradient, expected[2][0])
        assert np.isfinite(loss).all()
        assert gradient[(*BACKGROUND, 4)] == 0
        assert not gradient[(*OBJECT, slice(5, None))].any()

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("place", [(OBJECT, 4, -1), (BACKGROUND, 4, 1), (OBJECT, 6, -1), (OBJECT, 7, 1)])
    @pytest.mark.parametrize("focal", [False, True])
    def test_infinite_logits_against_the_label(self, focal, place, mode):
        cell, column, sign = place
        batch = yolov3_cases.small_batch()
        batch.y_pred[0][(*cell, column)] = sign * np.inf
        options = dict(objectness_focal=focal, class_focal=focal)
        loss, _, (gradient,) = self.differentiate(batch.y_true, batch.y_pred, batch.anchors, mode, **options)
        assert loss[1] > 1e30
        assert np.isfinite(gradient).all()
        assert gradient[(*cell, column)] * sign > 0.1

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("focal", [False, True])
    @pytest.mark.parametrize("logits", [[0, np.inf, 1], [-np.inf, 2, -np.inf], [-np.inf, np.inf, 3]])
    def test_softmax_of_infinite_logits(self, logits, focal, mode):
        batch = yolov3_cases.small_batch()
        batch.y_pred[0][(*OBJECT, slice(5, None))] = logits
        options = dict(class_loss="softmax", class_focal=focal)
        loss, components, (gradient,) = self.differentiate(batch.y_true, batch.y_pred, batch.anchors, mode, **options)
        assert components["class"][1] == 0
        assert np.isfinite(loss).all()
        assert not gradient[(*OBJECT, slice(5, None))].any()
        batch.y_pred[0][(*OBJECT, slice(5, None))] = [np.inf, np.inf, 0]
        _, components, (gradient,) = self.differentiate(batch.y_true, batch.y_pred, batch.anchors, mode, **options)
        half = 0.25 * 0.25 * np.log(2) if focal else np.log(2)
        np.testing.assert_allclose(components["class"][1], half, rtol=1e-6)
        # By log p a focal loss falls by (1 - p) ((1 - p) - 2 p log p) / 4.
        slope = 0.25 * 0.5 * (0.5 + np.log(2)) * 0.5 if focal else 0.5
        np.testing.assert_allclose(gradient[(*OBJECT, slice(5, None))], [slope, -slope, 0], rtol=1e-6)

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("focal", [False, True])
    @pytest.mark.parametrize("offset", [100, 1e4, -1e4, 1e6])
    def test_offset_of_softmax_logits(self, offset, focal, mode):
        """The same number added to all logits changes nothing, as long as float32 holds their sixteenths."""
        options = dict(class_loss="softmax", class_focal=focal)
        batch = yolov3_batch(2, seed=35)
        for logits in batch.y_pred:
            logits[..., 5:] = np.round(16 * logits[..., 5:]) / 16
        loss, _, gradient = self.differentiate(batch.y_true, batch.y_pred, batch.anchors, mode, **options)
        for logits in batch.y_pred:
            logits[..., 5:] += offset
        expected = self.check(batch, mode, **options)
        moved_loss, _, moved_gradient = self.differentiate(batch.y_true, batch.y_pred, batch.anchors, mode, **options)
        assert (expected.components["class"] > 0).all()
        np.testing.assert_allclose(moved_loss, loss, rtol=1e-6)
        for moved, slopes in zip(moved_gradient, gradient, strict=True):
            np.testing.assert_allclose(moved, slopes, rtol=1e-5, atol=1e-7)

    # Weights of zero

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("value", [3e19, 3e38, np.inf, -np.inf])
    @pytest.mark.parametrize("name", WITHOUT_WEIGHT)
    def test_a_term_of_weight_zero_is_not_computed(self, name, value, mode):
        options, cell, columns, component = WITHOUT_WEIGHT[name]
        batch = yolov3_cases.small_batch()
        arrays = batch.y_true, batch.y_pred, batch.anchors
        clean_loss, clean_components, (clean_gradient,) = self.differentiate(*arrays, mode, **options)
        assert not clean_gradient[(*cell, columns)].any()
        batch.y_pred[0][(*cell, columns)] = value
        loss, components, (gradient,) = self.differentiate(*arrays, mode, **options)
        np.testing.assert_array_equal(loss, clean_loss)
        np.testing.assert_array_equal(gradient, clean_gradient)
        np.testing.assert_array_equal(components[component], clean_components[component])

    @pytest.mark.parametrize("mode", execution.MODES)
    def test_nan_of_box_and_objectness_is_told_without_weights(self, mode):
        options = dict(box_weight=0, object_weight=0, no_object_weight=0, class_weight=0)
        for cell, column in ((OBJECT, 0), (OBJECT, 4), (BACKGROUND, 4), (BACKGROUND, 2)):
            batch = yolov3_cases.small_batch()
            batch.y_pred[0][(*cell, column)] = np.nan
            loss, _, (gradient,) = self.differentiate(batch.y_true, batch.y_pred, batch.anchors, mode, **options)
            assert np.isnan(loss).tolist() == [False, True]
            assert not gradient.any()

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("name", AWKWARD_OPTIONS)
    def test_an_image_without_weight_has_no_gradient(self, name, mode):
        batch = yolov3_cases.small_batch()
        batch.y_pred[0][1] = np.array([np.inf, -np.inf, 3e38, -3e38])[np.arange(batch.y_pred[0][1].size) % 4].reshape(
            batch.y_pred[0][1].shape
        )
        upstream = np.array([1, 0], np.float32)
        arrays = batch.y_true, batch.y_pred, batch.anchors
        loss, _, (gradient,) = self.differentiate(*arrays, mode, upstream, **AWKWARD_OPTIONS[name])
        assert not np.isnan(loss).any()
        assert np.isfinite(gradient).all()
        assert gradient[0].any()
        assert not gradient[1].any()

    @pytest.mark.parametrize("box_loss", ["classic", "squared"])
    def test_overflow_is_infinite(self, box_loss):
        batch = yolov3_cases.small_batch()
        batch.y_pred[0][(*OBJECT, slice(2, 4))] = 3e19, -3e38
        loss, components, (gradient,) = self.differentiate(batch.y_true, batch.y_pred, batch.anchors, box_loss=box_loss)
        assert np.isposinf(loss).tolist() == [False, True]
        assert np.isposinf(components["wh"]).tolist() == [False, True]
        assert not np.isnan(gradient).any()

    # Labels

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("label", LABELS)
    def test_invalid_labels_leave_their_cell_out(self, label, mode):
        cell, column, value, invalid = LABELS[label]
        batch = yolov3_cases.small_batch()
        batch.y_true[0][(*cell, column)] = value
        expected = self.check(batch, mode)
        assert expected.components["num_invalid"].tolist() == [0, int(invalid)]
        assert np.isfinite(expected.loss).all()
        assert expected.valid[0][cell] != invalid

    @pytest.mark.parametrize("label", CORNER_LABELS)
    def test_invalid_corner_labels_leave_their_cell_out(self, label):
        cell, column, value, invalid = CORNER_LABELS[label]
        batch = yolov3_cases.small_batch("corner")
        batch.y_true[0][(*cell, column)] = value
        expected = self.check(batch, target_format="corner", box_loss="giou", class_focal=True)
        assert expected.components["num_invalid"].tolist() == [0, int(invalid)]
        assert np.isfinite(expected.loss).all()

    @pytest.mark.parametrize("mode", ["eager", "graph"])
    @pytest.mark.parametrize("label", LABELS)
    def test_invalid_labels_raise_on_request(self, label, mode):
        cell, column, value, invalid = LABELS[label]
        batch = yolov3_cases.small_batch()
        arrays = batch.y_true, batch.y_pred, batch.anchors, mode
        self.differentiate(*arrays, invalid_targets="error")
        batch.y_true[0][(*cell, column)] = value
        if not invalid:
            self.differentiate(*arrays, invalid_targets="error")
            return
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            self.differentiate(*arrays, invalid_targets="error")
        assert_names_the_cell(str(caught.value), cell, value)

    def test_invalid_label_of_the_second_scale(self):
        batch = yolov3_batch(2, seed=32)
        batch.y_true[1][1, 5, 7, 2, 4] = -3
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            self.differentiate(batch.y_true, batch.y_pred, batch.anchors, invalid_targets="error")
        assert_names_the_cell(str(caught.value), (1, 5, 7, 2), -3, scale=1)

    def test_only_the_loss_and_the_predictions_have_a_gradient(self):
        batch = yolov3_cases.small_batch()
        y_true, y_pred = tf.constant(batch.y_true[0]), tf.constant(batch.y_pred[0])
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([y_true, y_pred])
            loss, components = self.yolov3_loss(y_true, y_pred, batch.anchors[0], return_components=True)
        assert tape.gradient(loss, y_true) is None
        assert tape.gradient(loss, y_pred) is not None
        for component in components.values():
            assert tape.gradient(component, [y_true, y_pred]) == [None, None]

    @pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.float64, np.float16, bool])
    def test_labels_of_any_numeric_dtype(self, dtype):
        batch = yolov3_cases.small_batch()
        labels = np.ceil(batch.y_true[0]).astype(dtype)
        loss, _, (gradient,) = self.differentiate([labels], batch.y_pred, batch.anchors)
        arrays = [labels.astype(np.float32)], batch.y_pred, batch.anchors
        expected_loss, components, (expected_gradient,) = self.differentiate(*arrays)
        assert not components["num_invalid"].any()
        np.testing.assert_array_equal(loss, expected_loss)
        np.testing.assert_array_equal(gradient, expected_gradient)

    # Arguments

    @pytest.mark.parametrize("case", BAD_SHAPES)
    def test_bad_shapes(self, case):
        true_shape, pred_shape, anchor_shape, options, argument = BAD_SHAPES[case]
        y_true, y_pred = np.zeros(true_shape, np.float32), np.zeros(pred_shape, np.float32)
        anchors = np.ones(anchor_shape).tolist()
        with pytest.raises(BAD_SHAPE, match=f"{argument}.*: "):
            self.yolov3_loss(y_true, y_pred, anchors, **options)
        function = execution.in_mode("graph", lambda true, pred: self.yolov3_loss(true, pred, anchors, **options))
        with pytest.raises(ValueError, match=argument):
            function.get_concrete_function(y_true, y_pred)

    @pytest.mark.parametrize("case", BAD_SHAPES)
    def test_bad_shapes_at_run_time(self, case):
        true_shape, pred_shape, anchor_shape, options, _ = BAD_SHAPES[case]
        unknown = tf.TensorSpec(None, tf.float32)
        anchors = np.ones(anchor_shape).tolist()
        function = execution.in_mode(
            "graph",
            lambda true, pred: self.yolov3_loss(true, pred, anchors, **options),
            input_signature=[unknown, unknown],
        )
        with pytest.raises(tf.errors.InvalidArgumentError):
            function(np.zeros(true_shape, np.float32), np.zeros(pred_shape, np.float32))

    @pytest.mark.parametrize("option, value", BAD_OPTIONS)
    def test_bad_options(self, option, value):
        batch = yolov3_cases.small_batch()
        with pytest.raises(ValueError, match=f"{option}: expected .*, got "):
            self.yolov3_loss(batch.y_true[0], batch.y_pred[0], batch.anchors[0], **{option: value})

    def test_class_focal_needs_a_class_loss_with_a_focal_variant(self):
        batch = yolov3_cases.small_batch()
        for class_loss in ("none", "normalized_sigmoid"):
            with pytest.raises(ValueError, match="class_focal: expected "):
                self.yolov3_loss(batch.y_true, batch.y_pred, batch.anchors, class_focal=True, class_loss=class_loss)

    @pytest.mark.parametrize("anchors", [[[1.0, 2.0]], [[0.1, 0.0], [1, 1]], [[0.1, np.nan], [1, 1]], [1.0, 2.0], []])
    def test_bad_anchors(self, anchors):
        batch = yolov3_cases.small_batch()
        with pytest.raises(BAD_SHAPE, match=r"(anchors|y_pred).*: expected "):
            self.yolov3_loss(batch.y_true[0], batch.y_pred[0], anchors)

    def test_as_many_scales_of_everything(self):
        batch = yolov3_batch(2, seed=33)
        with pytest.raises(ValueError, match=r"y_true: expected .*, got "):
            self.yolov3_loss(batch.y_true[:1], batch.y_pred, batch.anchors)
        with pytest.raises(ValueError, match=r"anchors: expected .*, got "):
            self.yolov3_loss(batch.y_true, batch.y_pred, batch.anchors[:1])
        with pytest.raises(ValueError, match=r"y_true: expected .*, got "):
            self.yolov3_loss([], [], batch.anchors)

    @pytest.mark.parametrize("dtype", [np.int32, np.uint8, bool, np.complex64])
    def test_bad_predictions(self, dtype):
        batch = yolov3_cases.small_batch()
        with pytest.raises(TypeError, match=r"y_pred.*: expected .* got "):
            self.yolov3_loss(batch.y_true, [batch.y_pred[0].astype(dtype)], batch.anchors)

    def test_one_dtype_for_all_scales(self):
        batch = yolov3_batch(2)
        with pytest.raises(TypeError, match=r"y_pred.*"):
            self.yolov3_loss(batch.y_true, [batch.y_pred[0], batch.y_pred[1].astype(np.float64)], batch.anchors)

    def test_bad_labels(self):
        batch = yolov3_cases.small_batch()
        with pytest.raises(TypeError, match=r"y_true.*: expected .* got "):
            self.yolov3_loss([batch.y_true[0].astype(np.complex64)], batch.y_pred, batch.anchors)

    # Slopes

    @pytest.mark.parametrize("name", OPTION_SETS)
    def test_finite_differences(self, name):
        """Every logit's slope in float64. Every image of one batch moves one logit a little."""
        options = dict(OPTION_SETS[name])
        if options.get("class_loss") == "softmax" and not options.get("class_focal"):
            # TensorFlow's gradient of the softmax is the slope only where the labels add up to 1.
            options["label_smoothing"] = 0.0
        batch = batch_for(
            options, images=1, grids=((2, 2), (3, 4)), boxes=3, multi_hot=False, dtype=np.float64, seed=34
        )
        expected = numpy_yolov3_loss.yolov3_loss(batch.y_true, batch.y_pred, batch.anchors, **options)
        assert expected.closest > 1e-3 or options.get("ignore_thresh") == 0
        _, _, gradient = self.differentiate(batch.y_true, batch.y_pred, batch.anchors, **options)
        slopes = np.concatenate([array.ravel() for array in gradient])
        differences = self.central_differences(batch, options)
        assert np.count_nonzero(slopes) > 10
        np.testing.assert_allclose(slopes, differences, rtol=1e-6, atol=1e-8)

    def central_differences(self, batch: Batch, options: dict[str, Any], step: float = 1e-5) -> np.ndarray:
        sizes = [logits.size for logits in batch.y_pred]
        moves = np.concatenate([step * np.eye(sum(sizes)), -step * np.eye(sum(sizes))])
        parts = np.split(moves, np.cumsum(sizes)[:-1], axis=1)
        y_true = [np.repeat(labels, len(moves), axis=0) for labels in batch.y_true]
        y_pred = [
            logits + part.reshape(len(moves), *logits.shape[1:])
            for logits, part in zip(batch.y_pred, parts, strict=True)
        ]
        loss = np.asarray(
            self.yolov3_loss(y_true, y_pred, batch.anchors, **{**options, **self._without_alpha(options)})
        )
        if options.get("box_loss") == "ciou":
            loss = loss + _aspect_penalties(batch, y_pred, options)
        ahead, behind = np.split(loss, 2)
        return (ahead - behind) / (2 * step)

    @staticmethod
    def _without_alpha(options: dict[str, Any]) -> dict[str, Any]:
        """CIoU is DIoU with a penalty whose factor has no gradient: the slope of the loss itself is another."""
        return {"box_loss": "diou"} if options.get("box_loss") == "ciou" else {}


def _aspect_penalties(batch: Batch, y_pred: list[np.ndarray], options: dict[str, Any]) -> np.ndarray:
    """CIoU's `alpha * v` of every image in `y_pred`, summed as the box loss, with `alpha` as it is in the batch."""
    totals = np.zeros(len(y_pred[0]))
    strides = options.get("stride") or (0,) * len(y_pred)
    for scale, stride in enumerate(strides):
        for index in np.argwhere(batch.y_true[scale][0, ..., 4] != 0):
            part = batch.scale(scale)
            label = part.y_true[0][(0, *index)]
            _, _, width, height = label[:4]
            if options.get("target_format") == "corner":
                width, height = label[2] - label[0], label[3] - label[1]
            anchor = part.anchors[0][index[2]] / (stride * np.array(part.y_pred[0].shape[2:0:-1]) if stride else 1)

            def v(logits: np.ndarray, angle: float = np.arctan(width / height), anchor: Any = anchor) -> np.ndarray:
                size = anchor * np.exp(logits[..., 2:4])
                return 4 / np.pi**2 * (angle - np.arctan(size[..., 0] / size[..., 1])) ** 2

            at = v(part.y_pred[0][(0, *index)])
            iou = _iou_of(part, (0, *index), options, scale)
            weight = options.get("box_weight", 1) * label[4] * (2 - width * height)
            totals += weight * at / (1 + 1e-7 - iou + at) * v(y_pred[scale][(slice(None), *index)])
    return totals


def _iou_of(part: Batch, cell: tuple[int, ...], options: dict[str, Any], scale: int) -> float:
    """IoU of a cell's box with its label, out of a loss that holds nothing else."""
    labels = np.zeros_like(part.y_true[0])
    labels[cell] = part.y_true[0][cell]
    labels[(*cell, 4)] = 1
    only = {name: options[name] for name in ("target_format",) if name in options}
    for name in ("stride", "grid_sense"):
        if options.get(name) is not None:
            only[name] = options[name][scale] if isinstance(options[name], tuple) else options[name]
    result = numpy_yolov3_loss.yolov3_loss([labels], part.y_pred, part.anchors, box_loss="iou", **only)
    label = labels[cell]
    area = label[2] * label[3]
    if options.get("target_format") == "corner":
        area = (label[2] - label[0]) * (label[3] - label[1])
    return 1 - result.components["box"][0] / (2 - area)
