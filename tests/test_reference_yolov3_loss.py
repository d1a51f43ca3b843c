"""`detloss.reference.yolov3_loss` and keras-yolo3's graph against the golden cases and the definition in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import execution
import golden_yolov3
import numpy_yolov3_loss
import yolov3_cases
from detloss import reference
from yolo_ignore_mask_checks import YoloIgnoreMaskChecks
from yolov3_loss_checks import YOLOv3LossChecks

#: The option sets are compiled anyhow; XLA takes seconds for each scale.
COMPILED = {
    "keras_yolo3": ("tiny_two_scales_128_c4",),
    "yolov3_tf2": ("typical_96_c4_scale1",),
    "keras_yolov3_model_set": ("all_on", "tiny_ciou"),
}


class TestReferenceYOLOv3Loss(YOLOv3LossChecks):
    yolov3_loss = staticmethod(reference.yolov3_loss)

    @pytest.mark.parametrize("golden", golden_yolov3.all_golden_yolov3_cases())
    def test_golden(self, golden):
        self.check_golden(golden, "eager")

    @pytest.mark.parametrize("mode", ["graph", "xla"])
    @pytest.mark.parametrize(
        "golden",
        [case for drop_in, names in COMPILED.items() for case in golden_yolov3.golden_yolov3_cases(drop_in, names)],
    )
    def test_golden_compiled(self, golden, mode):
        self.check_golden(golden, mode)

    def test_xla_drops_the_assertion_on_labels(self):
        batch = yolov3_cases.small_batch()
        batch.y_true[0][(*yolov3_cases.OBJECT, 0)] = np.nan
        arrays = batch.y_true, batch.y_pred, batch.anchors
        _, components, _ = self.differentiate(*arrays, "xla", invalid_targets="error")
        assert components["num_invalid"].tolist() == [0, 1]

    @pytest.mark.parametrize("scope", ["scale", "image"])
    @pytest.mark.parametrize("mode", ["eager", "graph"])
    def test_too_many_true_boxes(self, mode, scope):
        batch = yolov3_cases.yolov3_batch(2, boxes=(9, 5), seed=40)
        arrays = batch.y_true, batch.y_pred, batch.anchors, mode
        enough = 9 if scope == "scale" else 18
        self.differentiate(*arrays, max_boxes=enough, ignore_scope=scope)
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"y_true: expected at most {enough - 1} true boxes"):
            self.differentiate(*arrays, max_boxes=enough - 1, ignore_scope=scope)
        # Without an ignore mask no list of boxes is made.
        self.differentiate(*arrays, max_boxes=0, objectness_focal=True)

    def test_too_many_true_boxes_under_xla(self):
        batch = yolov3_cases.yolov3_batch(2, boxes=(9, 5), seed=40)
        loss, _, _ = self.differentiate(batch.y_true, batch.y_pred, batch.anchors, "xla", max_boxes=8)
        assert np.isnan(loss).tolist() == [True, False]

    def test_more_true_boxes_than_by_default(self):
        batch = yolov3_cases.yolov3_batch(1, ((8, 8),), boxes=150, seed=41)
        expected = numpy_yolov3_loss.yolov3_loss(batch.y_true, batch.y_pred, batch.anchors)
        loss, _, _ = self.differentiate(batch.y_true, batch.y_pred, batch.anchors, max_boxes=150)
        np.testing.assert_allclose(loss, expected.loss, rtol=1e-5)


class TestReferenceYoloIgnoreMask(YoloIgnoreMaskChecks):
    yolo_ignore_mask = staticmethod(reference.yolo_ignore_mask)


# Not under XLA: how many boxes there are is known only at run time.
@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("golden", golden_yolov3.golden_yolov3_cases("keras_yolo3"))
def test_golden_original(golden, mode):
    params = golden.case.params

    def loss_and_gradient(y_true, y_pred):
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            loss = reference.original.keras_yolo3_loss(
                y_true, y_pred, golden.case["anchors"], params["num_classes"], params["ignore_thresh"]
            )
        return loss, tape.gradient(loss, y_pred, output_gradients=tf.constant(golden.loss_gradient))

    function = execution.in_mode(mode, loss_and_gradient)
    loss, gradient = function(*([tf.constant(array) for array in arrays] for arrays in (golden.y_true, golden.y_pred)))
    golden.check(loss, None, gradient)


def test_the_original_graph_loops_over_images():
    golden = golden_yolov3.golden_yolov3_cases("keras_yolo3", ("tiny_two_scales_128_c4",))[0].values[0]

    def loss(y_true, y_pred):
        return reference.original.keras_yolo3_loss(y_true, y_pred, golden.case["anchors"], 4)

    function = execution.in_mode("graph", loss)
    graph = function.get_concrete_function(
        *([tf.constant(array) for array in arrays] for arrays in (golden.y_true, golden.y_pred))
    ).graph
    assert sum(operation.type in ("While", "StatelessWhile") for operation in graph.get_operations()) == 2
