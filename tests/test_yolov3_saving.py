"""Saved YOLOv3 training models of every kind load in processes that import nothing of detloss but `detloss`."""

from __future__ import annotations

import pytest

import child_process
import saved_yolov3_models


@pytest.fixture(params=["keras", "tf_keras"])
def keras(request):
    return pytest.importorskip(request.param, reason=f"{request.param} is not installed")


@pytest.mark.parametrize(
    "order, kinds",
    [("before", saved_yolov3_models.KINDS), ("after", ("layer", "weighted_layer", "lambda"))],
    ids=["before", "after"],
)
def test_models_load_after_importing_only_detloss(keras, order, kinds, tmp_path):
    losses = {}
    for kind in kinds:
        model = saved_yolov3_models.build(kind, keras)
        loss = saved_yolov3_models.loss_of(kind, model)
        for suffix in (".keras", ".h5", "") if keras.__name__ == "tf_keras" else (".keras", ".h5"):
            model.save(tmp_path / f"{kind}{suffix}")
            losses[str(tmp_path / f"{kind}{suffix}")] = loss
    assert child_process.run("reload_yolov3_models.py", keras.__name__, order, *losses) == pytest.approx(losses)


@pytest.mark.parametrize("kind", ["loss", "layer", "weighted_layer", "lambda"])
def test_loaded_models_train_on(keras, kind, tmp_path):
    model = saved_yolov3_models.build(kind, keras)
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / f"{kind}.keras")
    unsafe = {"safe_mode": False} if keras.__name__ == "tf_keras" and kind == "lambda" else {}
    restored = keras.models.load_model(tmp_path / f"{kind}.keras", **unsafe)
    training = saved_yolov3_models.fit(kind, restored)
    training.assert_same(saved_yolov3_models.fit(kind, model))
    assert training.loss[1] < training.loss[0]
