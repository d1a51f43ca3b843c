"""Checks that two implementations compute the same thing before their times are compared."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from detloss.benchmark.errors import DisagreementError
from detloss.benchmark.steps import StepOutput

# Where two boxes' losses differ by less than a rounding error, implementations that round differently may keep one or
# the other.
_SWAPPED_ROWS = 1e-5


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """Largest differences: of the loss, relative; of the gradient, relative and as a share of its largest magnitude."""

    loss: float
    gradient: float
    gradient_share: float


TOLERANCES = {
    "float32": Tolerance(1e-4, 1e-4, 1e-5),
    "float16": Tolerance(1e-4, 2e-3, 1e-5),
    "bfloat16": Tolerance(1e-4, 1e-2, 1e-5),
    "float64": Tolerance(1e-9, 1e-8, 1e-10),
}


def check(name: str, actual: StepOutput, expected: StepOutput, dtype: str) -> None:
    """Compares loss and gradients with those of the reference; no gradients in `actual` means a forward pass.

    Raises:
      DisagreementError: a difference is larger than `TOLERANCES[dtype]`.
    """
    tolerance = TOLERANCES[dtype]
    _check_loss(name, _float64(actual[0]), _float64(expected[0]), tolerance)
    for gradient, wanted in zip(actual[1], expected[1], strict=False):
        _check_gradient(name, gradient, wanted, tolerance)


def _check_loss(
    name: str, actual: npt.NDArray[np.float64], expected: npt.NDArray[np.float64], tolerance: Tolerance
) -> None:
    if actual.shape != expected.shape:
        raise DisagreementError(
            f"{name}: expected a loss of the reference's shape {list(expected.shape)}, got {list(actual.shape)}"
        )
    agree = np.isclose(actual, expected, rtol=tolerance.loss, atol=0.0)
    if not agree.all():
        image = int(np.argmin(agree))
        raise DisagreementError(
            f"{name}: expected the reference's loss {expected.flat[image]:.9g} for image {image}, "
            f"got {actual.flat[image]:.9g}"
        )


def _check_gradient(name: str, actual: tf.Tensor, expected: tf.Tensor, tolerance: Tolerance) -> None:
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise DisagreementError(
            f"{name}: expected a gradient {expected.dtype.name} {expected.shape}, "
            f"got {actual.dtype.name} {actual.shape}"
        )
    largest = float(tf.reduce_max(tf.abs(expected)))
    allowed = _SWAPPED_ROWS * (tf.size(expected).numpy() // expected.shape[-1])
    differing = 0
    # Image by image: a whole gradient in float64 with the comparison's temporaries would take gigabytes.
    for image, (found, wanted) in enumerate(zip(actual, expected, strict=True)):
        agree = np.isclose(
            _float64(found), _float64(wanted), rtol=tolerance.gradient, atol=tolerance.gradient_share * largest
        ).all(axis=-1)
        differing += agree.size - int(np.count_nonzero(agree))
        if differing > allowed:
            row = int(np.argmin(agree))
            raise DisagreementError(
                f"{name}: expected the reference's gradient, got another one in {differing} rows of images 0 to "
                f"{image}, such as row {row} of image {image}; the largest magnitude is {largest:.3g}"
            )


def _float64(tensor: tf.Tensor) -> npt.NDArray[np.float64]:
    return np.asarray(tf.cast(tensor, tf.float64))
