"""`detloss.tf_keras.YOLOv3Loss` and `detloss.tf_keras.YOLOv3LossLayer`, and life beside Keras 3."""

from __future__ import annotations

import keras
import pytest

import detloss
import yolov3_training
from yolov3_keras_checks import YOLOv3KerasChecks

tf_keras = pytest.importorskip("tf_keras", reason="tf_keras is not installed")


class TestYOLOv3InTfKeras(YOLOv3KerasChecks):
    keras = tf_keras
    losses = detloss.tf_keras

    def test_both_keras_in_one_process(self):
        assert not issubclass(detloss.tf_keras.YOLOv3Loss, keras.losses.Loss)
        assert not issubclass(detloss.YOLOv3Loss, tf_keras.losses.Loss)
        assert not issubclass(detloss.tf_keras.YOLOv3LossLayer, keras.layers.Layer)
        assert not issubclass(detloss.YOLOv3LossLayer, tf_keras.layers.Layer)

    def test_saved_models_need_no_detloss(self, tmp_path):
        """The loss stays outside the graphs of the format, unless a layer of the model computes it."""
        body = yolov3_training.build_body(tf_keras)
        model = yolov3_training.compile_model(tf_keras, body, self.losses_by_scale())
        model.fit(yolov3_training.images(2), yolov3_training.labels(2), verbose=0)
        model.save(tmp_path / "saved", save_format="tf")
        assert not any(op.startswith("Detloss") for op in yolov3_training.graph_ops(tmp_path / "saved"))
