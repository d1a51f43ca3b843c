"""PaddlePaddle's fused `paddle.vision.ops.yolo_loss` as a peer, where that package is installed.

Loads no TensorFlow, so that `load` can come first.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from detloss.benchmark.errors import BenchmarkError
from detloss.benchmark.peer import Peer
from detloss.benchmark.presets import AnchorRows, Anchors

if TYPE_CHECKING:
    from detloss.benchmark.case import Batch

NOTE = (
    "paddle: paddle.vision.ops.yolo_loss computes another loss, and nothing checks it against the reference. It takes "
    "lists of boxes instead of dense labels and assigns them to cells itself, ignores by the true boxes of all scales, "
    "and takes the absolute error of widths and heights. Its input is channels first; its memory is not measured."
)


def load() -> Any:
    """The package `paddle`.

    Raises:
      BenchmarkError: it is not installed, does not load, or would be loaded after TensorFlow.
    """
    loaded = sys.modules.get("paddle")
    if loaded is not None:
        return loaded
    if importlib.util.find_spec("paddle") is None:
        raise BenchmarkError("--against: expected the package paddle, found none: pip install paddlepaddle")
    # Paddle 3.3 crashes the process while it loads into one that holds TensorFlow 2.21; the other way round both work.
    if "tensorflow" in sys.modules:
        raise BenchmarkError("--against: expected paddle to be loaded before TensorFlow, found TensorFlow loaded")
    try:
        return importlib.import_module("paddle")
    except ImportError as error:
        raise BenchmarkError(f"--against: expected the package paddle to load, got {error!r}") from error


def find(anchors: Anchors, anchor_rows: AnchorRows, strides: Sequence[int], classes: int, ignore_thresh: float) -> Peer:
    """Paddle's loss for the heads of a YOLOv3; anchors and strides in pixels, rows and strides per scale.

    Raises:
      BenchmarkError: see `load`.
    """
    paddle = load()
    paddle.set_device("cpu")
    lengths = [length for anchor in anchors for length in anchor]

    def loss(scales: Sequence[Any], boxes: Any, box_classes: Any) -> Any:
        return paddle.add_n(
            [
                paddle.vision.ops.yolo_loss(
                    scale,
                    gt_box=boxes,
                    gt_label=box_classes,
                    anchors=lengths,
                    anchor_mask=list(row),
                    class_num=classes,
                    ignore_thresh=ignore_thresh,
                    downsample_ratio=stride,
                    use_label_smooth=False,
                ).sum()
                for scale, row, stride in zip(scales, anchor_rows, strides, strict=True)
            ]
        )

    def forward(batch: Sequence[Any]) -> Any:
        with paddle.no_grad():
            return loss(*batch)

    def forward_backward(batch: Sequence[Any]) -> Any:
        value = loss(*batch)
        return value, paddle.grad(value, batch[0])

    def calls(batches: Sequence[Batch]) -> dict[str, Callable[[], object]]:
        converted = [_convert(paddle, batch) for batch in batches]
        return {
            "forward": lambda: [forward(batch) for batch in converted],
            "forward_backward": lambda: [forward_backward(batch) for batch in converted],
        }

    return Peer(paddle.__version__, NOTE, calls)


def _convert(paddle: Any, batch: Batch) -> tuple[list[Any], Any, Any]:
    """Logits with the channels first, and the boxes and classes of the labels."""
    logits = [np.moveaxis(np.asarray(scale), -1, 1) for scale in batch.predictions]
    boxes, classes = true_boxes([np.asarray(scale) for scale in batch.labels])
    return (
        [paddle.to_tensor(np.ascontiguousarray(scale), stop_gradient=False) for scale in logits],
        paddle.to_tensor(boxes.astype(logits[0].dtype)),
        paddle.to_tensor(classes),
    )


def true_boxes(labels: Sequence[npt.NDArray[Any]]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int32]]:
    """Boxes x, y, w, h `[batch, M, 4]` and classes `[batch, M]` of labels of all scales; zeros after an image's last.

    Of several classes in one cell and anchor the first one stays.
    """
    images = [np.concatenate([scale[scale[..., 4] > 0] for scale in scales]) for scales in zip(*labels, strict=True)]
    most = max(1, *(len(rows) for rows in images))
    boxes = np.zeros((len(images), most, 4), labels[0].dtype)
    classes = np.zeros((len(images), most), np.int32)
    for image, rows in enumerate(images):
        boxes[image, : len(rows)] = rows[:, :4]
        classes[image, : len(rows)] = rows[:, 5:].argmax(axis=1)
    return boxes, classes
