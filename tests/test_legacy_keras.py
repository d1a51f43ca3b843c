"""`TF_USE_LEGACY_KERAS`: `detloss.SSDLoss` and the like are of the Keras that `tf.keras` is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import child_process
from detloss import _legacy_keras

pytest.importorskip("tf_keras", reason="tf_keras is not installed")
NAMES = ("SSDLoss", "YOLOv3Loss", "YOLOv3LossLayer")


def run_python(code: str, legacy: str | None) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "TF_USE_LEGACY_KERAS"}
    if legacy is not None:
        environment["TF_USE_LEGACY_KERAS"] = legacy
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    "value, chosen", [("1", True), ("true", True), ("True", True), ("", False), ("0", False), ("yes", False)]
)
def test_values_that_tensorflow_takes_for_yes(value, chosen, monkeypatch):
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", value)
    assert _legacy_keras.is_chosen() is chosen


@pytest.mark.parametrize("legacy", ["True", None])
def test_public_names_are_of_tf_keras_exactly_where_tensorflows_are(legacy):
    code = f"""
import detloss, tensorflow as tf
for name in {NAMES}:
    of_tf = tf.keras.layers.Layer if name.endswith("Layer") else tf.keras.losses.Loss
    assert issubclass(getattr(detloss, name), of_tf), name
print(detloss.SSDLoss.__module__, detloss.losses.SSDLoss.__module__)
"""
    child = run_python(code, legacy)
    expected = "detloss.tf_keras.ssd_loss" if legacy else "detloss.losses.ssd_loss"
    assert child.stdout.split() == [expected, "detloss.losses.ssd_loss"], child.stderr


def test_models_train_save_and_load(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    for kind, losses in child_process.run("legacy_keras.py", tmp_path).items():
        assert losses == pytest.approx([losses[0]] * 4, rel=1e-6), kind


def test_missing_tf_keras_is_named():
    child = run_python("import sys; sys.modules['tf_keras'] = None; import detloss; detloss.SSDLoss", "1")
    assert "ImportError: detloss.tf_keras: expected tf_keras 2.21, but it is not installed" in child.stderr
    assert "Run `pip install tf_keras~=2.21.0`, or unset TF_USE_LEGACY_KERAS." in child.stderr


def test_the_keras_3_class_has_another_name_then():
    code = """
import detloss, keras, numpy as np
model = keras.Sequential([keras.layers.Dense(16)])
model.compile("sgd", detloss.SSDLoss())
model.fit(np.ones((2, 3, 4)), np.ones((2, 3, 16)))
"""
    child = run_python(code, "1")
    assert "TypeError: detloss.tf_keras.SSDLoss: expected a model of tf_keras" in child.stderr
    assert "Use detloss.losses.SSDLoss there." in child.stderr
