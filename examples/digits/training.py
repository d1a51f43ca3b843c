"""One training run: the same batches, initial weights and schedule for every loss that it is given."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from rich.progress import Progress

from digits.canvases import DigitImages, canvases
from digits.detector import Detector


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What two runs must share to be comparable.

    Attributes:
      epochs: number of epochs.
      steps_per_epoch: batches per epoch; no batch comes twice.
      batch_size: canvases per batch.
      learning_rate: of Adam at the start; it falls to zero along a cosine.
      seed: of the initial weights and of the canvases.
    """

    epochs: int
    steps_per_epoch: int
    batch_size: int
    learning_rate: float
    seed: int

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.steps_per_epoch


@dataclasses.dataclass(frozen=True)
class TrainedDetector:
    """A trained model and how it got there.

    Attributes:
      model: from images to predictions.
      trainer: the compiled model that trained it.
      losses: the loss of every batch, `[steps]`.
      seconds: duration of the training, with tracing and the drawing of canvases.
    """

    model: keras.Model
    trainer: keras.Model
    losses: np.ndarray
    seconds: float


def train(
    detector: Detector, loss: Any, digits: DigitImages, recipe: Recipe, progress: Progress, name: str
) -> TrainedDetector:
    """Trains a new detector with `loss`."""
    # Keras numbers layers on through a session, and TensorFlow's graph optimizer orders sums by name: without a new
    # session a second run rounds differently from the first, even with the same loss.
    keras.utils.clear_session()
    keras.utils.set_random_seed(recipe.seed)

    model = detector.build()
    learning_rate = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, recipe.steps)
    trainer = detector.compile(model, loss, keras.optimizers.Adam(learning_rate))

    curve = LossCurve(progress, name, recipe.steps)
    start = time.perf_counter()
    trainer.fit(
        batches(detector, digits, recipe.batch_size, recipe.seed),
        epochs=recipe.epochs,
        steps_per_epoch=recipe.steps_per_epoch,
        shuffle=False,
        verbose=0,
        callbacks=[curve],
    )
    return TrainedDetector(model, trainer, np.array(curve.losses), time.perf_counter() - start)


def batches(detector: Detector, digits: DigitImages, batch_size: int, seed: int) -> Iterator[tuple[Any, Any]]:
    """Endless batches of what the detector trains on; the same seed gives the same batches."""
    drawn = canvases(digits, seed)
    while True:
        yield detector.batch(list(itertools.islice(drawn, batch_size)))


class LossCurve(keras.callbacks.Callback):
    """Records the loss of every batch and shows it on a progress bar."""

    def __init__(self, progress: Progress, name: str, steps: int) -> None:
        super().__init__()
        self.losses: list[float] = []
        self._name = name
        self._progress = progress
        self._task = progress.add_task(name, total=steps, loss=float("nan"))

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Takes the batch's loss."""
        self.losses.append(float(logs["loss"]))
        # Keras logs the mean since the last reset.
        self.model.reset_metrics()
        self._progress.update(self._task, advance=1, loss=self.losses[-1])

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Writes a line where there is no terminal to draw a bar on."""
        console = self._progress.console
        if not console.is_terminal:
            mean = np.mean(self.losses[-self.params["steps"] :])
            console.print(f"{self._name}: epoch {epoch + 1}/{self.params['epochs']}, mean loss {mean:.3f}")
