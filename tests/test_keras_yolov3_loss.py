"""`detloss.YOLOv3Loss` and `detloss.YOLOv3LossLayer` in Keras 3."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import detloss
import yolov3_training
from yolov3_keras_checks import ANCHORS, YOLOv3KerasChecks
from yolov3_training import NUM_CLASSES


class TestYOLOv3InKeras3(YOLOv3KerasChecks):
    keras = keras
    losses = detloss.losses

    @pytest.mark.parametrize(
        ("dtype", "y_pred_dtype", "expected"),
        [
            (None, "float64", ("float32", "float32")),
            ("float16", "float16", ("float32", "float16")),
            ("mixed_bfloat16", "float32", ("float32", "float32")),
            ("float64", "float32", ("float64", "float64")),
        ],
    )
    def test_dtype_of_the_loss(self, dtype, y_pred_dtype, expected, seen_dtypes):
        y_true = yolov3_training.labels(4)
        y_pred = yolov3_training.logits(y_true)[0].astype(y_pred_dtype)
        loss = detloss.YOLOv3Loss(ANCHORS[0], NUM_CLASSES, dtype=dtype)(y_true[0], y_pred)
        assert loss.dtype == expected[0]
        assert {predictions for _, predictions in seen_dtypes} == {expected[1]}

    def test_half_losses_do_not_overflow(self):
        y_true = yolov3_training.labels(4)
        y_pred = yolov3_training.logits(y_true)[0].astype(np.float16)
        y_pred[..., 4::8] = 60000
        loss = detloss.YOLOv3Loss(ANCHORS[0], NUM_CLASSES, dtype="float16")(y_true[0], y_pred)
        assert np.isfinite(loss)
        assert loss > 65504

    def test_public_names(self):
        assert detloss.YOLOv3Loss is detloss.losses.YOLOv3Loss
        assert detloss.YOLOv3LossLayer is detloss.losses.YOLOv3LossLayer

    def test_mask_per_cell_is_refused(self):
        y_true = yolov3_training.labels(2)
        y_pred = keras.ops.convert_to_tensor(yolov3_training.logits(y_true)[0])
        keras.src.backend.set_keras_mask(y_pred, keras.ops.ones((2, 2, 3), "bool"))
        with pytest.raises(ValueError, match="mask: expected shape"):
            detloss.YOLOv3Loss(ANCHORS[0], NUM_CLASSES)(y_true[0], y_pred)
