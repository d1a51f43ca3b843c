"""`detloss.SSDLoss` in Keras 3: training, reductions, dtypes, saving, replicas, export."""

from __future__ import annotations

import copy
import importlib
import json
import pickle
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import child_process
import detloss
import ssd_training

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


class PlainLoss(keras.losses.Loss):
    """The same loss on Keras' own `__call__`."""

    def call(self, y_true, y_pred):
        return detloss.ssd_loss(y_true, y_pred)


@pytest.fixture
def seen_dtypes(monkeypatch):
    """The dtypes of labels and predictions at each call of `detloss.ssd_loss`."""
    seen, ssd_loss = [], detloss.ssd_loss

    def spy(y_true, y_pred, **options):
        seen.append((tf.as_dtype(y_true.dtype).name, tf.as_dtype(y_pred.dtype).name))
        return ssd_loss(y_true, y_pred, **options)

    monkeypatch.setattr(detloss, "ssd_loss", spy)
    return seen


@pytest.mark.parametrize("policy", ssd_training.POLICIES)
def test_modes_train_alike(policy, seen_dtypes):
    with ssd_training.policy(keras, policy):
        eager, graph, xla = (ssd_training.train(keras, detloss.SSDLoss(), mode) for mode in ssd_training.MODES)
    assert set(seen_dtypes) == {("float32", policy.removeprefix("mixed_"))}
    rtol = 1e-4 if policy == "float32" else 2e-2
    ssd_training.assert_same_curves(graph, eager, rtol)
    ssd_training.assert_same_curves(xla, eager, rtol)


def test_trains_like_the_reference():
    def reference(y_true, y_pred):
        return detloss.reference.ssd_loss(y_true, y_pred)

    ssd_training.assert_same_curves(ssd_training.train(keras, detloss.SSDLoss()), ssd_training.train(keras, reference))


def test_sample_weights_scale_the_images():
    weights = np.linspace(0.5, 3, 10, dtype=np.float32)
    model = ssd_training.compile_model(keras, ssd_training.build_model(keras), detloss.SSDLoss())
    x, y = ssd_training.features(10), ssd_training.labels(10)
    per_image = detloss.ssd_loss(y, model(x)).numpy()
    loss = model.evaluate(x, y, sample_weight=weights, batch_size=10, verbose=0)
    np.testing.assert_allclose(loss, np.mean(weights * per_image), rtol=1e-5)


@pytest.mark.parametrize("layout", ssd_training.LAYOUTS)
def test_options_reach_the_loss(layout):
    y_true, y_pred = ssd_training.labels(4, layout), ssd_training.predictions(4, layout)
    options = {**OPTIONS, "layout": layout}
    per_image = detloss.SSDLoss(**options, reduction="none")(y_true, y_pred)
    np.testing.assert_array_equal(per_image, detloss.ssd_loss(y_true, y_pred, **options))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none", None])
def test_reduces_as_every_keras_loss(reduction, weighted, masked):
    y_pred = tf.constant(ssd_training.predictions(4))
    if masked:
        y_pred._keras_mask = tf.constant([True, False, True, True])
    sample_weight = np.array([1.0, 2.0, 0.0, 4.0]) if weighted else None
    arguments = (ssd_training.labels(4), y_pred, sample_weight)
    expected = PlainLoss(reduction=reduction)(*arguments)
    actual = detloss.SSDLoss(reduction=reduction)(*arguments)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_refuses_a_mask_per_box():
    y_pred = tf.constant(ssd_training.predictions(4))
    y_pred._keras_mask = tf.ones((4, ssd_training.BOXES), tf.bool)
    with pytest.raises(ValueError, match="mask: expected shape"):
        detloss.SSDLoss()(ssd_training.labels(4), y_pred)


@pytest.mark.parametrize(
    ("dtype", "y_pred_dtype", "expected"),
    [
        (None, "float32", ("float32", "float32")),
        (None, "float64", ("float32", "float32")),
        (None, "float16", ("float32", "float16")),
        ("float16", "float16", ("float32", "float16")),
        ("mixed_bfloat16", "float32", ("float32", "float32")),
        (keras.DTypePolicy("mixed_float16"), "float16", ("float32", "float16")),
        ("float64", "float32", ("float64", "float64")),
        ("float64", "float64", ("float64", "float64")),
    ],
)
def test_dtype_of_the_loss(dtype, y_pred_dtype, expected, seen_dtypes):
    y_true, y_pred = ssd_training.labels(4).astype(np.float64), ssd_training.predictions(4).astype(y_pred_dtype)
    loss = detloss.SSDLoss(dtype=dtype)(y_true, y_pred, [1.0, 2.0, 3.0, 4.0])
    label_dtype, prediction_dtype = expected
    assert loss.dtype == label_dtype
    assert [seen[1] for seen in seen_dtypes] == [prediction_dtype]


def test_half_losses_do_not_overflow():
    y_true, y_pred = ssd_training.labels(4), ssd_training.predictions(4).astype(np.float16)
    y_pred[..., 4:8] = 60000
    loss = detloss.SSDLoss(dtype="float16")(y_true, y_pred)
    assert np.isfinite(loss)
    assert loss > 65504


def test_config_round_trip():
    loss = detloss.SSDLoss(**OPTIONS, reduction="sum", name="boxes", dtype="float64")
    config = json.loads(json.dumps(loss.get_config()))
    assert detloss.SSDLoss.from_config(config).get_config() == loss.get_config()
    assert {**config, "layout": "ssd_keras_rykov8"} == {
        **OPTIONS,
        "reduction": "sum",
        "name": "boxes",
        "dtype": "float64",
    }
    assert detloss.SSDLayout(**config["layout"]) == detloss.SSDLayout(class_column=4, box_column=0, positive_column=-8)


def test_serialises_under_its_registered_name():
    serialised = keras.losses.serialize(detloss.SSDLoss(layout=detloss.SSDLayout(num_classes=4)))
    assert serialised["registered_name"] == "detloss>SSDLoss"
    restored = keras.losses.deserialize(serialised)
    assert type(restored) is detloss.SSDLoss
    assert restored.get_config() == serialised["config"]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))])
def test_duplicates(duplicate):
    loss = detloss.SSDLoss(**OPTIONS)
    assert duplicate(loss).get_config() == loss.get_config()


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="layout: expected"):
        detloss.SSDLoss(layout="caffe")
    with pytest.raises(TypeError, match="neg_ratio"):
        detloss.SSDLoss(neg_ratio=3)
    with pytest.raises(ValueError, match="reduction"):
        detloss.SSDLoss(reduction="median")


def test_other_backends_are_named(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    monkeypatch.delitem(sys.modules, "detloss.losses")
    with pytest.raises(ImportError, match="expected Keras on the TensorFlow backend, got 'jax'"):
        importlib.import_module("detloss.losses")


@pytest.mark.parametrize("order", ["before", "after"])
def test_models_load_after_importing_only_detloss(order, tmp_path):
    losses = {}
    for suffix in (".keras", ".h5"):
        loss = detloss.SSDLoss(neg_pos_ratio=1.0, mining_scope="image", reduction="sum")
        model = ssd_training.compile_model(keras, ssd_training.build_model(keras), loss)
        file = tmp_path / f"model{suffix}"
        model.save(file)
        losses[str(file)] = model.evaluate(ssd_training.features(6), ssd_training.labels(6), batch_size=6, verbose=0)
    loaded = child_process.run("reload_models.py", "keras", order, *losses)
    assert loaded == pytest.approx(losses)


def test_restored_and_cloned_models_train_on(tmp_path):
    model = ssd_training.compile_model(keras, ssd_training.build_model(keras), detloss.SSDLoss())
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    restored = keras.models.load_model(tmp_path / "model.keras")
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    clone.compile_from_config(model.get_compile_config())
    x, y = ssd_training.features(8), ssd_training.labels(8)
    expected = model.fit(x, y, shuffle=False, verbose=0).history
    for other in (restored, clone):
        assert type(other.loss) is detloss.SSDLoss
        ssd_training.assert_same_curves(other.fit(x, y, shuffle=False, verbose=0).history, expected)


def test_generators_without_static_shapes_train():
    def batches():
        while True:
            yield ssd_training.features(3), ssd_training.labels(3)

    model = ssd_training.compile_model(keras, ssd_training.build_model(keras), detloss.SSDLoss())
    history = model.fit(batches(), steps_per_epoch=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_replicas_train_like_one_device():
    weights = child_process.weights_on_one_device_and_on_two("keras")
    one, two = weights["by image, weighted"]
    np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-6)
    assert np.isfinite(weights["one left over"]).all()


@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_exported_models_need_no_detloss(mode, tmp_path):
    model = ssd_training.compile_model(keras, ssd_training.build_model(keras), detloss.SSDLoss(), mode)
    model.fit(ssd_training.features(4), ssd_training.labels(4), verbose=0)
    model.export(tmp_path / "exported", verbose=False)
    tf.saved_model.save(model, str(tmp_path / "saved"))
    for folder in ("exported", "saved"):
        ops = ssd_training.graph_ops(tmp_path / folder)
        assert "MatMul" in ops
        assert not any(op.startswith("Detloss") for op in ops)


@pytest.mark.parametrize(
    "option, value", [("mining_scope", "world"), ("rank_by", "size"), ("normalizer", "none"), ("neg_pos_ratio", -1.0)]
)
def test_wrong_options_fail_in_the_constructor(option, value):
    with pytest.raises(ValueError, match=f"{option}: expected .* got {value!r}"):
        detloss.SSDLoss(**{option: value})
