"""`detloss.tf_keras.SSDLoss` in tf_keras: training, reductions, saving, replicas, and life beside Keras 3."""

from __future__ import annotations

import copy
import importlib
import json
import pickle
import sys

import keras
import numpy as np
import pytest

import child_process
import detloss
import ssd_training

tf_keras = pytest.importorskip("tf_keras", reason="tf_keras is not installed")
SSDLoss = detloss.tf_keras.SSDLoss

OPTIONS = dict(
    neg_pos_ratio=2.0,
    n_neg_min=3,
    alpha=0.5,
    mining_scope="image",
    rank_by="foreground",
    normalizer="image",
    from_logits=True,
    layout="ssd_keras_rykov8",
    num_classes=ssd_training.NUM_CLASSES,
    invalid_targets="error",
)


class PlainLoss(tf_keras.losses.Loss):
    """The same loss without the mixin."""

    def call(self, y_true, y_pred):
        return detloss.ssd_loss(y_true, y_pred)


@pytest.mark.parametrize("policy", ssd_training.POLICIES)
def test_modes_train_alike(policy):
    with ssd_training.policy(tf_keras, policy):
        eager, graph, xla = (ssd_training.train(tf_keras, SSDLoss(), mode) for mode in ssd_training.MODES)
    rtol = 1e-4 if policy == "float32" else 2e-2
    ssd_training.assert_same_curves(graph, eager, rtol)
    ssd_training.assert_same_curves(xla, eager, rtol)


def test_trains_like_the_reference():
    def reference(y_true, y_pred):
        return detloss.reference.ssd_loss(y_true, y_pred)

    ssd_training.assert_same_curves(ssd_training.train(tf_keras, SSDLoss()), ssd_training.train(tf_keras, reference))


def test_sample_weights_scale_the_images():
    weights = np.linspace(0.5, 3, 10, dtype=np.float32)
    model = ssd_training.compile_model(tf_keras, ssd_training.build_model(tf_keras), SSDLoss())
    x, y = ssd_training.features(10), ssd_training.labels(10)
    per_image = detloss.ssd_loss(y, model(x)).numpy()
    loss = model.evaluate(x, y, sample_weight=weights, batch_size=10, verbose=0)
    np.testing.assert_allclose(loss, np.mean(weights * per_image), rtol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["auto", "sum_over_batch_size", "sum", "none"])
def test_reduces_as_every_tf_keras_loss(reduction, weighted):
    sample_weight = np.array([1.0, 2.0, 0.0, 4.0], np.float32) if weighted else None
    arguments = (ssd_training.labels(4), ssd_training.predictions(4), sample_weight)
    expected = PlainLoss(reduction=reduction)(*arguments)
    actual = SSDLoss(reduction=reduction)(*arguments)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_config_round_trip():
    loss = SSDLoss(**OPTIONS, reduction="sum", name="boxes")
    config = json.loads(json.dumps(loss.get_config()))
    assert SSDLoss.from_config(config).get_config() == loss.get_config()
    assert {**config, "layout": "ssd_keras_rykov8"} == {**OPTIONS, "reduction": "sum", "name": "boxes"}


def test_serialises_under_its_registered_name():
    serialised = tf_keras.losses.serialize(SSDLoss(layout=detloss.SSDLayout(num_classes=4)))
    assert serialised["registered_name"] == "detloss>SSDLoss"
    restored = tf_keras.losses.deserialize(serialised)
    assert type(restored) is SSDLoss
    assert restored.get_config() == serialised["config"]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))])
def test_duplicates(duplicate):
    loss = SSDLoss(**OPTIONS)
    assert duplicate(loss).get_config() == loss.get_config()


@pytest.mark.parametrize("order", ["before", "after"])
def test_models_load_after_importing_only_detloss(order, tmp_path):
    losses = {}
    for suffix in (".keras", ".h5", ""):
        loss = SSDLoss(neg_pos_ratio=1.0, mining_scope="image", reduction="sum")
        model = ssd_training.compile_model(tf_keras, ssd_training.build_model(tf_keras), loss)
        file = tmp_path / f"model{suffix}"
        model.save(file)
        losses[str(file)] = model.evaluate(ssd_training.features(6), ssd_training.labels(6), batch_size=6, verbose=0)
    assert child_process.run("reload_models.py", "tf_keras", order, *losses) == pytest.approx(losses)


def test_replicas_train_like_one_device():
    weights = child_process.weights_on_one_device_and_on_two("tf_keras")
    one, two = weights["by image, weighted"]
    np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-6)
    assert np.isfinite(weights["one left over"]).all()


def test_saved_models_need_no_detloss(tmp_path):
    model = ssd_training.compile_model(tf_keras, ssd_training.build_model(tf_keras), SSDLoss())
    model.fit(ssd_training.features(4), ssd_training.labels(4), verbose=0)
    model.save(tmp_path / "saved", save_format="tf")
    model.export(tmp_path / "exported")
    for folder in ("saved", "exported"):
        ops = ssd_training.graph_ops(tmp_path / folder)
        assert "MatMul" in ops
        assert not any(op.startswith("Detloss") for op in ops)


def test_both_keras_in_one_process():
    curves = [ssd_training.train(keras, detloss.SSDLoss()), ssd_training.train(tf_keras, SSDLoss())]
    assert not issubclass(SSDLoss, keras.losses.Loss)
    assert not issubclass(detloss.SSDLoss, tf_keras.losses.Loss)
    ssd_training.assert_same_curves(*curves)


def test_missing_tf_keras_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    monkeypatch.delitem(sys.modules, "detloss.tf_keras")
    with pytest.raises(ImportError, match="pip install tf_keras"):
        importlib.import_module("detloss.tf_keras")
