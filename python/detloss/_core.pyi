from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

MiningScope = Literal["batch", "image", "image_uniform"]
Normalizer = Literal["batch", "image", "image_selected"]

device: Any  # the CUDA kernels on tensors of a device; only in a build that has them

def build_info() -> dict[str, Any]: ...
def ssd_loss_forward(
    y_true: npt.NDArray[Any],
    y_pred: npt.NDArray[Any],
    *,
    neg_pos_ratio: float = 3.0,
    n_neg_min: int = 0,
    alpha: float = 1.0,
    mining_scope: MiningScope = "batch",
    rank_by: Literal["loss", "foreground"] = "loss",
    normalizer: Normalizer = "batch",
    from_logits: bool = False,
    invalid_targets: Literal["ignore", "silent", "error"] = "ignore",
    num_classes: int = 0,
    class_column: int = 0,
    box_column: int = -12,
    positive_column: int | None = None,
    exact_width: bool = False,
    threads: int = 0,
) -> dict[str, npt.NDArray[Any]]: ...
def ssd_loss_backward(
    loss_gradient: npt.NDArray[Any],
    y_true: npt.NDArray[Any],
    y_pred: npt.NDArray[Any],
    n_pos: npt.NDArray[Any],
    n_kept: npt.NDArray[Any],
    selection: npt.NDArray[np.uint8],
    *,
    alpha: float = 1.0,
    normalizer: Normalizer = "batch",
    from_logits: bool = False,
    num_classes: int = 0,
    class_column: int = 0,
    box_column: int = -12,
    positive_column: int | None = None,
    exact_width: bool = False,
    threads: int = 0,
) -> npt.NDArray[Any]: ...
def hard_negative_mask(
    negative_loss: npt.NDArray[Any],
    n_positive: npt.NDArray[Any],
    *,
    neg_pos_ratio: float = 3.0,
    n_neg_min: int = 0,
    mining_scope: MiningScope = "batch",
    threads: int = 0,
) -> npt.NDArray[np.bool_]: ...
def touch_ssd_loss(
    labels: npt.NDArray[Any],
    predictions: npt.NDArray[Any],
    gradient: npt.NDArray[Any],
    num_classes: int,
    from_logits: bool,
    backward: bool,
    threads: int = 0,
) -> int: ...
def yolov3_loss_forward(
    y_true: list[npt.NDArray[Any]],
    y_pred: list[npt.NDArray[Any]],
    anchors: npt.ArrayLike,
    strides: Sequence[int],
    *,
    threads: int = 0,
    **options: Any,
) -> dict[str, Any]: ...
def yolov3_loss_backward(
    loss_gradient: npt.NDArray[Any],
    y_true: list[npt.NDArray[Any]],
    y_pred: list[npt.NDArray[Any]],
    objectness_gradient: list[npt.NDArray[Any]],
    selection: list[npt.NDArray[np.uint8]],
    anchors: npt.ArrayLike,
    strides: Sequence[int],
    *,
    threads: int = 0,
    **options: Any,
) -> list[npt.NDArray[Any]]: ...
def yolo_ignore_mask(
    boxes: npt.NDArray[Any],
    true_boxes: npt.NDArray[Any],
    *,
    ignore_thresh: float = 0.5,
    comparator: Literal["<", "<="] = "<",
    threads: int = 0,
) -> npt.NDArray[np.bool_]: ...
def touch_yolov3_loss(
    labels: npt.NDArray[Any],
    predictions: npt.NDArray[Any],
    gradient: npt.NDArray[Any],
    class_focal: bool,
    backward: bool,
    threads: int = 0,
) -> int: ...
