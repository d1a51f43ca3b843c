"""`detloss.yolo_ignore_mask`: the fused op."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import detloss
import execution
import numpy_yolov3_loss
from yolo_ignore_mask_checks import YoloIgnoreMaskChecks


class TestYoloIgnoreMask(YoloIgnoreMaskChecks):
    yolo_ignore_mask = staticmethod(detloss.yolo_ignore_mask)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
    def test_same_bits_in_every_mode(self, dtype):
        boxes, true_boxes = self.boxes((3, 700), 8).astype(dtype), self.boxes((3, 20), 9)
        masks = [execution.run(mode, detloss.yolo_ignore_mask, boxes, true_boxes) for mode in execution.MODES]
        assert 0 < masks[0].sum() < masks[0].size
        for mask in masks[1:]:
            np.testing.assert_array_equal(mask, masks[0])

    # On a grid of eighths every IoU is computed exactly alike, and many are exactly at the threshold.
    @settings(max_examples=60, deadline=None)
    @given(
        boxes=arrays.arrays(np.int8, (1, 17, 4), elements=st.integers(0, 8)),
        true_boxes=arrays.arrays(np.int8, (1, 5, 4), elements=st.integers(0, 8)),
        ignore_thresh=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
        comparator=st.sampled_from(["<", "<="]),
    )
    def test_at_the_threshold(self, boxes, true_boxes, ignore_thresh, comparator):
        boxes, true_boxes = (values.astype(np.float32) / 8 for values in (boxes, true_boxes))
        options = dict(ignore_thresh=ignore_thresh, comparator=comparator)
        mask = detloss.yolo_ignore_mask(boxes, true_boxes, **options)
        np.testing.assert_array_equal(mask, numpy_yolov3_loss.ignored(boxes, true_boxes, **options))

    def test_shapes_are_checked_when_the_graph_is_built(self):
        @tf.function(input_signature=[tf.TensorSpec([None, None, 5]), tf.TensorSpec([None, None, 4])])
        def mask(boxes, true_boxes):
            return detloss.yolo_ignore_mask(boxes, true_boxes)

        with pytest.raises(ValueError, match="boxes: expected shape"):
            mask.get_concrete_function()
