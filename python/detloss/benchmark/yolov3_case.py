"""The YOLOv3 loss with the defaults of keras-yolo3 as a benchmark case."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

import detloss
from detloss import _core
from detloss.benchmark import paddle_peer
from detloss.benchmark.aligned_memory import aligned_zeros
from detloss.benchmark.case import Batch, Case, LossFunction
from detloss.benchmark.peer import Peer
from detloss.benchmark.presets import AnchorRows, Anchors
from detloss.benchmark.yolov3_inputs import make_yolov3_batch
from detloss.ops.arguments import label_dtype

_IGNORE_THRESH = 0.5


@dataclasses.dataclass(frozen=True)
class YOLOv3Case(Case):
    """`detloss.yolov3_loss` over all scales of a model.

    Attributes:
      image_size: height and width of an image in pixels.
      classes: classes.
      boxes_per_image: objects of an image; some may share a cell and anchor.
      class_focal: whether the class loss is the focal one, which reads every class logit.
      anchors: widths and heights in pixels of the anchors of all scales.
      anchor_rows: which of them every scale has, the coarsest first.
      strides: pixels per cell of every scale.
    """

    image_size: int
    classes: int
    boxes_per_image: int
    class_focal: bool
    anchors: Anchors
    anchor_rows: AnchorRows
    strides: tuple[int, ...]

    def make_batch(self, seed: Sequence[int]) -> Batch:
        """Labels `[batch, H, W, anchors, 5 + classes]` and logits `[batch, H, W, anchors * (5 + classes)]`."""
        dtype = tf.as_dtype(self.dtype)
        labels, logits = make_yolov3_batch(
            np.random.default_rng(seed),
            self.batch,
            self.boxes_per_image,
            grids=[(grid, grid) for grid in self._grids],
            anchors=(np.asarray(self.anchors) / self.image_size).astype(np.float32),
            anchor_rows=self.anchor_rows,
            classes=self.classes,
            ignore_thresh=_IGNORE_THRESH,
            dtype=dtype.as_numpy_dtype,
        )
        predicted = [tf.cast(scale.reshape(*scale.shape[:3], -1), dtype) for scale in logits]
        return Batch(
            tuple(tf.cast(scale, label_dtype(like)) for scale, like in zip(labels, predicted, strict=True)),
            tuple(predicted),
        )

    def loss(self, implementation: str) -> LossFunction:
        """The loss per image, `[batch]`, as `implementation` computes it."""
        if implementation == "original":
            from detloss.reference import original

            return lambda labels, predictions: original.keras_yolo3_loss(
                labels, predictions, self.anchors, self.classes, _IGNORE_THRESH
            )
        options: dict[str, Any] = dict(
            anchors=np.asarray([[self.anchors[anchor] for anchor in row] for row in self.anchor_rows]),
            stride=self.strides,
            ignore_thresh=_IGNORE_THRESH,
            class_focal=self.class_focal,
        )
        if implementation == "fused":
            return lambda labels, predictions: detloss.yolov3_loss(list(labels), list(predictions), **options)
        # The reference pays for every true box that an image may have: no more of them than there are.
        return lambda labels, predictions: detloss.reference.yolov3_loss(
            list(labels), list(predictions), **options, max_boxes=self.boxes_per_image
        )

    def why_not(self, implementation: str, mode: str) -> str | None:
        """keras-yolo3's own loss takes float32, and its loop over images does not compile; Paddle's takes no half."""
        if implementation not in ("original", "paddle"):
            return None
        if self.class_focal:
            return "has no focal class loss"
        if implementation == "original":
            if self.dtype != "float32":
                return f"takes float32 only, not {self.dtype}"
            if mode == "xla":
                return "does not compile: the number of true boxes is a shape inside its loop over the images"
        elif self.dtype not in ("float32", "float64"):
            return f"takes float32 and float64 only, not {self.dtype}"
        return None

    def compiles_every_batch(self, implementation: str, mode: str) -> bool:
        """None does: no constant of the graphs depends on the data."""
        return False

    def floor(self, batches: Sequence[Batch], threads: int) -> dict[str, Callable[[], object]]:
        """Touches the rows of all scales in place, and writes the gradients into the same memory over and over."""
        rows = [
            [(self._rows(labels), self._rows(logits)) for labels, logits in zip(*scales, strict=True)]
            for scales in ((batch.labels, batch.predictions) for batch in batches)
        ]
        gradients = [aligned_zeros(logits.shape, logits.dtype) for _, logits in rows[0]]

        def touch(*directions: bool) -> None:
            for scales in rows:
                for backward in directions:
                    for (labels, logits), gradient in zip(scales, gradients, strict=True):
                        _core.touch_yolov3_loss(labels, logits, gradient, self.class_focal, backward, threads)

        return {"forward": lambda: touch(False), "forward_backward": lambda: touch(False, True)}

    def peer(self, name: str) -> Peer:
        """`paddle.vision.ops.yolo_loss`."""
        if name != "paddle":
            return super().peer(name)
        return paddle_peer.find(self.anchors, self.anchor_rows, self.strides, self.classes, _IGNORE_THRESH)

    @property
    def cells(self) -> int:
        """Anchors of all cells of a batch."""
        return self.batch * sum(grid**2 * len(row) for grid, row in zip(self._grids, self.anchor_rows, strict=True))

    def describe(self) -> dict[str, Any]:
        """All fields; the number of scales stands for anchors and strides."""
        fields = dataclasses.asdict(self)
        for name in ("anchors", "anchor_rows", "strides"):
            del fields[name]
        return {**fields, "scales": len(self.strides)}

    @property
    def _grids(self) -> list[int]:
        return [self.image_size // stride for stride in self.strides]

    def _rows(self, tensor: tf.Tensor) -> npt.NDArray[Any]:
        """`[rows, 5 + classes]` of a tensor on the host, sharing its memory."""
        return np.asarray(tensor).reshape(-1, 5 + self.classes)
