"""The CUDA kernels on tensors of PyTorch and CuPy, through DLPack. No TensorFlow is needed.

    loss = detloss.device.ssd_loss_forward(y_true, y_pred)["loss"]

Every function puts its work on the current stream of the tensors' framework and device, and returns tensors of that
framework without waiting for them: the rules are those of any of the framework's own operations. Tensors are
C-contiguous, on one device, and none is copied; a tensor that was made on another stream has to be ready for the
current one. Nothing here is differentiable by itself: a forward function's outputs hold what the backward one needs,
which makes a pair of them an autograd function in a few lines.

A framework other than these two can call `detloss._core.device`, which takes outputs and stream as arguments.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import Any, Protocol

from detloss import _core
from detloss.ssd_layout import SSDLayout, as_layout
from detloss.yolov3_options import as_anchors, as_class_weights, as_grid_sense, as_strides

_SSD_PER_IMAGE = ("loss", "positive", "negative", "localization", "n_pos", "n_kept")
_YOLOV3_PER_IMAGE = ("loss", "box", "xy", "wh", "object", "no_object", "class")


def ssd_loss_forward(
    y_true: Any,
    y_pred: Any,
    *,
    layout: SSDLayout | str = "ssd_keras",
    num_classes: int | None = None,
    **options: Any,
) -> dict[str, Any]:
    """`detloss.ssd_loss` and what its gradient needs.

    Args:
      y_true: labels `[B, N, width]`, float32 (float64 beside float64 predictions).
      y_pred: predictions `[B, N, width]`, float32, float16, bfloat16 or float64.
      layout: an `SSDLayout`, `"ssd_keras"` or `"ssd_keras_rykov8"`.
      num_classes: as in `detloss.ssd_loss`.
      **options: those of `detloss.ssd_loss`: `neg_pos_ratio`, `n_neg_min`, `alpha`, `mining_scope`, `rank_by`,
        `normalizer`, `from_logits`.

    Returns:
      Tensors `[B]` in the dtype of the labels: `loss`; `positive`, `negative` and `localization`, which add up to it;
      `n_pos` and `n_kept`. `num_invalid`, int32 `[B]`. `selection`, uint8 `[B, N]`, with bits 1 for a positive box, 2
      for a kept negative, 4 for an invalid label.

    Raises:
      TypeError: a dtype is wrong, or a tensor is of another framework.
      ValueError: an option or a shape is wrong, or a tensor is not contiguous or on no CUDA device.
      RuntimeError: this is a CPU-only build, or CUDA reports an error.
    """
    kernels, framework = _kernels(), _framework("y_pred", y_pred)
    options = {**options, **_layout_options(layout, num_classes)}
    shape, dtype = tuple(y_pred.shape), framework.dtype(y_pred)
    with framework.on_device_of(y_pred):
        workspace_bytes = kernels.ssd_loss_workspace_bytes(shape, dtype, **options)
        empty = _Allocator(framework, y_pred)
        images, boxes, _ = shape
        outputs = {name: empty((images,), _label_dtype(dtype)) for name in _SSD_PER_IMAGE}
        outputs["num_invalid"] = empty((images,), "int32")
        outputs["selection"] = empty((images, boxes), "uint8")
        kernels.ssd_loss_forward(
            framework.export(y_true),
            framework.export(y_pred),
            {name: framework.export(tensor) for name, tensor in outputs.items()},
            framework.export(empty((workspace_bytes,), "uint8")),
            framework.stream(y_pred),
            **options,
        )
    return outputs


def ssd_loss_backward(
    loss_gradient: Any,
    y_true: Any,
    y_pred: Any,
    n_pos: Any,
    n_kept: Any,
    selection: Any,
    *,
    layout: SSDLayout | str = "ssd_keras",
    num_classes: int | None = None,
    **options: Any,
) -> Any:
    """The gradient of `sum(loss * loss_gradient)` with respect to `y_pred`.

    Args:
      loss_gradient: `[B]`, in the dtype of the labels.
      y_true: as in `ssd_loss_forward`.
      y_pred: as in `ssd_loss_forward`.
      n_pos: of the result of `ssd_loss_forward`.
      n_kept: of that result.
      selection: of that result.
      layout: as there.
      num_classes: as there.
      **options: of those there, `alpha`, `normalizer` and `from_logits`.

    Returns:
      A tensor of the shape and dtype of `y_pred`.

    Raises:
      TypeError: see `ssd_loss_forward`.
      ValueError: see `ssd_loss_forward`.
      RuntimeError: see `ssd_loss_forward`.
    """
    kernels, framework = _kernels(), _framework("y_pred", y_pred)
    with framework.on_device_of(y_pred):
        gradient = framework.empty(tuple(y_pred.shape), framework.dtype(y_pred), y_pred)
        inputs = (loss_gradient, y_true, y_pred, n_pos, n_kept, selection)
        kernels.ssd_loss_backward(
            *map(framework.export, inputs),
            framework.export(gradient),
            framework.stream(y_pred),
            **options,
            **_layout_options(layout, num_classes),
        )
    return gradient


def hard_negative_mask(negative_loss: Any, n_positive: Any, **options: Any) -> Any:
    """`detloss.hard_negative_mask`.

    Args:
      negative_loss: `[B, N]`, float32, float16, bfloat16 or float64.
      n_positive: `[B]`, float32 (float64 beside a float64 loss), finite and not negative, which is not checked.
      **options: those of `detloss.hard_negative_mask`: `neg_pos_ratio`, `n_neg_min`, `mining_scope`.

    Returns:
      bool `[B, N]`, True where the box is kept.

    Raises:
      TypeError: see `ssd_loss_forward`.
      ValueError: see `ssd_loss_forward`.
      RuntimeError: see `ssd_loss_forward`.
    """
    kernels, framework = _kernels(), _framework("negative_loss", negative_loss)
    shape, dtype = tuple(negative_loss.shape), framework.dtype(negative_loss)
    with framework.on_device_of(negative_loss):
        workspace_bytes = kernels.hard_negative_mask_workspace_bytes(shape, dtype, **options)
        empty = _Allocator(framework, negative_loss)
        mask = empty(shape, "bool")
        tensors = (negative_loss, n_positive, mask, empty((workspace_bytes,), "uint8"))
        kernels.hard_negative_mask(*map(framework.export, tensors), framework.stream(negative_loss), **options)
    return mask


def yolov3_loss_forward(
    y_true: Any,
    y_pred: Any,
    anchors: Any,
    *,
    stride: int | Sequence[int] | None = None,
    grid_sense: float | Sequence[float] | None = None,
    class_weights: Sequence[float] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """`detloss.yolov3_loss` and what its gradient needs.

    Args:
      y_true: labels `[B, H, W, A, 5 + C]` (`[B, H, W, A, 6]` with `target_format="corner"`), or a list of them, one per
        scale; float32 (float64 beside float64 logits).
      y_pred: logits `[B, H, W, A * (5 + C)]` or `[B, H, W, A, 5 + C]`, or a list of them; float32, float16, bfloat16 or
        float64.
      anchors: widths and heights `[A, 2]`, or `[S, A, 2]` for a list of S scales.
      stride: as in `detloss.yolov3_loss`.
      grid_sense: as there.
      class_weights: as there.
      **options: the other options of that function.

    Returns:
      Tensors `[B]` in the dtype of the labels: `loss`; `box`, `object`, `no_object` and `class`, which add up to it;
      `xy` and `wh`. `num_invalid`, int32 `[B]`. Lists of a tensor `[B, H * W * A]` per scale: `objectness_gradient`, in
      the dtype of the labels, and `selection`, uint8, with bits 1 for an object, 2 for an ignored cell, 4 for an
      invalid label.

    Raises:
      TypeError: see `ssd_loss_forward`.
      ValueError: see `ssd_loss_forward`.
      RuntimeError: see `ssd_loss_forward`.
    """
    kernels = _kernels()
    scales = _Scales(y_true, y_pred, anchors, stride)
    framework, first = scales.framework, scales.logits[0]
    options = {**options, **scales.options(grid_sense, class_weights)}
    dtype = framework.dtype(first)
    with framework.on_device_of(first):
        workspace_bytes = kernels.yolov3_loss_workspace_bytes(
            scales.shapes, dtype, scales.anchors, scales.strides, False, **options
        )
        empty = _Allocator(framework, first)
        images = scales.shapes[0][0]
        outputs: dict[str, Any] = {name: empty((images,), _label_dtype(dtype)) for name in _YOLOV3_PER_IMAGE}
        outputs["num_invalid"] = empty((images,), "int32")
        outputs["objectness_gradient"] = [empty(rows, _label_dtype(dtype)) for rows in scales.rows]
        outputs["selection"] = [empty(rows, "uint8") for rows in scales.rows]
        kernels.yolov3_loss_forward(
            _export_all(framework, scales.labels),
            _export_all(framework, scales.logits),
            {
                name: _export_all(framework, value) if isinstance(value, list) else framework.export(value)
                for name, value in outputs.items()
            },
            framework.export(empty((workspace_bytes,), "uint8")),
            scales.anchors,
            scales.strides,
            framework.stream(first),
            **options,
        )
    return outputs


def yolov3_loss_backward(
    loss_gradient: Any,
    y_true: Any,
    y_pred: Any,
    objectness_gradient: Sequence[Any],
    selection: Sequence[Any],
    anchors: Any,
    *,
    stride: int | Sequence[int] | None = None,
    grid_sense: float | Sequence[float] | None = None,
    class_weights: Sequence[float] | None = None,
    **options: Any,
) -> Any:
    """The gradient of `sum(loss * loss_gradient)` with respect to `y_pred`.

    Args:
      loss_gradient: `[B]`, in the dtype of the labels.
      y_true: as in `yolov3_loss_forward`.
      y_pred: as in `yolov3_loss_forward`.
      objectness_gradient: of the result of `yolov3_loss_forward`.
      selection: of that result.
      anchors: as there.
      stride: as there.
      grid_sense: as there.
      class_weights: as there.
      **options: as there.

    Returns:
      A tensor of the shape and dtype of `y_pred`, or a list of them.

    Raises:
      TypeError: see `ssd_loss_forward`.
      ValueError: see `ssd_loss_forward`.
      RuntimeError: see `ssd_loss_forward`.
    """
    kernels = _kernels()
    scales = _Scales(y_true, y_pred, anchors, stride)
    framework, first = scales.framework, scales.logits[0]
    options = {**options, **scales.options(grid_sense, class_weights)}
    dtype = framework.dtype(first)
    with framework.on_device_of(first):
        workspace_bytes = kernels.yolov3_loss_workspace_bytes(
            scales.shapes, dtype, scales.anchors, scales.strides, True, **options
        )
        gradients = [framework.empty(shape, dtype, first) for shape in scales.shapes]
        kernels.yolov3_loss_backward(
            framework.export(loss_gradient),
            *(
                _export_all(framework, tensors)
                for tensors in (scales.labels, scales.logits, objectness_gradient, selection, gradients)
            ),
            framework.export(framework.empty((workspace_bytes,), "uint8", first)),
            scales.anchors,
            scales.strides,
            framework.stream(first),
            **options,
        )
    if not isinstance(y_pred, list | tuple):
        return gradients[0].reshape(tuple(y_pred.shape))
    return [gradient.reshape(tuple(like.shape)) for gradient, like in zip(gradients, y_pred, strict=True)]


def yolo_ignore_mask(boxes: Any, true_boxes: Any, **options: Any) -> Any:
    """`detloss.yolo_ignore_mask`.

    Args:
      boxes: predicted boxes `[B, N, 4]`, float32, float16, bfloat16 or float64.
      true_boxes: `[B, M, 4]`, float32 (float64 beside float64 boxes).
      **options: those of `detloss.yolo_ignore_mask`: `ignore_thresh`, `comparator`.

    Returns:
      bool `[B, N]`, True where the box is ignored.

    Raises:
      TypeError: see `ssd_loss_forward`.
      ValueError: see `ssd_loss_forward`.
      RuntimeError: see `ssd_loss_forward`.
    """
    kernels, framework = _kernels(), _framework("boxes", boxes)
    with framework.on_device_of(boxes):
        mask = framework.empty(tuple(boxes.shape[:-1]), "bool", boxes)
        kernels.yolo_ignore_mask(*map(framework.export, (boxes, true_boxes, mask)), framework.stream(boxes), **options)
    return mask


class _Framework(Protocol):
    """What the functions need of a framework; its tensors have a `shape` and `reshape`."""

    def dtype(self, tensor: Any) -> str:
        """NumPy's name of the dtype."""

    def empty(self, shape: tuple[int, ...], dtype: str, like: Any) -> Any:
        """A tensor on the device of `like`, of any values."""

    def export(self, tensor: Any) -> Any:
        """The tensor, as `_core.device` takes it."""

    def stream(self, tensor: Any) -> int:
        """The current stream of the tensor's device, a `cudaStream_t`."""

    def on_device_of(self, tensor: Any) -> contextlib.AbstractContextManager[Any]:
        """Makes the tensor's device the current one."""


class _Torch:
    def __init__(self, torch: Any):
        self._torch = torch

    def dtype(self, tensor: Any) -> str:
        return str(tensor.dtype).removeprefix("torch.")

    def empty(self, shape: tuple[int, ...], dtype: str, like: Any) -> Any:
        return self._torch.empty(shape, dtype=getattr(self._torch, dtype), device=like.device)

    def export(self, tensor: Any) -> Any:
        if not isinstance(tensor, self._torch.Tensor):
            return tensor
        # Not `__dlpack__`, which looks for streams to wait for: the tensor is used on the current one. It also refuses
        # tensors that require a gradient.
        return self._torch.utils.dlpack.to_dlpack(tensor)

    def stream(self, tensor: Any) -> int:
        return self._torch.cuda.current_stream(tensor.device).cuda_stream if tensor.is_cuda else 0

    def on_device_of(self, tensor: Any) -> contextlib.AbstractContextManager[Any]:
        return self._torch.cuda.device_of(tensor)


class _CuPy:
    def __init__(self, cupy: Any):
        self._cupy = cupy

    def dtype(self, tensor: Any) -> str:
        return str(tensor.dtype.name)

    def empty(self, shape: tuple[int, ...], dtype: str, like: Any) -> Any:
        return self._cupy.empty(shape, like.dtype if dtype == like.dtype.name else dtype)

    def export(self, tensor: Any) -> Any:
        return tensor

    def stream(self, tensor: Any) -> int:
        return int(self._cupy.cuda.get_current_stream().ptr)

    def on_device_of(self, tensor: Any) -> contextlib.AbstractContextManager[Any]:
        return tensor.device


def _framework(name: str, tensor: Any) -> _Framework:
    """The framework of a tensor, which is imported already if there is one."""
    torch, cupy = sys.modules.get("torch"), sys.modules.get("cupy")
    if torch is not None and isinstance(tensor, torch.Tensor):
        return _Torch(torch)
    if cupy is not None and isinstance(tensor, cupy.ndarray):
        return _CuPy(cupy)
    raise TypeError(f"{name}: expected a tensor of PyTorch or an array of CuPy, got {type(tensor).__name__}")


class _Allocator:
    """Makes tensors beside another one."""

    def __init__(self, framework: _Framework, like: Any):
        self._framework, self._like = framework, like

    def __call__(self, shape: tuple[int, ...], dtype: str) -> Any:
        return self._framework.empty(shape, dtype, self._like)


class _Scales:
    """Labels and logits as lists of a tensor per scale, and the arguments that belong to them."""

    def __init__(self, y_true: Any, y_pred: Any, anchors: Any, stride: int | Sequence[int] | None):
        self.labels, logits = _as_list(y_true), _as_list(y_pred)
        if not logits:
            raise ValueError("y_pred: expected at least one scale, got none")
        self.framework, *_ = [_framework("y_pred", scale) for scale in logits]
        self.anchors = as_anchors(anchors, len(logits))
        self.strides = list(as_strides(stride, len(logits)))
        self.logits = [_by_anchor(scale, self.anchors.shape[1]) for scale in logits]
        self.shapes = [tuple(scale.shape) for scale in self.logits]

    @property
    def rows(self) -> list[tuple[int, int]]:
        """`[B, H * W * A]` of every scale."""
        return [(shape[0], shape[1] * shape[2] * shape[3]) for shape in self.shapes]

    def options(
        self, grid_sense: float | Sequence[float] | None, class_weights: Sequence[float] | None
    ) -> dict[str, list[float]]:
        shape = self.shapes[0]
        classes = shape[-1] - 5 if len(shape) == 5 else None  # other shapes are left for the kernels to refuse
        return dict(
            grid_sense=list(as_grid_sense(grid_sense, len(self.logits))),
            class_weights=list(as_class_weights(class_weights, classes)),
        )


def _kernels() -> Any:
    kernels = getattr(_core, "device", None)
    if kernels is None:
        raise RuntimeError(
            "detloss.device: expected a build of detloss with CUDA kernels, got a CPU-only build; build it with "
            "DETLOSS_CUDA=ON, where nvcc is"
        )
    return kernels


def _export_all(framework: _Framework, tensors: Sequence[Any]) -> list[Any]:
    return [framework.export(tensor) for tensor in tensors]


def _as_list(tensors: Any) -> list[Any]:
    return list(tensors) if isinstance(tensors, list | tuple) else [tensors]


def _by_anchor(logits: Any, anchors: int) -> Any:
    """`[B, H, W, A * (5 + C)]` as `[B, H, W, A, 5 + C]`; other shapes are left for the kernels to refuse."""
    if len(logits.shape) != 4 or logits.shape[-1] % anchors != 0:
        return logits
    return logits.reshape((*logits.shape[:3], anchors, logits.shape[-1] // anchors))


def _label_dtype(dtype: str) -> str:
    return "float64" if dtype == "float64" else "float32"


def _layout_options(layout: SSDLayout | str, num_classes: int | None) -> dict[str, int | None]:
    columns = as_layout(layout, num_classes)
    return dict(
        num_classes=columns.num_classes or 0,
        class_column=columns.class_column,
        box_column=columns.box_column,
        positive_column=columns.positive_column,
        exact_width=columns.exact_width,
    )
