"""What is measured on a GPU: one loss on one size of input, as its implementations compute it."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.dlpack import to_dlpack

from detloss import _core, device
from detloss.benchmark.gpu.torch_ssd_loss import ssd_loss
from detloss.benchmark.gpu.torch_yolov3_loss import YOLOv3Loss
from detloss.benchmark.presets import Preset, SSDPreset, YOLOv3Preset
from detloss.benchmark.ssd_inputs import make_ssd_batch
from detloss.benchmark.yolov3_inputs import make_yolov3_batch

_IGNORE_THRESH = 0.5
_COARSEST_STRIDE = 32
# Random images take the host longer to make than anything here takes to measure: a batch repeats so many.
_DISTINCT_IMAGES = 32
# Relative noise that tells repeated SSD predictions apart, whose losses would tie.
_NOISE = 1e-4

Output = tuple[torch.Tensor, list[torch.Tensor]]
"""The loss per image, and its gradient with respect to every prediction tensor (none for a forward pass)."""

TorchLoss = Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor]], torch.Tensor]
"""`(labels, predictions) -> loss` per image."""

Step = Callable[["DeviceBatch"], Any]
"""Takes one step over a batch; returns what it made, for the caller to keep alive."""


@dataclasses.dataclass(frozen=True)
class DeviceBatch:
    """Labels and predictions of one training step on the GPU: one tensor of each, or one per scale.

    Attributes:
      labels: labels.
      predictions: predictions, which require a gradient.
      upstream: gradient of the losses, ones `[B]`.
      rows: labels and predictions of all scales as two tensors `[rows, columns]`, for the floor.
      gradient: memory of the size of the predictions, for the floor.
      seen: where the floor leaves what it read.
    """

    labels: tuple[torch.Tensor, ...]
    predictions: tuple[torch.Tensor, ...]
    upstream: torch.Tensor
    rows: tuple[torch.Tensor, torch.Tensor]
    gradient: torch.Tensor
    seen: torch.Tensor

    @property
    def bytes(self) -> int:
        """What a step reads and writes at most."""
        return sum(tensor.nbytes for tensor in (*self.labels, *self.predictions, self.gradient))


@dataclasses.dataclass(frozen=True)
class DeviceCase(abc.ABC):
    """One loss on one size of input.

    Attributes:
      preset: name of the preset that the size comes from.
      batch: images in a batch.
      dtype: dtype of the predictions and of their gradient.
    """

    preset: str
    batch: int
    dtype: str

    def make_batches(self, seed: int, count: Callable[[DeviceBatch], int], target: str = "cuda") -> list[DeviceBatch]:
        """Batches of realistic random data: as many as `count` tells from the first."""
        rng = np.random.default_rng(seed)
        pool = self._make_images(rng, min(self.batch, _DISTINCT_IMAGES), target)
        batches = [self._draw_batch(rng, *pool)]
        batches += [self._draw_batch(rng, *pool) for _ in range(count(batches[0]) - 1)]
        return batches

    def step(self, implementation: str, what: str, target: str = "cuda") -> Step:
        """A step of an implementation, one of `DEVICE_IMPLEMENTATIONS`."""
        if implementation == "fused":
            return self._fused_forward if what == "forward" else self._fused_forward_backward
        loss = self._torch_loss(implementation, target)
        if implementation == "torch-compile":
            # A function of its own for every case and pass: too many shapes of one function run without compilation.
            loss = torch.compile(loss, dynamic=False)

        def forward(batch: DeviceBatch) -> Output:
            with torch.no_grad():
                return loss(batch.labels, batch.predictions), []

        def forward_backward(batch: DeviceBatch) -> Output:
            value = loss(batch.labels, batch.predictions)
            return value.detach(), list(torch.autograd.grad(value, batch.predictions, batch.upstream))

        return forward if what == "forward" else forward_backward

    def floor(self, what: str) -> Step:
        """The touch-only kernels of a pass."""

        def touch(batch: DeviceBatch) -> None:
            tensors = [to_dlpack(tensor) for tensor in (*batch.rows, batch.gradient, batch.seen)]
            stream = torch.cuda.current_stream().cuda_stream if batch.seen.is_cuda else 0
            for backward in (False, True)[: 1 + (what == "forward_backward")]:
                self._touch(*tensors, backward=backward, stream=stream)

        return touch

    @abc.abstractmethod
    def why_not(self, implementation: str) -> str | None:
        """Why an implementation cannot compute this case; `None` where it can."""

    @abc.abstractmethod
    def on_cpu(self, batch: DeviceBatch) -> tuple[npt.NDArray[Any], list[npt.NDArray[Any]], list[npt.NDArray[Any]]]:
        """Loss, selections and gradients of the CPU's kernels."""

    @property
    @abc.abstractmethod
    def cells(self) -> int:
        """What the loss rates in a batch: boxes, or anchors of all cells."""

    def describe(self) -> dict[str, Any]:
        """Size and options for a result row."""
        return dataclasses.asdict(self)

    @property
    def label_dtype(self) -> str:
        """Dtype of labels and losses."""
        return "float64" if self.dtype == "float64" else "float32"

    @abc.abstractmethod
    def _make_images(
        self, rng: np.random.Generator, images: int, target: str
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Labels and predictions of some images, per scale."""

    @abc.abstractmethod
    def _fused_forward(self, batch: DeviceBatch) -> Any: ...

    @abc.abstractmethod
    def _fused_forward_backward(self, batch: DeviceBatch) -> Any: ...

    @abc.abstractmethod
    def _torch_loss(self, implementation: str, target: str) -> TorchLoss: ...

    @abc.abstractmethod
    def _touch(
        self, labels: Any, predictions: Any, gradient: Any, seen: Any, *, backward: bool, stream: int
    ) -> None: ...

    def _draw_batch(
        self, rng: np.random.Generator, labels: Sequence[torch.Tensor], predictions: Sequence[torch.Tensor]
    ) -> DeviceBatch:
        """A batch of the images in an order of its own."""
        order = torch.as_tensor(rng.permutation(np.arange(self.batch) % len(labels[0])), device=labels[0].device)
        drawn = [scale[order] for scale in predictions]
        drawn_labels = tuple(scale[order] for scale in labels)
        upstream = torch.ones(self.batch, dtype=getattr(torch, self.label_dtype), device=labels[0].device)
        drawn = [self._tell_apart(scale) for scale in drawn]
        rows = [_one_tensor([scale.reshape(-1, self._columns) for scale in scales]) for scales in (drawn_labels, drawn)]
        return DeviceBatch(
            labels=drawn_labels,
            predictions=tuple(scale.requires_grad_() for scale in drawn),
            upstream=upstream,
            rows=(rows[0], rows[1].detach()),
            gradient=torch.empty_like(rows[1]),
            seen=torch.zeros(1, dtype=torch.int32, device=labels[0].device),
        )

    def _tell_apart(self, predictions: torch.Tensor) -> torch.Tensor:
        return predictions

    @property
    @abc.abstractmethod
    def _columns(self) -> int:
        """Of labels and predictions."""


@dataclasses.dataclass(frozen=True)
class SSDDeviceCase(DeviceCase):
    """`detloss.ssd_loss` with its default options.

    Attributes:
      boxes: anchor boxes of an image.
      classes: classes with the background.
      from_logits: whether the predicted class columns are logits rather than softmax probabilities.
    """

    boxes: int
    classes: int
    from_logits: bool

    def why_not(self, implementation: str) -> str | None:
        """`torch.topk` has no order among equals."""
        if implementation == "torch-topk" and self.dtype in ("float16", "bfloat16"):
            return f"keeps any of several equal losses, of which {self.dtype} has many"
        return None

    def on_cpu(self, batch: DeviceBatch) -> tuple[npt.NDArray[Any], list[npt.NDArray[Any]], list[npt.NDArray[Any]]]:
        """Loss, selection and gradient."""
        y_true, y_pred = _to_host(batch.labels[0]), _to_host(batch.predictions[0])
        outputs = _core.ssd_loss_forward(y_true, y_pred, from_logits=self.from_logits)
        residuals = (outputs[name] for name in ("n_pos", "n_kept", "selection"))
        upstream = np.ones_like(outputs["loss"])
        gradient = _core.ssd_loss_backward(upstream, y_true, y_pred, *residuals, from_logits=self.from_logits)
        return outputs["loss"], [outputs["selection"]], [gradient]

    @property
    def cells(self) -> int:
        """Boxes of a batch."""
        return self.batch * self.boxes

    def _make_images(
        self, rng: np.random.Generator, images: int, target: str
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        labels, predictions = make_ssd_batch(rng, images, self.boxes, self.classes, self.from_logits)
        return (
            [torch.from_numpy(labels).to(target, getattr(torch, self.label_dtype))],
            [torch.from_numpy(predictions).to(target, getattr(torch, self.dtype))],
        )

    def _tell_apart(self, predictions: torch.Tensor) -> torch.Tensor:
        return predictions * (1 + _NOISE * torch.randn_like(predictions))

    def _fused_forward(self, batch: DeviceBatch) -> Any:
        return device.ssd_loss_forward(batch.labels[0], batch.predictions[0], from_logits=self.from_logits)

    def _fused_forward_backward(self, batch: DeviceBatch) -> Any:
        outputs = self._fused_forward(batch)
        gradient = device.ssd_loss_backward(
            batch.upstream,
            batch.labels[0],
            batch.predictions[0],
            *(outputs[name] for name in ("n_pos", "n_kept", "selection")),
            from_logits=self.from_logits,
        )
        return outputs["loss"], [gradient], outputs

    def _torch_loss(self, implementation: str, target: str) -> TorchLoss:
        options = dict(from_logits=self.from_logits, top_k=implementation == "torch-topk")
        return lambda labels, predictions: ssd_loss(labels[0], predictions[0], **options)

    def _touch(self, labels: Any, predictions: Any, gradient: Any, seen: Any, *, backward: bool, stream: int) -> None:
        _core.device.touch_ssd_loss(
            labels, predictions, gradient, seen, self.classes, self.from_logits, backward, stream
        )

    @property
    def _columns(self) -> int:
        return self.classes + 12


@dataclasses.dataclass(frozen=True)
class YOLOv3DeviceCase(DeviceCase):
    """`detloss.yolov3_loss` over all scales of a model.

    Attributes:
      image_size: height and width of an image in pixels.
      classes: classes.
      boxes_per_image: objects of an image; some may share a cell and anchor.
      class_focal: whether the class loss is the focal one, which reads every class logit.
      anchors: of every scale, widths and heights in pixels `[S, A, 2]`.
      anchor_rows: which of all anchors every scale has, the coarsest first.
      all_anchors: widths and heights in pixels of the anchors of all scales.
    """

    image_size: int
    classes: int
    boxes_per_image: int
    class_focal: bool
    all_anchors: tuple[tuple[int, int], ...]
    anchor_rows: tuple[tuple[int, ...], ...]

    def why_not(self, implementation: str) -> str | None:
        """The loss in PyTorch is the default one."""
        if implementation == "torch-topk":
            return "mines nothing"
        if implementation != "fused" and self.class_focal:
            return "has no focal class loss"
        return None

    def on_cpu(self, batch: DeviceBatch) -> tuple[npt.NDArray[Any], list[npt.NDArray[Any]], list[npt.NDArray[Any]]]:
        """Loss, selections and gradients."""
        y_true, y_pred = ([_to_host(scale) for scale in scales] for scales in (batch.labels, batch.predictions))
        y_pred = [logits.reshape(labels.shape) for logits, labels in zip(y_pred, y_true, strict=True)]
        options: dict[str, Any] = dict(ignore_thresh=_IGNORE_THRESH, class_focal=self.class_focal)
        geometry = self._anchors, list(self._strides)
        outputs = _core.yolov3_loss_forward(y_true, y_pred, *geometry, **options)
        residuals = outputs["objectness_gradient"], outputs["selection"]
        upstream = np.ones_like(outputs["loss"])
        gradients = _core.yolov3_loss_backward(upstream, y_true, y_pred, *residuals, *geometry, **options)
        return outputs["loss"], outputs["selection"], gradients

    @property
    def cells(self) -> int:
        """Anchors of all cells of a batch."""
        grids = zip(self._grids, self.anchor_rows, strict=True)
        return self.batch * sum(rows * columns * len(anchors) for (rows, columns), anchors in grids)

    def describe(self) -> dict[str, Any]:
        """All fields; the number of scales stands for the anchors."""
        fields = super().describe()
        for name in ("all_anchors", "anchor_rows"):
            del fields[name]
        return {**fields, "scales": len(self.anchor_rows)}

    def _make_images(
        self, rng: np.random.Generator, images: int, target: str
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        labels, logits = make_yolov3_batch(
            rng,
            images,
            self.boxes_per_image,
            grids=self._grids,
            anchors=(np.asarray(self.all_anchors) / self.image_size).astype(np.float32),
            anchor_rows=self.anchor_rows,
            classes=self.classes,
            ignore_thresh=_IGNORE_THRESH,
            dtype=_numpy_dtype(self.dtype),
        )
        flat = [scale.reshape(*scale.shape[:3], -1) for scale in logits]
        return (
            [torch.from_numpy(scale).to(target, getattr(torch, self.label_dtype)) for scale in labels],
            [torch.from_numpy(scale).to(target, getattr(torch, self.dtype)) for scale in flat],
        )

    def _fused_forward(self, batch: DeviceBatch) -> Any:
        return device.yolov3_loss_forward(batch.labels, batch.predictions, self._anchors, **self._options)

    def _fused_forward_backward(self, batch: DeviceBatch) -> Any:
        outputs = self._fused_forward(batch)
        gradients = device.yolov3_loss_backward(
            batch.upstream,
            batch.labels,
            batch.predictions,
            outputs["objectness_gradient"],
            outputs["selection"],
            self._anchors,
            **self._options,
        )
        return outputs["loss"], gradients, outputs

    def _torch_loss(self, implementation: str, target: str) -> TorchLoss:
        return YOLOv3Loss(
            self._anchors / self.image_size,
            self._grids,
            ignore_thresh=_IGNORE_THRESH,
            max_boxes=self.boxes_per_image,
            dtype=getattr(torch, self.label_dtype),
            device=target,
        )

    def _touch(self, labels: Any, predictions: Any, gradient: Any, seen: Any, *, backward: bool, stream: int) -> None:
        _core.device.touch_yolov3_loss(labels, predictions, gradient, seen, self.class_focal, backward, stream)

    @property
    def _columns(self) -> int:
        return 5 + self.classes

    @property
    def _strides(self) -> tuple[int, ...]:
        return tuple(_COARSEST_STRIDE >> scale for scale in range(len(self.anchor_rows)))

    @property
    def _grids(self) -> list[tuple[int, int]]:
        return [(self.image_size // stride, self.image_size // stride) for stride in self._strides]

    @property
    def _anchors(self) -> npt.NDArray[np.float64]:
        return np.asarray([[self.all_anchors[anchor] for anchor in row] for row in self.anchor_rows], np.float64)

    @property
    def _options(self) -> dict[str, Any]:
        return dict(stride=self._strides, ignore_thresh=_IGNORE_THRESH, class_focal=self.class_focal)


def make_case(
    preset: Preset, batch: int, dtype: str, *, from_logits: bool, boxes_per_image: int, class_focal: bool
) -> DeviceCase:
    """A preset's loss on batches of `batch` images; the options of the other kind of preset are not looked at."""
    if isinstance(preset, SSDPreset):
        return SSDDeviceCase(preset.name, batch, dtype, preset.boxes, preset.classes, from_logits)
    assert isinstance(preset, YOLOv3Preset)
    return YOLOv3DeviceCase(
        preset.name,
        batch,
        dtype,
        image_size=preset.image_size,
        classes=preset.classes,
        boxes_per_image=boxes_per_image,
        class_focal=class_focal,
        all_anchors=preset.anchors,
        anchor_rows=preset.anchor_rows,
    )


def _one_tensor(scales: Sequence[torch.Tensor]) -> torch.Tensor:
    return scales[0] if len(scales) == 1 else torch.cat(list(scales))


def _to_host(tensor: torch.Tensor) -> npt.NDArray[Any]:
    plain = tensor.detach().cpu()
    if plain.dtype == torch.bfloat16:
        return plain.view(torch.int16).numpy().view(_numpy_dtype("bfloat16"))
    return plain.numpy()


def _numpy_dtype(name: str) -> npt.DTypeLike:
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)
