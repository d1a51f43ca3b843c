"""Result rows: one per case, pass, mode and implementation."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Row:
    """One measured step. Times are milliseconds; what does not apply is `None`.

    Attributes:
      case: size and options of the case, `Case.describe()`.
      device: cpu or gpu.
      threads: TensorFlow's intra-op threads, and those of the floor.
      implementation: fused, reference, original or a peer.
      mode: eager, graph or xla; a peer's is eager.
      what: forward or forward_backward.
      batches: steps that a timed call takes, each over a batch of its own; times are those of one step.
      repetitions: timed calls.
      median_ms: median time.
      p20_ms: 20th percentile.
      p80_ms: 80th percentile.
      floor_ms: median time of the touch-only kernel for the same pass, timed in turns with everything else.
      floor_p20_ms: its 20th percentile.
      floor_p80_ms: its 80th percentile.
      first_call_ms: time of the first call, with tracing and compilation, over all batches.
      compiles_every_batch: whether new data cost a compilation; the times are then those of a batch seen before.
      ratio_to_fused: median over the median of the fused op in the same mode and pass.
      ratio_to_floor: median over `floor_ms`.
      peak_mib: peak extra memory in MiB, with the gradient.
      gradient_peak_mib: the same of a process that only allocates the gradient.
      bytes_per_cell: peak beyond the gradient in bytes per box of the batch, or per cell and anchor.
    """

    case: dict[str, Any]
    device: str
    threads: int
    implementation: str
    mode: str
    what: str
    batches: int
    repetitions: int
    median_ms: float
    p20_ms: float
    p80_ms: float
    first_call_ms: float
    compiles_every_batch: bool
    floor_ms: float | None = None
    floor_p20_ms: float | None = None
    floor_p80_ms: float | None = None
    ratio_to_fused: float | None = None
    ratio_to_floor: float | None = None
    peak_mib: float | None = None
    gradient_peak_mib: float | None = None
    bytes_per_cell: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields of the case and of the row, flat."""
        fields = dataclasses.asdict(self)
        return {**fields.pop("case"), **fields}


@dataclasses.dataclass(frozen=True)
class Skipped:
    """An implementation that was asked for and cannot compute a case in these modes."""

    case: dict[str, Any]
    implementation: str
    modes: tuple[str, ...]
    reason: str


@dataclasses.dataclass
class Results:
    """Everything that one call of the command measured, and notes on what its numbers do not say."""

    header: dict[str, Any]
    rows: list[Row] = dataclasses.field(default_factory=list)
    skipped: list[Skipped] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def by_case(self) -> list[list[Row]]:
        """The rows of every case, in the order of measurement."""
        cases: dict[str, list[Row]] = {}
        for row in self.rows:
            cases.setdefault(json.dumps(row.case, sort_keys=True), []).append(row)
        return list(cases.values())

    def write_json(self, path: Path) -> None:
        """Writes `{"header": …, "rows": […], "skipped": […], "notes": […]}`."""
        content = {
            "header": self.header,
            "rows": [row.as_dict() for row in self.rows],
            "skipped": [
                {
                    **skipped.case,
                    "implementation": skipped.implementation,
                    "modes": skipped.modes,
                    "reason": skipped.reason,
                }
                for skipped in self.skipped
            ],
            "notes": self.notes,
        }
        path.write_text(json.dumps(content, indent=2) + "\n")


def describe_case(row: Row) -> str:
    """A title: the case, its options and where it ran."""
    case = dict(row.case)
    parts = [str(case.pop("preset")), f"batch {case.pop('batch')}", str(case.pop("dtype"))]
    switches_first = sorted(case.items(), key=lambda item: not isinstance(item[1], bool))
    parts += [_describe_option(name, value) for name, value in switches_first]
    where = (
        row.device if row.device == "gpu" else f"{row.device}, {row.threads} thread{'s' if row.threads != 1 else ''}"
    )
    return " · ".join([*filter(None, parts), where])


def _describe_option(name: str, value: Any) -> str:
    """What a title says of an option; nothing of one that is off."""
    if name == "from_logits":
        return "logits" if value else "probabilities"
    name = name.replace("_", " ")
    if isinstance(value, bool):
        return name if value else ""
    return f"{value} px" if name == "image size" else f"{value} {name}"
