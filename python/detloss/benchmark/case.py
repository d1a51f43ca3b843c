"""What is measured: one loss on one size of input, whatever the detector."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from detloss.benchmark.errors import BenchmarkError
from detloss.benchmark.peer import Peer

LossFunction = Callable[[Sequence[tf.Tensor], Sequence[tf.Tensor]], tf.Tensor]
"""`(labels, predictions) -> loss`, per image or in sum."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """Labels and predictions of one training step: one tensor of each, or one per scale."""

    labels: tuple[tf.Tensor, ...]
    predictions: tuple[tf.Tensor, ...]


@dataclasses.dataclass(frozen=True)
class Case(abc.ABC):
    """One loss on one size of input. Instances are plain values: a child process gets a pickled copy.

    Attributes:
      preset: name of the preset that the size comes from.
      batch: images in a batch.
      dtype: dtype of the predictions and of their gradient.
    """

    preset: str
    batch: int
    dtype: str

    @abc.abstractmethod
    def make_batch(self, seed: Sequence[int]) -> Batch:
        """A batch of realistic random data, the same for the same seed."""

    @abc.abstractmethod
    def loss(self, implementation: str) -> LossFunction:
        """The loss as `implementation` computes it."""

    @abc.abstractmethod
    def why_not(self, implementation: str, mode: str) -> str | None:
        """Why `implementation`, or a peer, cannot compute this case in `mode`; `None` where it can."""

    @abc.abstractmethod
    def compiles_every_batch(self, implementation: str, mode: str) -> bool:
        """Whether new data mean a new compilation, so that only a batch seen before shows the step's speed."""

    @abc.abstractmethod
    def floor(self, batches: Sequence[Batch], threads: int) -> dict[str, Callable[[], object]]:
        """The touch-only kernel of every pass, over all `batches`.

        It moves the memory that any implementation has to move, and computes nothing: the lower bound of a pass on
        the CPU.
        """

    def peer(self, name: str) -> Peer:
        """The loss of the framework `name`, one of `PEERS`.

        Raises:
          BenchmarkError: it has none for this head, or is not installed.
        """
        raise BenchmarkError(f"--against: expected a preset that {name} has a loss for, got {self.preset}")

    @property
    @abc.abstractmethod
    def cells(self) -> int:
        """What the loss rates in a batch: boxes, or anchors of all cells."""

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Size and options for a result row, `preset`, `batch` and `dtype` among them."""
