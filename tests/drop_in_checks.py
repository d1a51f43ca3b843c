"""What every SSD drop-in has to show in Keras 3 and in tf_keras alike."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import json
import pickle
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import child_process
import ssd_training


@functools.cache
def curves_of_the_original(checks: type[DropInChecks], keras: Any) -> dict[str, Any]:
    return ssd_training.train(keras, checks().original, "graph", checks.layout)


class DropInChecks:
    """A subclass names the drop-in: its object with default options, its layout, its repository's loss."""

    layout: str
    drop_in: Any
    #: The constructor's signature in the original repository.
    signature: str
    #: The case of `train_on_replicas.py`.
    replicas: str

    def original(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """The repository's own graph."""
        raise NotImplementedError

    @pytest.fixture(params=["keras", "tf_keras"])
    def keras(self, request):
        return pytest.importorskip(request.param, reason=f"{request.param} is not installed")

    @property
    def compute_loss(self) -> Any:
        return self.drop_in.compute_loss

    def test_signature_is_the_originals(self):
        positional = [
            parameter.replace(annotation=inspect.Parameter.empty)
            for parameter in inspect.signature(type(self.drop_in)).parameters.values()
            if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        ]
        assert str(inspect.Signature(positional)) == self.signature

    @pytest.mark.parametrize("mode", ssd_training.MODES)
    def test_trains_like_the_original(self, keras, mode):
        curves = ssd_training.train(keras, self.compute_loss, mode, self.layout)
        ssd_training.assert_same_curves(curves, curves_of_the_original(type(self), keras))

    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    def test_trains_in_half_precision(self, keras, policy):
        with ssd_training.policy(keras, policy):
            curves = ssd_training.train(keras, self.compute_loss, "xla", self.layout)
        ssd_training.assert_same_curves(curves, curves_of_the_original(type(self), keras), rtol=2e-2)

    def test_sample_weights_scale_the_images(self, keras):
        weights = np.linspace(0.5, 3, 10, dtype=np.float32)
        model = ssd_training.compile_model(keras, ssd_training.build_model(keras, self.layout), self.compute_loss)
        x, y = ssd_training.features(10), ssd_training.labels(10, self.layout)
        per_image = self.original(tf.constant(y), model(x))
        loss = model.evaluate(x, y, sample_weight=weights, batch_size=10, verbose=0)
        np.testing.assert_allclose(loss, np.mean(weights * per_image), rtol=1e-5)

    def test_models_load_after_importing_only_detloss(self, keras, tmp_path):
        losses = {}
        for suffix in (".keras", ".h5", "") if keras.__name__ == "tf_keras" else (".keras", ".h5"):
            model = ssd_training.compile_model(keras, ssd_training.build_model(keras, self.layout), self.compute_loss)
            file = tmp_path / f"{self.layout}{suffix}"
            model.save(file)
            x, y = ssd_training.features(6), ssd_training.labels(6, self.layout)
            losses[str(file)] = model.evaluate(x, y, batch_size=6, verbose=0)
        assert child_process.run("reload_models.py", keras.__name__, "before", *losses) == pytest.approx(losses)

    @pytest.mark.parametrize("suffix", [".keras", ".h5"])
    @pytest.mark.parametrize("saved_with", ["drop-in", "original"])
    def test_custom_objects_of_the_original_repository_load(self, keras, suffix, saved_with, tmp_path):
        def compute_loss(y_true, y_pred):
            return self.original(y_true, y_pred)

        saved = compute_loss if saved_with == "original" else self.compute_loss
        model = ssd_training.compile_model(keras, ssd_training.build_model(keras, self.layout), saved)
        model.save(tmp_path / f"model{suffix}")
        restored = keras.models.load_model(
            tmp_path / f"model{suffix}", custom_objects={"compute_loss": self.compute_loss}
        )
        x, y = ssd_training.features(6), ssd_training.labels(6, self.layout)
        losses = [each.evaluate(x, y, batch_size=6, verbose=0) for each in (restored, model)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
        assert restored.loss == self.compute_loss

    def test_replicas_train_like_one_device(self, keras):
        one, two = child_process.weights_on_one_device_and_on_two(keras.__name__)[self.replicas]
        np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-6)

    def test_saved_models_need_no_detloss(self, keras, tmp_path):
        model = ssd_training.compile_model(keras, ssd_training.build_model(keras, self.layout), self.compute_loss)
        model.fit(ssd_training.features(4), ssd_training.labels(4, self.layout), verbose=0)
        model.export(tmp_path / "exported")
        ops = ssd_training.graph_ops(tmp_path / "exported")
        assert "MatMul" in ops
        assert not any(op.startswith("Detloss") for op in ops)

    def test_serialises_under_its_registered_name(self, keras):
        loss = self.compute_loss
        serialised = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
        assert serialised["registered_name"] == f"detloss>{type(loss).__name__}"
        assert keras.losses.deserialize(serialised) == loss

    def test_duplicates_are_equal(self):
        loss = self.compute_loss
        duplicates = [copy.deepcopy(loss), pickle.loads(pickle.dumps(loss)), type(loss).from_config(loss.get_config())]
        assert duplicates == [loss] * 3
        assert len({loss, *duplicates}) == 1
        assert dataclasses.replace(loss, alpha=7.0) != loss

    def test_weights_by_hand(self):
        y_true, y_pred = ssd_training.labels(4, self.layout), ssd_training.predictions(4, self.layout)
        per_image = self.compute_loss(y_true, y_pred).numpy()
        assert per_image.shape == (4,)
        weights = np.array([1.0, 2.0, 0.0, 4.0])
        np.testing.assert_array_equal(
            self.compute_loss(y_true, y_pred, weights), per_image * weights.astype(np.float32)
        )
        np.testing.assert_array_equal(self.compute_loss(y_true, y_pred, 2.0), per_image * 2)
        with pytest.raises(ValueError, match="sample_weight: expected shape"):
            self.compute_loss(y_true, y_pred, weights[None])

    def test_invalid_targets(self):
        y_true, y_pred = ssd_training.labels(4, self.layout), ssd_training.predictions(4, self.layout)
        class_column = 0 if self.layout == "ssd_keras" else 4
        y_true[2, 5, class_column] = np.nan
        assert np.isfinite(self.compute_loss(y_true, y_pred)).all()
        strict = dataclasses.replace(self.compute_loss, invalid_targets="error")
        with pytest.raises(tf.errors.InvalidArgumentError):
            strict(y_true, y_pred)
