"""Another framework's loss, timed beside those of TensorFlow. Loads no framework itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detloss.benchmark.case import Batch


@dataclasses.dataclass(frozen=True)
class Peer:
    """Another framework's loss for the same head. Nothing compares what it computes with the reference.

    Attributes:
      version: of the framework.
      note: what the reader of its times has to know.
      calls: `calls(batches)` is the call of every pass that takes a step over each of `batches`.
    """

    version: str
    note: str
    calls: Callable[[Sequence[Batch]], dict[str, Callable[[], object]]]
