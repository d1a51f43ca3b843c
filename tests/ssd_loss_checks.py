"""What every implementation of the SSD loss has to show."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

import execution
import golden_cases
import numpy_ssd_loss
import ssd_cases
from detloss.ssd_layout import SSDLayout, as_layout
from detloss.ssd_options import MINING_SCOPES, NORMALIZERS, RANKINGS
from ssd_cases import OPTION_SETS, RYKOV8, batch_for, with_layout

#: Relative and absolute. Half precision: a unit in the last place of the gradient, and float16's smallest number.
TOLERANCES = {np.float64: (1e-9, 0), np.float32: (1e-5, 0), np.float16: (1e-3, 1e-7), ml_dtypes.bfloat16: (8e-3, 0)}

BAD_SHAPE = (ValueError, tf.errors.InvalidArgumentError)

#: Predictions that take part, by box and column of `small_batch` in ssd_keras' layout of five classes.
READ = {
    "class of a positive": (0, 1),
    "offset of a positive": (0, 6),
    "background of a candidate": (1, 0),
}
#: Predictions that do not.
NOT_READ = {
    "another class of a positive": (0, 2),
    "foreground of a negative": (2, 3),
    "offset of a negative": (1, 5),
    "class of a neutral box": (4, 0),
    "offset of a neutral box": (4, 7),
    "unused column": (0, 12),
}

#: Labels, by box and column of `small_batch`; their new value; whether it makes the box invalid.
LABELS = {
    "NaN class": (1, 2, np.nan, True),
    "infinite class": (1, 0, np.inf, True),
    "negative class": (0, 3, -0.5, True),
    "negative zero": (1, 2, -0.0, False),
    "class weight of 2": (1, 2, 2.0, False),
    "largest class weight": (1, 2, 1e6, False),
    "class weight beyond the largest": (1, 2, 1.1e6, True),
    "class weight of 1e38": (1, 2, 1e38, True),
    "background weight of 1e38": (1, 0, 1e38, True),
    "offset of a positive beyond the largest": (0, 6, -1.1e6, True),
    "class of a neutral box": (4, 1, np.nan, True),
    "offset of a positive": (0, 5, np.nan, True),
    "infinite offset of a positive": (0, 8, -np.inf, True),
    "offset of a negative": (1, 5, np.nan, False),
    "offset of a neutral box": (4, 5, np.nan, False),
    "unused column": (0, 13, np.nan, False),
}

#: Shapes of y_true and y_pred, options, name that the error starts with.
BAD_SHAPES = {
    "rank of both": ((5, 17), (5, 17), {}, "y_"),
    "rank of y_true": ((5, 17), (2, 5, 17), {}, "y_true"),
    "boxes": ((2, 4, 17), (2, 5, 17), {}, "y_true"),
    "images": ((1, 5, 17), (2, 5, 17), {}, "y_true"),
    "widths": ((2, 5, 16), (2, 5, 17), {}, "y_true"),
    "one class": ((2, 5, 13), (2, 5, 13), {}, "layout"),
    "narrow rows": ((2, 5, 6), (2, 5, 6), {}, "layout"),
    "classes beyond the row": ((2, 5, 17), (2, 5, 17), {"layout": SSDLayout(num_classes=18)}, "layout"),
    "offsets beyond the row": ((2, 5, 17), (2, 5, 17), {"layout": SSDLayout(box_column=15)}, "layout"),
    "flag beyond the row": ((2, 5, 17), (2, 5, 17), {"layout": SSDLayout(positive_column=-18)}, "layout"),
}


@functools.cache
def _differentiated(loss: Callable[..., Any], mode: str, options: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
    keywords = dict(options)
    return execution.differentiated(mode, lambda y_true, y_pred: loss(y_true, y_pred, **keywords))


def assert_close(actual: Any, expected: np.ndarray, dtype: Any) -> None:
    """Within the dtype's precision, and within float32's of the largest magnitude, since sums cancel."""
    rtol, atol = TOLERANCES[np.dtype(dtype).type]
    largest = np.max(np.abs(expected), initial=0, where=np.isfinite(expected))
    with np.errstate(over="ignore"):
        expected = expected.astype(dtype).astype(np.float64)
    atol += largest * (1e-14 if dtype == np.float64 else 1e-6)
    np.testing.assert_allclose(np.asarray(actual).astype(np.float64), expected, rtol=rtol, atol=atol)


def assert_names_the_box(message: str, image: int, box: int, value: float) -> None:
    """Whatever stands between the words and the numbers."""
    assert re.search(
        rf"y_true: expected .* got .*image\D{{1,4}}{image}\D{{1,10}}box\D{{1,4}}{box}\b", message, re.DOTALL
    )
    assert f"{value:g}" in message


class SSDLossChecks:
    """A subclass names the implementation."""

    ssd_loss: Callable[..., Any]

    def differentiate(
        self, y_true: Any, y_pred: Any, mode: str = "eager", loss_gradient: Any = None, **options: Any
    ) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
        """Loss, components and gradient. Functions of equal options are traced once."""
        function = _differentiated(type(self).ssd_loss, mode, tuple({**options, "return_components": True}.items()))
        (loss, components), gradient = function(y_true, y_pred, loss_gradient)
        return loss, components, gradient

    def check(self, y_true: Any, y_pred: Any, mode: str = "eager", loss_gradient: Any = None, **options: Any) -> Any:
        """Compares with the definition, whose result it returns."""
        options = with_layout(options)
        expected = numpy_ssd_loss.ssd_loss(y_true, y_pred, loss_gradient=loss_gradient, **options)
        loss, components, gradient = self.differentiate(y_true, y_pred, mode, loss_gradient, **options)
        loss_dtype = np.float64 if y_pred.dtype == np.float64 else np.float32
        assert loss.dtype == loss_dtype
        assert gradient.dtype == y_pred.dtype
        assert_close(loss, expected.loss, loss_dtype)
        assert_close(gradient, expected.gradient, y_pred.dtype)
        assert set(components) == set(expected.components)
        finite = np.isfinite(expected.loss)
        for name, component in components.items():
            assert component.dtype == (np.int32 if name == "num_invalid" else loss_dtype)
            assert_close(component[finite], expected.components[name][finite], loss_dtype)
        terms = components["positive"] + components["negative"] + components["localization"]
        assert_close(terms, loss.astype(np.float64), loss_dtype)
        return expected

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("case", golden_cases.golden_cases("ssd_keras"))
    def test_golden_ssd_keras(self, case, mode):
        loss, _, gradient = self.differentiate(case["y_true"], case["y_pred"], mode, **case.params)
        golden_cases.assert_golden_close(loss, case["loss"])
        golden_cases.assert_golden_close(gradient, case["grad_y_pred"])

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("case", golden_cases.golden_cases("ssd_keras_rykov8"))
    def test_golden_ssd_keras_rykov8(self, case, mode):
        options = dict(
            RYKOV8,
            neg_pos_ratio=case.params["neg_pos_ratio"],
            n_neg_min=int(case.params["negatives_for_hard"]),
            alpha=case.params["alpha"],
        )
        loss, _, gradient = self.differentiate(case["y_true"], case["y_pred"], mode, **options)
        golden_cases.assert_golden_close(loss, case["loss"])
        golden_cases.assert_golden_close(gradient, case["grad_y_pred"])

    @pytest.mark.parametrize("layout", ssd_cases.LAYOUTS)
    @pytest.mark.parametrize("from_logits", [False, True], ids=["probabilities", "logits"])
    def test_every_combination_of_options(self, from_logits, layout):
        for index, (scope, ranking, normalizer) in enumerate(itertools.product(MINING_SCOPES, RANKINGS, NORMALIZERS)):
            options = dict(mining_scope=scope, rank_by=ranking, normalizer=normalizer)
            options.update(from_logits=from_logits, layout=layout, n_neg_min=index % 4, alpha=0.5 + index)
            self.check(*batch_for(options, 3, 40, seed=index), **options)

    @pytest.mark.parametrize("mode", ["graph", "xla"])
    @pytest.mark.parametrize("name", OPTION_SETS)
    def test_modes(self, name, mode):
        options = OPTION_SETS[name]
        self.check(*batch_for(options, 3, 40, seed=1), mode, **options)

    @pytest.mark.parametrize("dtype", TOLERANCES)
    @pytest.mark.parametrize("name", OPTION_SETS)
    def test_dtypes(self, name, dtype):
        options = OPTION_SETS[name]
        self.check(*batch_for(options, 2, 60, dtype=dtype, positive_share=0.2, seed=2), **options)

    @pytest.mark.parametrize("boxes", [1, 7, 250])
    @pytest.mark.parametrize("images", [0, 1, 3])
    @pytest.mark.parametrize("name", ["ssd_keras", "rykov8", "caffe"])
    def test_shapes(self, name, images, boxes):
        options = OPTION_SETS[name]
        self.check(*batch_for(options, images, boxes, positive_share=0.3, seed=boxes), **options)

    @pytest.mark.parametrize("case", ssd_cases.AWKWARD)
    @pytest.mark.parametrize("mining_scope", MINING_SCOPES)
    def test_awkward(self, case, mining_scope):
        self.check(*ssd_cases.AWKWARD[case](), mining_scope=mining_scope)

    @pytest.mark.parametrize("case", ["no_objects", "all_equal", "probabilities_above_one", "no_images"])
    def test_awkward_under_xla(self, case):
        self.check(*ssd_cases.AWKWARD[case](), "xla", n_neg_min=5)

    @pytest.mark.parametrize("neg_pos_ratio, n_neg_min", [(0, 0), (0, 7), (0.1, 0), (0.4, 1), (1e30, 0), (1, 10**9)])
    @pytest.mark.parametrize("mining_scope", MINING_SCOPES)
    def test_number_of_negatives(self, mining_scope, neg_pos_ratio, n_neg_min):
        options = dict(mining_scope=mining_scope, neg_pos_ratio=neg_pos_ratio, n_neg_min=n_neg_min)
        self.check(*ssd_cases.ssd_batch(2, 100, positive_share=0.1, seed=4), **options)

    def test_ratio_is_rounded_before_the_floor(self):
        # In float64 the product with the float32 nearest to 0.7 is 6.99999988.
        labels = np.eye(3)[np.repeat([[1, 0]], [10, 30], axis=1)]
        y_true, y_pred = ssd_cases.assemble(labels, np.full(labels.shape, 1 / 3))
        assert self.check(y_true, y_pred, neg_pos_ratio=0.7).kept.sum() == 7

    @pytest.mark.parametrize("mode", execution.MODES)
    def test_gradient_of_the_loss_scales_the_images(self, mode):
        upstream = np.array([2.0, 0.0, -0.5], np.float32)
        self.check(*ssd_cases.ssd_batch(3, 40, seed=5), mode, loss_gradient=upstream)

    def test_large_logits(self):
        y_true, y_pred = ssd_cases.ssd_batch(2, 40, from_logits=True, positive_share=0.3, seed=6)
        y_pred[0, :, :5] *= 5e3
        expected = self.check(y_true, y_pred, from_logits=True)
        assert np.isfinite(expected.loss).all()

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("offset", [100, 1e4, -1e4, 1e6])
    @pytest.mark.parametrize("name", [name for name in OPTION_SETS if OPTION_SETS[name].get("from_logits")])
    def test_offset_of_logits(self, name, offset, mode):
        """The same number added to all logits changes nothing, as long as float32 holds their sixteenths."""
        options = OPTION_SETS[name]
        keywords = with_layout(options)
        y_true, y_pred = batch_for(options, 2, 60, positive_share=0.1, seed=8)
        columns = as_layout(keywords["layout"]).resolve(y_pred.shape[-1])
        classes = slice(columns.class_column, columns.class_column + columns.num_classes)
        logits = np.round(16 * y_pred[..., classes]) / 16
        y_pred[..., classes] = logits
        loss, components, gradient = self.differentiate(y_true, y_pred, mode, **keywords)
        y_pred[..., classes] = logits + offset
        expected = self.check(y_true, y_pred, mode, **options)
        assert expected.components["n_kept"].sum() > 0
        moved_loss, moved_components, moved_gradient = self.differentiate(y_true, y_pred, mode, **keywords)
        np.testing.assert_array_equal(moved_components["n_kept"], components["n_kept"])
        np.testing.assert_allclose(moved_loss, loss, rtol=1e-6)
        np.testing.assert_allclose(moved_gradient, gradient, rtol=1e-5, atol=1e-8)

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("offset", [0, 16, 1000])
    def test_small_cross_entropies(self, offset, mode):
        """Nearly nothing beside the largest logit."""
        y_true, _ = self.small_batch()
        y_pred = np.where(y_true[..., :5] == 1, 0, -14) + offset
        y_true, y_pred = ssd_cases.assemble(y_true[..., :5], y_pred)
        _, components, _ = self.differentiate(y_true, y_pred, mode, from_logits=True, neg_pos_ratio=1)
        each = np.log1p(4 * np.exp(-14.0))
        np.testing.assert_allclose(components["positive"], each, rtol=0.1)
        assert components["n_kept"].sum() == 2
        np.testing.assert_allclose(components["negative"].sum(), 2 * each, rtol=0.1)

    # NaN and infinity

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("dtype", TOLERANCES)
    def test_infinite_logits(self, dtype, mode):
        """Those equal to an infinite largest logit share the probability."""
        y_true, y_pred = self.small_batch()
        y_pred = y_pred.astype(dtype)
        y_pred[0, 0, 1] = y_pred[0, 1, 0] = np.inf  # as the labels say
        y_pred[0, 2, :5] = -np.inf
        y_pred[0, 2, 0] = 3
        y_pred[1, 2, [0, 4]] = np.inf
        expected = self.check(y_true, y_pred, mode, from_logits=True, n_neg_min=6)
        assert np.isfinite(expected.loss).all()
        assert not expected.gradient[0, :3, :5].any()
        np.testing.assert_allclose(expected.gradient[1, 2, [0, 4]], [-0.5, 0.5])

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("logits", [[np.inf, 0, 0, 0, 0], [0, -np.inf, 0, 0, 0], [np.inf, -np.inf, 1, 2, 3]])
    def test_an_impossible_class_is_an_infinite_loss(self, logits, mode):
        y_true, y_pred = self.small_batch()
        y_pred[1, 0, :5] = logits
        expected = self.check(y_true, y_pred, mode, from_logits=True)
        assert np.isposinf(expected.loss).tolist() == [False, True]
        assert np.isfinite(expected.gradient).all()

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("value", [3e38, np.inf, -np.inf])
    def test_alpha_of_zero(self, value, mode):
        y_true, y_pred = self.small_batch()
        clean = self.differentiate(y_true, y_pred, mode, alpha=0)
        y_pred[..., 5:9] = value
        loss, components, gradient = self.differentiate(y_true, y_pred, mode, alpha=0)
        assert not components["localization"].any()
        np.testing.assert_array_equal(loss, clean[0])
        np.testing.assert_array_equal(gradient, clean[2])

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("from_logits", [False, True], ids=["probabilities", "logits"])
    def test_an_image_without_weight_has_no_gradient(self, from_logits, mode):
        y_true, y_pred = self.small_batch()
        y_pred[1, :, :5] = np.inf
        y_pred[1, :, 5:9] = [3e38, -3e38, np.inf, -np.inf]
        upstream = np.array([1, 0], np.float32)
        _, _, gradient = self.differentiate(y_true, y_pred, mode, upstream, from_logits=from_logits)
        assert np.isfinite(gradient).all()
        assert gradient[0].any()
        assert not gradient[1].any()

    @staticmethod
    def small_batch(layout: str = "ssd_keras") -> ssd_cases.Batch:
        """Of each of two images box 0 is positive with class 1, boxes 1 to 3 are negative, box 4 is neutral."""
        labels = np.zeros((2, 5, 5))
        labels[:, 0, 1] = labels[:, 1:4, 0] = 1
        scores = ssd_cases.softmax(np.random.default_rng(7).normal(size=labels.shape))
        return ssd_cases.assemble(labels, scores, layout=layout)

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("place", READ)
    def test_nan_where_a_prediction_takes_part(self, place, mode):
        y_true, y_pred = self.small_batch()
        box, column = READ[place]
        y_pred[1, box, column] = np.nan
        loss, _, gradient = self.differentiate(y_true, y_pred, mode)
        assert np.isnan(loss).tolist() == [False, True]
        assert np.argwhere(np.isnan(gradient)).tolist() == [[1, box, column]]

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_values_that_take_no_part(self, value, mode):
        y_true, y_pred = self.small_batch()
        clean_loss, _, clean_gradient = self.differentiate(y_true, y_pred, mode)
        for box, column in NOT_READ.values():
            y_pred[1, box, column] = value
        loss, _, gradient = self.differentiate(y_true, y_pred, mode)
        np.testing.assert_array_equal(loss, clean_loss)
        np.testing.assert_array_equal(gradient, clean_gradient)

    @pytest.mark.parametrize("mode", execution.MODES)
    def test_nan_of_a_candidate_that_is_not_kept(self, mode):
        y_true, y_pred = self.small_batch()
        y_pred[1, 3, 0] = np.nan
        loss, _, gradient = self.differentiate(y_true, y_pred, mode, neg_pos_ratio=0)
        assert np.isnan(loss).tolist() == [False, True]
        assert np.isfinite(gradient).all()

    @pytest.mark.parametrize("mode", execution.MODES)
    def test_nan_ranks_first(self, mode):
        y_true, y_pred = self.small_batch()
        y_pred[0, 3, 0], y_pred[0, 1, 0] = np.nan, 1e-12
        loss, _, gradient = self.differentiate(y_true, y_pred, mode, mining_scope="image", neg_pos_ratio=1)
        assert np.isnan(loss).tolist() == [True, False]
        assert np.isnan(gradient[0, 3, 0])
        assert gradient[0, 1, 0] == 0

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("box", range(5))
    def test_nan_logits(self, box, mode):
        y_true, y_pred = self.small_batch()
        y_pred[1, box, 3] = np.nan
        loss, _, gradient = self.differentiate(y_true, y_pred, mode, from_logits=True)
        assert np.isnan(loss).tolist() == [False, box != 4]
        expected = np.zeros(gradient.shape, bool)
        expected[1, box, :5] = box != 4
        np.testing.assert_array_equal(np.isnan(gradient), expected)

    @pytest.mark.parametrize("mode", execution.MODES)
    def test_nan_of_the_foreground_that_ranks(self, mode):
        y_true, y_pred = self.small_batch("ssd_keras_rykov8")
        y_pred[1, 2, 4 + 3] = np.nan
        loss, _, _ = self.differentiate(y_true, y_pred, mode, **RYKOV8)
        assert np.isnan(loss).tolist() == [False, True]

    # Labels

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("label", LABELS)
    def test_invalid_labels_leave_their_box_out(self, label, mode):
        box, column, value, invalid = LABELS[label]
        y_true, y_pred = self.small_batch()
        y_true[1, box, column] = value
        expected = self.check(y_true, y_pred, mode)
        assert expected.components["num_invalid"].tolist() == [0, int(invalid)]
        assert np.isfinite(expected.loss).all()

    @pytest.mark.parametrize("flag", [np.nan, np.inf, -1])
    def test_invalid_flag(self, flag):
        y_true, y_pred = self.small_batch("ssd_keras_rykov8")
        y_true[0, :2, -8] = flag
        expected = self.check(y_true, y_pred, **RYKOV8, neg_pos_ratio=100)
        assert expected.components["num_invalid"].tolist() == [2, 0]
        assert expected.components["n_kept"].tolist() == [3, 4]

    @pytest.mark.parametrize("mode", ["eager", "graph"])
    @pytest.mark.parametrize("label", LABELS)
    def test_invalid_labels_raise_on_request(self, label, mode):
        box, column, value, invalid = LABELS[label]
        y_true, y_pred = self.small_batch()
        self.differentiate(y_true, y_pred, mode, invalid_targets="error")
        y_true[1, box, column] = value
        if not invalid:
            self.differentiate(y_true, y_pred, mode, invalid_targets="error")
            return
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            self.differentiate(y_true, y_pred, mode, invalid_targets="error")
        assert_names_the_box(str(caught.value), 1, box, value)

    def test_only_the_loss_and_the_predictions_have_a_gradient(self):
        y_true, y_pred = map(tf.constant, self.small_batch())
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([y_true, y_pred])
            loss, components = self.ssd_loss(y_true, y_pred, return_components=True)
        assert tape.gradient(loss, y_true) is None
        for component in components.values():
            assert tape.gradient(component, [y_true, y_pred]) == [None, None]

    @pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.float64, np.float16, bool])
    def test_labels_of_any_numeric_dtype(self, dtype):
        y_true, y_pred = self.small_batch()
        y_true = np.abs(np.round(y_true))
        loss, _, gradient = self.differentiate(y_true.astype(dtype), y_pred)
        expected_loss, _, expected_gradient = self.differentiate(y_true.astype(dtype).astype(np.float32), y_pred)
        np.testing.assert_array_equal(loss, expected_loss)
        np.testing.assert_array_equal(gradient, expected_gradient)

    # Shapes and arguments

    @pytest.mark.parametrize("mode", ["graph", "xla"])
    def test_unknown_static_shapes(self, mode):
        unknown = tf.TensorSpec([None, None, None], tf.float32)

        def loss_and_gradient(y_true, y_pred):
            with tf.GradientTape() as tape:
                tape.watch(y_pred)
                loss = self.ssd_loss(y_true, y_pred)
            assert loss.shape.rank == 1
            return loss, tape.gradient(loss, y_pred)

        function = execution.in_mode(mode, loss_and_gradient, input_signature=[unknown, unknown])
        for images, boxes, classes in [(2, 30, 4), (1, 50, 3)]:
            y_true, y_pred = ssd_cases.ssd_batch(images, boxes, classes, seed=boxes)
            expected = numpy_ssd_loss.ssd_loss(y_true, y_pred)
            loss, gradient = function(y_true, y_pred)
            assert_close(loss, expected.loss, np.float32)
            assert_close(gradient, expected.gradient, np.float32)

    def test_unknown_width_with_any_layout(self):
        y_true, y_pred = ssd_cases.ssd_batch(2, 30, layout=ssd_cases.MIXED_LAYOUT)
        unknown = tf.TensorSpec(None, tf.float32)
        function = execution.in_mode(
            "graph",
            lambda y_true, y_pred: self.ssd_loss(y_true, y_pred, layout=ssd_cases.MIXED_LAYOUT),
            input_signature=[unknown, unknown],
        )
        expected = numpy_ssd_loss.ssd_loss(y_true, y_pred, layout=ssd_cases.MIXED_LAYOUT)
        assert_close(function(y_true, y_pred), expected.loss, np.float32)

    @pytest.mark.parametrize("case", BAD_SHAPES)
    def test_bad_shapes(self, case):
        true_shape, pred_shape, options, argument = BAD_SHAPES[case]
        y_true, y_pred = np.zeros(true_shape, np.float32), np.zeros(pred_shape, np.float32)
        with pytest.raises(BAD_SHAPE, match=f"{argument}.*: "):
            self.ssd_loss(y_true, y_pred, **options)
        function = execution.in_mode("graph", lambda y_true, y_pred: self.ssd_loss(y_true, y_pred, **options))
        with pytest.raises(ValueError, match=argument):
            function.get_concrete_function(y_true, y_pred)

    @pytest.mark.parametrize("case", BAD_SHAPES)
    def test_bad_shapes_at_run_time(self, case):
        true_shape, pred_shape, options, _ = BAD_SHAPES[case]
        unknown = tf.TensorSpec(None, tf.float32)
        function = execution.in_mode(
            "graph",
            lambda y_true, y_pred: self.ssd_loss(y_true, y_pred, **options),
            input_signature=[unknown, unknown],
        )
        with pytest.raises(tf.errors.InvalidArgumentError):
            function(np.zeros(true_shape, np.float32), np.zeros(pred_shape, np.float32))

    @pytest.mark.parametrize(
        "option, value",
        [
            ("neg_pos_ratio", -1),
            ("neg_pos_ratio", np.nan),
            ("neg_pos_ratio", np.inf),
            ("n_neg_min", -1),
            ("alpha", np.nan),
            ("alpha", np.inf),
            ("mining_scope", "images"),
            ("rank_by", "logit"),
            ("normalizer", "none"),
            ("invalid_targets", "raise"),
            ("layout", "yolo"),
        ],
    )
    def test_bad_options(self, option, value):
        with pytest.raises(ValueError, match=f"{option}: expected .*, got "):
            self.ssd_loss(*self.small_batch(), **{option: value})

    @pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, bool, np.complex64, str])
    def test_bad_predictions(self, dtype):
        y_true, y_pred = self.small_batch()
        with pytest.raises(TypeError, match=r"y_pred: expected .* got "):
            self.ssd_loss(y_true, y_pred.astype(dtype))

    @pytest.mark.parametrize("dtype", [np.complex64, str])
    def test_bad_labels(self, dtype):
        y_true, y_pred = self.small_batch()
        with pytest.raises(TypeError, match=r"y_true: expected .* got "):
            self.ssd_loss(y_true.astype(dtype), y_pred)
