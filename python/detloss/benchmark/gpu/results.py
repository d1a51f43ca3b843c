"""Result rows of a GPU: those of `detloss.benchmark.results`, and what only a GPU has."""

from __future__ import annotations

import dataclasses
from typing import Any

from detloss.benchmark.results import Row


@dataclasses.dataclass(frozen=True)
class DeviceRow(Row):
    """One measured step. `implementation` is one of `DEVICE_IMPLEMENTATIONS`, `mode` one of `DEVICE_MODES`.

    The times are those between two CUDA events around many steps, per step: of a CUDA graph of steps that is replayed,
    which leaves the host out, or of calls from Python where PyTorch cannot capture the step.

    Attributes:
      called_ms: median time of a step when every one is called from Python, whichever of host and device is slower.
      launches: kernels, fills and copies that a step puts on the stream; `None` where they could not be recorded.
      kernels: of every kernel, fill or copy its name, how often a step has it, and its microseconds in a step.
      input_sets: sets of labels and predictions that the steps go round, too large together for the cache.
    """

    called_ms: float | None = None
    launches: float | None = None
    kernels: tuple[dict[str, Any], ...] = ()
    input_sets: int = 0
