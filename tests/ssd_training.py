"""Small SSD heads and labels in the layouts of both SSD repositories, for training tests in Keras 3 and in tf_keras."""

from __future__ import annotations

import contextlib
import pathlib
from typing import Any

import numpy as np
from tensorflow.core.protobuf import saved_model_pb2

import ssd_cases

BOXES, FEATURES, NUM_CLASSES = 24, 6, 4
WIDTH = NUM_CLASSES + 12
LAYOUTS = ("ssd_keras", "ssd_keras_rykov8")

#: Arguments of `compile` for the three ways in which both Keras run a training step.
MODES = {"eager": {"run_eagerly": True}, "graph": {"jit_compile": False}, "xla": {"jit_compile": True}}
POLICIES = ("float32", "mixed_float16", "mixed_bfloat16")


def features(images: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(images, BOXES, FEATURES)).astype(np.float32)


def labels(images: int, layout: str = "ssd_keras", seed: int = 0) -> np.ndarray:
    """Labels of which a fifth is positive and a tenth neutral."""
    return _batch(images, layout, seed)[0]


def predictions(images: int, layout: str = "ssd_keras", seed: int = 0) -> np.ndarray:
    return _batch(images, layout, seed)[1]


def _batch(images: int, layout: str, seed: int) -> ssd_cases.Batch:
    return ssd_cases.ssd_batch(images, BOXES, NUM_CLASSES, layout=layout, positive_share=0.2, seed=seed)


def build_model(keras: Any, layout: str = "ssd_keras") -> Any:
    """The same model, weights included, at every call; its output has the dtype of the global policy."""

    def dense(units: int, **options: Any) -> Any:
        kernel = keras.initializers.RandomNormal(stddev=0.3, seed=units)
        return keras.layers.Dense(units, **{"kernel_initializer": kernel, **options})

    inputs = keras.Input((BOXES, FEATURES))
    classes = dense(NUM_CLASSES, activation="softmax", bias_initializer="zeros")(inputs)
    offsets = dense(4, bias_initializer="ones")(inputs)
    unused = dense(8, kernel_initializer="zeros", trainable=False)(inputs)
    heads = [offsets, classes, unused] if layout == "ssd_keras_rykov8" else [classes, offsets, unused]
    return keras.Model(inputs, keras.layers.Concatenate(axis=-1)(heads))


def compile_model(keras: Any, model: Any, loss: Any, mode: str = "graph") -> Any:
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    if keras.mixed_precision.global_policy().name == "mixed_float16":
        # The default scale overflows at first, and the steps that it skips would hide differences.
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer, initial_scale=64)
    model.compile(optimizer, loss=loss, **MODES[mode])
    return model


def train(keras: Any, loss: Any, mode: str = "graph", layout: str = "ssd_keras", **fit_options: Any) -> dict[str, Any]:
    """History of two epochs with a partial last batch, and validation at another batch size."""
    model = compile_model(keras, build_model(keras, layout), loss, mode)
    fit_options = {
        "validation_data": (features(3, seed=1), labels(3, layout, seed=1)),
        "validation_batch_size": 3,
        **fit_options,
    }
    history = model.fit(
        features(10), labels(10, layout), batch_size=4, epochs=2, shuffle=False, verbose=0, **fit_options
    )
    return {key: np.array(values) for key, values in history.history.items()}


def assert_same_curves(actual: dict[str, Any], expected: dict[str, Any], rtol: float = 1e-4) -> None:
    assert actual.keys() == expected.keys()
    for key, curve in actual.items():
        assert np.isfinite(curve).all(), (key, curve)
        np.testing.assert_allclose(curve, expected[key], rtol=rtol, err_msg=key)


@contextlib.contextmanager
def policy(keras: Any, name: str) -> Any:
    """Sets the global dtype policy of `keras` for a while."""
    previous = keras.mixed_precision.global_policy().name
    keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(previous)


def graph_ops(saved_model: pathlib.Path) -> set[str]:
    """The op types in all graphs and functions of a SavedModel folder."""
    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((saved_model / "saved_model.pb").read_bytes())
    graphs = [meta_graph.graph_def for meta_graph in proto.meta_graphs]
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [node for graph in graphs for function in graph.library.function for node in function.node_def]
    return {node.op for node in nodes}
