"""The SSD loss with the defaults of ssd_keras as a benchmark case."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

import detloss
from detloss import _core
from detloss.benchmark.aligned_memory import aligned_zeros
from detloss.benchmark.case import Batch, Case, LossFunction
from detloss.benchmark.ssd_inputs import make_ssd_batch
from detloss.ops.arguments import label_dtype


@dataclasses.dataclass(frozen=True)
class SSDCase(Case):
    """`detloss.ssd_loss` with its default options.

    Attributes:
      boxes: anchor boxes of an image.
      classes: classes with the background.
      from_logits: whether the predicted class columns are logits rather than softmax probabilities.
    """

    boxes: int
    classes: int
    from_logits: bool

    def make_batch(self, seed: Sequence[int]) -> Batch:
        """Labels and predictions `[batch, boxes, classes + 12]`; the labels are in the dtype that the op takes."""
        rng = np.random.default_rng(seed)
        labels, predictions = make_ssd_batch(rng, self.batch, self.boxes, self.classes, self.from_logits)
        predicted = tf.cast(predictions, self.dtype)
        return Batch((tf.cast(labels, label_dtype(predicted)),), (predicted,))

    def loss(self, implementation: str) -> LossFunction:
        """The loss per image, `[batch]`, as `implementation` computes it."""
        if implementation == "original":
            from detloss.reference import original

            return lambda labels, predictions: original.ssd_keras_loss(labels[0], predictions[0])
        function = {"fused": detloss.ssd_loss, "reference": detloss.reference.ssd_loss}[implementation]
        return lambda labels, predictions: function(labels[0], predictions[0], from_logits=self.from_logits)

    def why_not(self, implementation: str, mode: str) -> str | None:
        """ssd_keras' own loss takes float32 probabilities and nothing else."""
        if implementation == "original" and self.dtype != "float32":
            return f"takes float32 only, not {self.dtype}"
        if implementation == "original" and self.from_logits:
            return "takes probabilities only, not logits"
        return None

    def compiles_every_batch(self, implementation: str, mode: str) -> bool:
        """XLA has to know k of the original's `top_k`, which depends on the labels: it makes constants of them."""
        return implementation == "original" and mode == "xla"

    def floor(self, batches: Sequence[Batch], threads: int) -> dict[str, Callable[[], object]]:
        """Touches the rows in place and writes one gradient over and over, as TensorFlow's allocator hands it out."""
        rows = [(self._rows(batch.labels[0]), self._rows(batch.predictions[0])) for batch in batches]
        gradient = aligned_zeros(rows[0][1].shape, rows[0][1].dtype)

        def touch(*directions: bool) -> None:
            for labels, predictions in rows:
                for backward in directions:
                    _core.touch_ssd_loss(
                        labels, predictions, gradient, self.classes, self.from_logits, backward, threads
                    )

        return {"forward": lambda: touch(False), "forward_backward": lambda: touch(False, True)}

    @property
    def cells(self) -> int:
        """Boxes of a batch."""
        return self.batch * self.boxes

    def describe(self) -> dict[str, Any]:
        """All fields."""
        return dataclasses.asdict(self)

    def _rows(self, tensor: tf.Tensor) -> npt.NDArray[Any]:
        """`[rows, width]` of a tensor on the host, sharing its memory."""
        return np.asarray(tensor).reshape(-1, self.classes + 12)
