"""What every implementation of the ignore mask has to show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import execution
import numpy_yolov3_loss


class YoloIgnoreMaskChecks:
    """A subclass names the implementation."""

    yolo_ignore_mask: Callable[..., Any]

    @staticmethod
    def boxes(shape: tuple[int, ...], seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        centres, sizes = rng.uniform(0, 1, (*shape, 2)), rng.uniform(0.1, 0.6, (*shape, 2))
        return np.concatenate([centres, sizes], axis=-1).astype(np.float32)

    @pytest.mark.parametrize("mode", execution.MODES)
    @pytest.mark.parametrize("comparator", ["<", "<="])
    @pytest.mark.parametrize("shape", [(2, 30), (2, 3, 4, 2), (2,), (0, 5), (2, 0)])
    def test_against_the_definition(self, shape, comparator, mode):
        boxes, true_boxes = self.boxes(shape, 1), self.boxes((shape[0], 6), 2)
        true_boxes[:, 3, 2] = 0
        true_boxes[:, 4, 0] = np.nan
        options = dict(ignore_thresh=0.3, comparator=comparator)
        mask = execution.run(mode, lambda *args: self.yolo_ignore_mask(*args, **options), boxes, true_boxes)
        np.testing.assert_array_equal(mask, numpy_yolov3_loss.ignored(boxes, true_boxes, **options))
        assert mask.dtype == bool

    @pytest.mark.parametrize("mode", execution.MODES)
    def test_no_true_boxes(self, mode):
        boxes = self.boxes((2, 5), 3)
        for true_boxes in (np.zeros((2, 0, 4), np.float32), np.zeros((2, 3, 4), np.float32)):
            mask = execution.run(mode, lambda *args: self.yolo_ignore_mask(*args, ignore_thresh=0), boxes, true_boxes)
            assert not mask.any()

    @pytest.mark.parametrize("mode", execution.MODES)
    def test_iou_at_the_threshold(self, mode):
        boxes = np.array([[[0.5, 0.5, 0.5, 0.5], [np.nan, 0.5, 0.5, 0.5]]], np.float32)
        true_boxes = np.array([[[0.5, 0.5, 0.5, 0.25]]], np.float32)
        for comparator, expected in (("<", True), ("<=", False)):
            mask = execution.run(
                mode, lambda *args, c=comparator: self.yolo_ignore_mask(*args, comparator=c), boxes, true_boxes
            )
            assert mask.tolist() == [[expected, False]]

    @pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float64])
    def test_dtypes(self, dtype):
        boxes, true_boxes = tf.cast(self.boxes((2, 40), 4), dtype), self.boxes((2, 6), 5)
        mask = self.yolo_ignore_mask(boxes, true_boxes, ignore_thresh=0.3)
        expected = numpy_yolov3_loss.ignored(tf.cast(boxes, tf.float64).numpy(), true_boxes, ignore_thresh=0.3)
        np.testing.assert_array_equal(mask, expected)

    @pytest.mark.parametrize(
        "shape, true_shape, argument",
        [
            ((4,), (2, 3, 4), "boxes"),
            ((2, 5, 5), (2, 3, 4), "boxes"),
            ((2, 5, 4), (3, 4), "true_boxes"),
            ((2, 5, 4), (2, 3, 5), "true_boxes"),
            ((2, 5, 4), (3, 3, 4), "true_boxes"),
        ],
    )
    def test_bad_shapes(self, shape, true_shape, argument):
        with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=f"{argument}: expected .*, got "):
            self.yolo_ignore_mask(np.zeros(shape, np.float32), np.zeros(true_shape, np.float32))

    def test_no_gradient(self):
        boxes, true_boxes = tf.constant(self.boxes((2, 5), 6)), tf.constant(self.boxes((2, 3), 7))
        with tf.GradientTape() as tape:
            tape.watch([boxes, true_boxes])
            mask = tf.cast(self.yolo_ignore_mask(boxes, true_boxes), tf.float32)
        assert tape.gradient(mask, [boxes, true_boxes]) == [None, None]
