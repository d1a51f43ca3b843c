"""SavedModels of training models hold ops of detloss: they load after `import detloss`, in a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import child_process
import detloss
import ssd_cases
import yolov3_cases

ANCHORS = yolov3_cases.small_batch().anchors[0].tolist()


def ssd_loss(y_true: Any, y_pred: Any) -> tf.Tensor:
    return detloss.ssd_loss(y_true, y_pred, num_classes=5)


def yolov3_loss(y_true: Any, y_pred: Any) -> tf.Tensor:
    return detloss.yolov3_loss(y_true, y_pred, ANCHORS)


def batches() -> dict[str, tuple[Any, np.ndarray, np.ndarray]]:
    """Losses with labels and predictions for them."""
    ssd, yolov3 = ssd_cases.ssd_batch(2, 20), yolov3_cases.small_batch()
    return {"ssd": (ssd_loss, *ssd), "yolov3": (yolov3_loss, yolov3.y_true[0], yolov3.y_pred[0])}


class Trained(tf.Module):
    """A model of one variable, its loss and its training step."""

    def __init__(self, loss: Any, y_true: np.ndarray, y_pred: np.ndarray):
        super().__init__()
        self.factor = tf.Variable(1.25)
        specs = [tf.TensorSpec([None, *array.shape[1:]], tf.float32) for array in (y_true, y_pred)]

        @tf.function(input_signature=specs)
        def mean_loss(y_true: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
            return tf.reduce_mean(loss(y_true, self.factor * features))

        @tf.function(input_signature=specs)
        def train_step(y_true: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                value = mean_loss(y_true, features)
            (gradient,) = tape.gradient(value, [self.factor])
            self.factor.assign_sub(1e-3 * gradient)
            return value

        self.loss, self.train_step = mean_loss, train_step


def training_model(of_keras: Any, loss: Any, y_true: np.ndarray, y_pred: np.ndarray) -> Any:
    """Labels and features in, the loss out, by a Lambda layer."""
    labels, features = of_keras.Input(y_true.shape[1:]), of_keras.Input(y_pred.shape[1:])
    outputs = of_keras.layers.Rescaling(1.25)(features)
    value = of_keras.layers.Lambda(lambda args: loss(*args), output_shape=())([labels, outputs])
    return of_keras.Model([labels, features], value)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of the models, and what they give here."""
    folder = tmp_path_factory.mktemp("saved")
    arrays, expected = {}, {}
    for name, (loss, y_true, y_pred) in batches().items():
        arrays |= {f"{name}.0": y_true, f"{name}.1": y_pred}
        module = Trained(loss, y_true, y_pred)
        tf.saved_model.save(module, str(folder / f"{name}_module"))
        losses = [float(module.train_step(y_true, y_pred)) for _ in range(3)]
        with tf.GradientTape() as tape:
            value = module.loss(y_true, y_pred)
        expected[f"{name}_module"] = [*losses, float(value), float(tape.gradient(value, module.factor))]
        assert losses[0] > losses[2]
        for of_keras in (keras, tf_keras):
            model = training_model(of_keras, loss, y_true, y_pred)
            model.compile("sgd", loss=lambda _, value: value)
            path = str(folder / f"{name}_{of_keras.__name__}")
            if of_keras is keras:
                model.export(path, verbose=False)
            else:
                model.save(path, save_format="tf")
            expected[f"{name}_{of_keras.__name__}"] = float(tf.reduce_sum(model([y_true, y_pred])))
    np.savez(folder / "arrays.npz", **arrays)
    return folder, expected


@pytest.mark.parametrize("order", ["before", "after"])
def test_they_load_and_train_in_a_fresh_process(saved, order):
    folder, expected = saved
    results = child_process.run("load_saved_models.py", order, folder)
    assert results.keys() == expected.keys()
    for name, values in expected.items():
        assert results[name] == pytest.approx(values, rel=1e-5), name


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *environment.pop("flags", "").split(), "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


REGISTERED = """
from tensorflow.python.framework import op_def_registry, ops
names = [f"Detloss>{name}" for name in ("SsdLoss", "YoloV3Loss", "HardNegativeMining", "YoloIgnoreMask")]
registered = [op_def_registry.get(name) is not None for name in names]
for name in names:
    if all(registered):
        ops.gradient_registry.lookup(name)
print(registered)
"""
ALL, NONE = str([True] * 4), str([False] * 4)


@pytest.mark.parametrize("first, second", [("tensorflow", "detloss"), ("detloss", "tensorflow")])
def test_ops_and_gradients_are_registered_by_imports_alone(first, second):
    child = run_python(f"import {first}, {second}\n{REGISTERED}", flags="-W error::RuntimeWarning")
    assert child.stdout.strip() == ALL, child.stderr


def test_the_reference_loads_nothing():
    child = run_python(f"import detloss, tensorflow\n{REGISTERED}", DETLOSS_IMPL="reference")
    assert child.stdout.strip() == NONE, child.stderr
    child = run_python(f"import detloss; detloss.load()\n{REGISTERED}", DETLOSS_IMPL="reference")
    assert child.stdout.strip() == ALL, child.stderr


#: A package whose library does not load: TensorFlow cannot read the file.
BROKEN_LIBRARY = """
import sys, types, pathlib, tempfile
import detloss._tensorflow_version
broken = pathlib.Path(tempfile.mkdtemp(), "_ops.so")
broken.write_bytes(b"no library")
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "detloss.ops.library":
            sys.meta_path.remove(self)
            import importlib.util
            spec = importlib.util.find_spec(name)
            load = spec.loader.exec_module
            def exec_module(module):
                load(module)
                module._PATH = broken
            spec.loader.exec_module = exec_module
            return spec
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize("flags", ["", "-W error"])
def test_a_library_that_does_not_load_breaks_no_import(flags):
    code = f"""{BROKEN_LIBRARY}
import tensorflow as tf
print("imported", tf.constant(1).numpy())
for call in (detloss.load, lambda: detloss.ssd_loss(tf.zeros([1, 2, 15]), tf.zeros([1, 2, 15]))):
    try:
        call()
    except ImportError as error:
        print("built for TensorFlow" in str(error), "_ops.so" in str(error))
"""
    child = run_python(code, flags="-W ignore::DeprecationWarning " + flags if flags else flags)
    assert child.stdout.split() == ["imported", "1", *["True"] * 4], child.stderr
    if not flags:
        assert "RuntimeWarning: detloss: its ops did not load" in child.stderr
        assert "detloss.load() raises the error" in child.stderr


def test_an_unknown_implementation_breaks_no_import():
    child = run_python("import detloss, tensorflow; print('imported')", DETLOSS_IMPL="fast")
    assert child.stdout.strip() == "imported", child.stderr
    assert "DETLOSS_IMPL: expected 'fused' or 'reference', got 'fast'" in child.stderr


def test_threads_that_import_both_at_once():
    code = f"""
import threading
def of_loss():
    import detloss
    detloss.ssd_loss
def of_tensorflow():
    import tensorflow
import detloss
threads = [threading.Thread(target=target) for target in (of_tensorflow, of_loss, of_tensorflow, detloss.load)]
for thread in threads: thread.start()
for thread in threads: thread.join()
{REGISTERED}
"""
    child = run_python(code, flags="-W error::RuntimeWarning")
    assert child.stdout.strip() == ALL, child.stderr
    assert "Traceback" not in child.stderr
