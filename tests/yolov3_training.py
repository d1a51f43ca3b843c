"""Small YOLOv3 models and labels, for training tests in Keras 3 and in tf_keras."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

import execution
import ssd_training

NUM_CLASSES = 3
STRIDES = (32, 16, 8)
#: Of keras-yolo3's kind: pixels, smallest first; models of two scales take the first six.
ANCHORS = np.array(
    [[5, 6], [9, 7], [8, 12], [15, 14], [14, 24], [26, 17], [36, 30], [30, 44], [52, 48]], dtype=np.float32
)
ANCHOR_ROWS = {3: ((6, 7, 8), (3, 4, 5), (0, 1, 2)), 2: ((3, 4, 5), (1, 2, 3))}
#: Height and width of the images.
SIZE = (64, 96)

MODES, POLICIES = ssd_training.MODES, ssd_training.POLICIES
policy, graph_ops = ssd_training.policy, ssd_training.graph_ops


def anchors_by_scale(scales: int = 2) -> np.ndarray:
    """`[scales, 3, 2]`, the rows that keras-yolo3 takes."""
    return ANCHORS[np.array(ANCHOR_ROWS[scales])]


def images(count: int, size: Sequence[int] = SIZE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(count, *size, 3)).astype(np.float32)


def labels(
    count: int,
    scales: int = 2,
    size: Sequence[int] = SIZE,
    num_classes: int = NUM_CLASSES,
    objects: int = 5,
    seed: int = 0,
) -> list[np.ndarray]:
    """Labels `x, y, w, h, objectness, classes` of every scale, coarsest first; the last image has no object."""
    rng = np.random.default_rng(seed)
    anchors = anchors_by_scale(scales)
    targets = [
        np.zeros((count, size[0] // stride, size[1] // stride, 3, 5 + num_classes), np.float32)
        for stride in STRIDES[:scales]
    ]
    for image in range(count - 1):
        for _ in range(objects):
            scale, anchor = rng.integers(scales), rng.integers(3)
            height, width = targets[scale].shape[1:3]
            xy = rng.uniform(0.02, 0.98, 2)
            wh = anchors[scale, anchor] * np.exp(rng.uniform(-0.3, 0.3, 2)) / size[::-1]
            row = np.zeros(5 + num_classes)
            row[:5] = *xy, *wh, 1
            row[5 + rng.integers(num_classes)] = 1
            targets[scale][image, int(xy[1] * height), int(xy[0] * width), anchor] = row
    return targets


def logits(targets: Sequence[np.ndarray], seed: int = 0) -> list[np.ndarray]:
    """Random logits `[B, H, W, A * (5 + C)]` for `labels`."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(*each.shape[:3], each.shape[3] * each.shape[4])).astype(np.float32) for each in targets]


def build_body(keras: Any, scales: int = 2, num_classes: int = NUM_CLASSES, *, split_anchors: bool = False) -> Any:
    """A model of images of any size, weights included the same at every call; outputs coarsest first.

    The outputs are `[B, H, W, A * (5 + C)]`, or `[B, H, W, A, 5 + C]` with `split_anchors` and then for `SIZE` only.
    """

    def convolution(filters: int, size: int, strides: int = 1, **options: Any) -> Any:
        kernel = keras.initializers.RandomNormal(stddev=0.1, seed=filters + size)
        return keras.layers.Conv2D(filters, size, strides, padding="same", kernel_initializer=kernel, **options)

    inputs = keras.Input((None, None, 3) if not split_anchors else (*SIZE, 3))
    finest = STRIDES[scales - 1]
    features = [convolution(6, finest, finest, activation="tanh")(inputs)]
    while len(features) < scales:
        features.append(convolution(6 + len(features), 2, 2, activation="tanh")(features[-1]))
    outputs = []
    for stride, feature in zip(STRIDES, reversed(features), strict=False):
        name = f"stride_{stride}"
        output = convolution(3 * (5 + num_classes), 1, name=None if split_anchors else name)(feature)
        if split_anchors:
            grid = (SIZE[0] // stride, SIZE[1] // stride)
            output = keras.layers.Reshape((*grid, 3, 5 + num_classes), name=name)(output)
        outputs.append(output)
    return keras.Model(inputs, outputs)


def label_inputs(keras: Any, scales: int = 2, num_classes: int = NUM_CLASSES) -> list[Any]:
    return [keras.Input((None, None, 3, 5 + num_classes)) for _ in range(scales)]


def build_lambda_model(
    keras: Any, loss: Callable[..., Any], scales: int = 2, *, dtype: str | None = None, **arguments: Any
) -> Any:
    """The training model of keras-yolo3's `train.py`: its inputs are images and labels, its output is the loss."""
    body, y_true = build_body(keras, scales), label_inputs(keras, scales)
    arguments = {"anchors": ANCHORS[: 3 * scales], "num_classes": NUM_CLASSES, "ignore_thresh": 0.5, **arguments}
    layer = keras.layers.Lambda(loss, output_shape=(1,), name="yolo_loss", dtype=dtype, arguments=arguments)
    return keras.Model([body.input, *y_true], layer([*body.outputs, *y_true]))


def build_terms_model(keras: Any, loss: Callable[..., Any]) -> Any:
    """The training model of keras-YOLOv3-model-set: the terms of the loss are metrics where Keras has such ones."""
    body, y_true = build_body(keras), label_inputs(keras)
    arguments = {"anchors": ANCHORS[:6], "num_classes": NUM_CLASSES, "ignore_thresh": 0.5, "label_smoothing": 0.1}
    model_loss, *terms = keras.layers.Lambda(loss, name="yolo_loss", arguments=arguments)([*body.outputs, *y_true])
    model = keras.Model([body.input, *y_true], model_loss)
    if keras.__name__ == "tf_keras":
        for name, term in zip(("location_loss", "confidence_loss", "class_loss"), terms, strict=True):
            model.add_metric(term, name=name, aggregation="mean")
    return model


def build_layer_model(keras: Any, layer: Any, scales: int = 2, *, weighted: bool = False) -> Any:
    """A model of images, labels and weights through a `YOLOv3LossLayer`; its outputs are those of the body."""
    body, y_true = build_body(keras, scales), label_inputs(keras, scales)
    weights = [keras.Input(())] if weighted else []
    return keras.Model([body.input, *y_true, *weights], layer([body.outputs, y_true, *weights]))


def compile_model(keras: Any, model: Any, loss: Any = None, mode: str = "graph") -> Any:
    optimizer = keras.optimizers.SGD(1e-3, momentum=0.9)
    if keras.mixed_precision.global_policy().name == "mixed_float16":
        # The default scale overflows at first, and the steps that it skips would hide differences.
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer, initial_scale=16)
    model.compile(optimizer, loss=loss, **MODES[mode])
    return model


@dataclasses.dataclass(frozen=True)
class Training:
    """What came out of training: the curves that `fit` shows, and all weights as one array."""

    curves: dict[str, np.ndarray]
    weights: np.ndarray

    @property
    def loss(self) -> np.ndarray:
        """The loss of every epoch."""
        return self.curves["loss"]

    def assert_same(self, expected: Training, curves: Sequence[str] = (), rtol: float = 1e-4) -> None:
        """Compares the named curves, or all, and in float32 the weights: gradients that went astray show there."""
        assert curves or self.curves.keys() == expected.curves.keys()
        for name in curves or self.curves:
            assert np.isfinite(self.curves[name]).all(), (name, self.curves[name])
            np.testing.assert_allclose(self.curves[name], expected.curves[name], rtol=rtol, err_msg=name)
        if rtol <= 1e-4:
            np.testing.assert_allclose(self.weights, expected.weights, rtol=1e-3, atol=1e-5)


def fit(model: Any, x: Any, y: Any = None) -> Training:
    """Two epochs with a partial last batch."""
    history = model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0).history
    weights = np.concatenate([weight.ravel() for weight in model.get_weights()])
    return Training({key: np.array(values) for key, values in history.items()}, weights)


def fit_lambda_model(keras: Any, model: Any, mode: str = "graph", scales: int = 2) -> Training:
    """Trains as keras-yolo3's `train.py` does, with targets that nobody reads."""
    model = compile_model(keras, model, {"yolo_loss": lambda y_true, y_pred: y_pred}, mode)
    return fit(model, [images(6), *labels(6, scales)], np.zeros(6))


def value_and_gradients(
    mode: str, loss: Callable[[list[tf.Tensor], list[tf.Tensor]], Any], y_true: Sequence[Any], y_pred: Sequence[Any]
) -> tuple[Any, list[np.ndarray]]:
    """What `loss(y_true, y_pred)` returns and the gradients of its first item, summed, as NumPy arrays."""

    def with_gradients(*tensors: tf.Tensor) -> tuple[Any, list[tf.Tensor]]:
        labels, outputs = list(tensors[: len(y_true)]), list(tensors[len(y_true) :])
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            result = loss(labels, outputs)
        return result, tape.gradient(result[0] if isinstance(result, tuple) else result, outputs)

    return execution.run(mode, with_gradients, *y_true, *y_pred)
