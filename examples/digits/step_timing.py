"""How long a training step takes and how much of it is the loss."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from digits.canvases import Canvas
from digits.detector import Detector, images_of
from digits.training import TrainedDetector


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
    detector: Detector,
    losses: Mapping[str, Any],
    trained: Mapping[str, TrainedDetector],
    canvases: Sequence[Canvas],
    repetitions: int = 30,
) -> dict[str, StepTime]:
    """Times a step of each trained detector, and its loss alone on the predictions of that batch.

    The measurements take turns, so that what else the machine does meets all of them alike. The models go on training.
    """
    batch = tf.nest.map_structure(tf.constant, detector.batch(canvases))
    work: dict[tuple[str, str], Callable[[], Any]] = {}
    for name, loss in losses.items():
        work[name, "step"] = _training_step(trained[name], batch)
        work[name, "loss"] = _loss_and_gradient(detector, loss, batch, trained[name].model(images_of(canvases)))
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in work}
    for repetition in range(repetitions + 1):
        for key, run in work.items():
            start = time.perf_counter()
            run()
            # The first round traces.
            if repetition > 0:
                seconds[key].append(time.perf_counter() - start)
    medians = {key: 1e3 * statistics.median(values) for key, values in seconds.items()}
    return {name: StepTime(medians[name, "step"], medians[name, "loss"]) for name in losses}


def _training_step(trained: TrainedDetector, batch: tuple[Any, Any]) -> Callable[[], Any]:
    return lambda: trained.trainer.train_on_batch(*batch)


def _loss_and_gradient(detector: Detector, loss: Any, batch: tuple[Any, Any], predictions: Any) -> Callable[[], Any]:
    @tf.function(autograph=False)
    def run(x: Any, y: Any, predictions: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(predictions)
            value = detector.loss_value(loss, x, y, predictions)
        return tape.gradient(value, predictions)

    # Reading one number waits for the result without copying it.
    return lambda: tf.reshape(tf.nest.flatten(run(*batch, predictions))[-1], [-1])[0].numpy()
