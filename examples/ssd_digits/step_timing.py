"""How long a training step takes and how much of it is the loss."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class StepTime:
    """Medians in milliseconds.

    Attributes:
      step_ms: a whole training step: forward pass, loss, backward pass, weight update.
      loss_ms: the loss alone: its value and its gradient with respect to the predictions.
    """

    step_ms: float
    loss_ms: float

    @property
    def share(self) -> float:
        """The loss's share of the step, 0..1."""
        return self.loss_ms / self.step_ms


def time_steps(
    models: Mapping[str, keras.Model], images: tf.Tensor, targets: tf.Tensor, repetitions: int = 30
) -> dict[str, StepTime]:
    """Times a step of each compiled model, and its loss alone on the predictions of that batch.

    The measurements take turns, so that what else the machine does meets all of them alike. The models go on training.
    """
    work: dict[tuple[str, str], Callable[[], Any]] = {}
    for name, model in models.items():
        work[name, "step"] = _training_step(model, images, targets)
        work[name, "loss"] = _loss_and_gradient(model.loss, targets, model(images))
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in work}
    for repetition in range(repetitions + 1):
        for key, run in work.items():
            start = time.perf_counter()
            run()
            # The first round traces.
            if repetition > 0:
                seconds[key].append(time.perf_counter() - start)
    medians = {key: 1e3 * statistics.median(values) for key, values in seconds.items()}
    return {name: StepTime(medians[name, "step"], medians[name, "loss"]) for name in models}


def _training_step(model: keras.Model, images: tf.Tensor, targets: tf.Tensor) -> Callable[[], Any]:
    return lambda: model.train_on_batch(images, targets)


def _loss_and_gradient(loss: Callable[..., tf.Tensor], targets: tf.Tensor, predictions: tf.Tensor) -> Callable[[], Any]:
    @tf.function(autograph=False)
    def run(targets: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(predictions)
            value = tf.reduce_mean(loss(targets, predictions))
        return tape.gradient(value, predictions)

    # Reading one number waits for the result without copying it.
    return lambda: run(targets, predictions)[0, 0, 0].numpy()
