"""The YOLOv3 loss of keras-yolo3 in PyTorch, as one would write it there: vectorised over padded true boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy


class YOLOv3Loss:
    """The loss per image, `[B]`, the sum over all scales; holds what does not depend on the batch."""

    def __init__(
        self,
        anchors: npt.ArrayLike,
        grids: Sequence[tuple[int, int]],
        *,
        ignore_thresh: float,
        max_boxes: int,
        dtype: torch.dtype,
        device: torch.device | str,
    ):
        """Prepares the loss.

        Args:
          anchors: `[S, A, 2]`, relative to the input.
          grids: rows and columns of every scale.
          ignore_thresh: IoU with a true box from which a cell without an object is ignored.
          max_boxes: true boxes that an image has in one scale at most.
          dtype: of the labels and of the arithmetic.
          device: of the tensors.
        """
        self._scales = [
            _Scale(np.asarray(sizes), grid, ignore_thresh, max_boxes, dtype, device)
            for sizes, grid in zip(np.asarray(anchors), grids, strict=True)
        ]

    def __call__(self, y_true: Sequence[torch.Tensor], y_pred: Sequence[torch.Tensor]) -> torch.Tensor:
        """The loss of labels `[B, H, W, A, 5 + C]` and logits of as many elements, of every scale."""
        losses = [
            scale.loss(labels, logits.reshape(labels.shape).to(labels.dtype))
            for scale, labels, logits in zip(self._scales, y_true, y_pred, strict=True)
        ]
        return torch.stack(losses).sum(dim=0)


class _Scale:
    def __init__(
        self,
        anchors: npt.NDArray[np.float64],
        grid: tuple[int, int],
        ignore_thresh: float,
        max_boxes: int,
        dtype: torch.dtype,
        device: torch.device | str,
    ):
        rows, columns = grid
        cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)[:, :, None]
        self._anchors, self._size, self._cells = (
            torch.as_tensor(array, dtype=dtype, device=device) for array in (anchors, [columns, rows], cells)
        )
        self._ignore_thresh, self._max_boxes = ignore_thresh, max_boxes

    def loss(self, labels: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        objectness = labels[..., 4]
        is_object = objectness > 0
        xy, wh = labels[..., :2], labels[..., 2:4]
        with torch.no_grad():
            counts = (self._best_iou(labels, logits) < self._ignore_thresh).to(labels.dtype)
        weight = objectness * (2 - wh.prod(dim=-1))
        xy_target = xy * self._size - self._cells
        xy_loss = cross_entropy(logits[..., :2], xy_target, reduction="none").sum(dim=-1)
        wh_target = torch.where(is_object[..., None], (wh / self._anchors).log(), 0.0)
        wh_loss = 0.5 * (logits[..., 2:4] - wh_target).square().sum(dim=-1)
        confidence = cross_entropy(logits[..., 4], objectness, reduction="none")
        confidence = confidence * (objectness + (1 - objectness) * counts)
        classes = cross_entropy(logits[..., 5:], labels[..., 5:], reduction="none").sum(dim=-1)
        return (weight * (xy_loss + wh_loss) + confidence + objectness * classes).flatten(1).sum(dim=1)

    def _best_iou(self, labels: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """The largest IoU of every cell's box with a true box of its image: `[B, H, W, A]`."""
        centres = (torch.sigmoid(logits[..., :2]) + self._cells) / self._size
        boxes = torch.cat([centres, logits[..., 2:4].exp() * self._anchors], dim=-1).flatten(1, 3)
        return _best_iou(boxes, _true_boxes(labels, self._max_boxes)).view(labels.shape[:-1])


def _true_boxes(labels: torch.Tensor, max_boxes: int) -> torch.Tensor:
    """Boxes x, y, w, h `[B, M, 4]`, of no size after an image's last."""
    rows = labels.flatten(1, 3)
    found = torch.topk(rows[..., 4], min(max_boxes, rows.shape[1]), dim=1)
    boxes = rows[..., :4].gather(1, found.indices[..., None].expand(-1, -1, 4))
    return boxes * (found.values > 0)[..., None]


def _best_iou(boxes: torch.Tensor, true_boxes: torch.Tensor) -> torch.Tensor:
    """The largest IoU of each of the boxes `[B, N, 4]` with one of the true boxes `[B, M, 4]`: `[B, N]`."""
    low, high = boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2
    true_low, true_high = (true_boxes[..., :2] + side * true_boxes[..., 2:] / 2 for side in (-1, 1))
    overlap = torch.minimum(high[:, :, None], true_high[:, None]) - torch.maximum(low[:, :, None], true_low[:, None])
    common = overlap.clamp(min=0).prod(dim=-1)
    area, true_area = boxes[..., 2:].prod(dim=-1), true_boxes[..., 2:].prod(dim=-1)
    return (common / (area[:, :, None] + true_area[:, None] - common)).amax(dim=-1)
