"""Checks on the GPU that implementations compute the same thing before their times are compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import torch

from detloss.benchmark.errors import DisagreementError
from detloss.benchmark.gpu.cases import DeviceBatch, DeviceCase

# Of the loss, relative; of the gradient, relative and as a share of its largest magnitude.
_FUSED = {"float64": (1e-9, 1e-9, 1e-12)}
_FUSED_OTHERWISE = (1e-5, 1e-5, 1e-7)
_TORCH = {"float32": (1e-4, 1e-3, 1e-5), "float16": (1e-4, 4e-3, 1e-4), "bfloat16": (1e-4, 2e-2, 1e-4)}
_TORCH_OTHERWISE = (1e-8, 1e-7, 1e-9)
# Where two boxes' losses differ by less than a rounding error, implementations that round differently may keep one or
# the other; and so they may ignore a cell or not.
_SWAPPED_ROWS = 2e-5


def check_fused(case: DeviceCase, batch: DeviceBatch, result: Any) -> None:
    """Compares a step of the fused kernels with the CPU's: the selections are equal, the rest within rounding.

    Raises:
      DisagreementError: a difference is larger.
    """
    loss, gradients, outputs = result
    expected_loss, expected_selections, expected_gradients = case.on_cpu(batch)
    selections = outputs["selection"] if isinstance(outputs["selection"], list) else [outputs["selection"]]
    for scale, (found, wanted) in enumerate(zip(selections, expected_selections, strict=True)):
        differing = int((found != torch.from_numpy(wanted).to(found.device)).sum())
        if differing:
            raise DisagreementError(f"fused: expected the CPU's selection, got {differing} others in scale {scale}")
    tolerance = _FUSED.get(case.dtype, _FUSED_OTHERWISE)
    _check("fused, against the CPU", loss, _like(expected_loss, loss), tolerance[0], 0.0, 0)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        relative = max(tolerance[1], float(ml_dtypes.finfo(wanted.dtype).eps))
        reference = _like(wanted, found)
        _check("gradient of fused, against the CPU", found, reference, relative, tolerance[2], 0)


def check_torch(name: str, case: DeviceCase, result: Any, fused: Any) -> None:
    """Compares a step of a loss in PyTorch with one of the fused kernels.

    Raises:
      DisagreementError: a difference is larger than rounding and the choice between equals explain.
    """
    loss, gradient, share = _TORCH.get(case.dtype, _TORCH_OTHERWISE)
    _check(f"{name}, against fused", result[0], fused[0], loss, 0.0, 0)
    allowed = max(2, int(_SWAPPED_ROWS * case.cells))
    for found, wanted in zip(result[1], fused[1], strict=True):
        _check(f"gradient of {name}, against fused", found, wanted, gradient, share, allowed)


def _check(
    name: str, found: torch.Tensor, wanted: torch.Tensor, relative: float, of_largest: float, allowed_rows: int
) -> None:
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        raise DisagreementError(
            f"{name}: expected {wanted.dtype} {list(wanted.shape)}, got {found.dtype} {list(found.shape)}"
        )
    differing, largest = 0, float(wanted.abs().max()) if wanted.numel() else 0.0
    # Image by image, for the memory of the comparison's temporaries.
    for one, other in zip(_images(found), _images(wanted), strict=True):
        close = torch.isclose(one.double(), other.double(), rtol=relative, atol=of_largest * largest)
        differing += int((~close).any(dim=-1).sum())
    if differing > allowed_rows:
        raise DisagreementError(f"{name}: {differing} rows differ; the largest magnitude is {largest:.3g}")


def _images(tensor: torch.Tensor) -> Sequence[torch.Tensor]:
    return [tensor] if tensor.ndim < 3 else list(tensor)


def _like(array: npt.NDArray[Any], tensor: torch.Tensor) -> torch.Tensor:
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).to(tensor.device).reshape(tensor.shape)
    return torch.from_numpy(array).to(tensor.device).reshape(tensor.shape)
