"""The results of a GPU as tables on a terminal, in microseconds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from detloss.benchmark.gpu.results import DeviceRow
from detloss.benchmark.report import PASS_TITLES
from detloss.benchmark.results import Results, describe_case

_FOOTNOTE = (
    "Microseconds of one step, between CUDA events around many; the steps go round several sets of inputs that are too "
    "large for the cache together. Replayed: as a CUDA graph, without the host; called: every step from Python. "
    "÷ floor: over the touch-only floor, which reads and writes the memory that any implementation must and computes "
    "nothing. Peak: PyTorch's memory in one step; B/box: the same without the gradient, per box (YOLOv3: per cell and "
    "anchor)."
)


def print_header(header: dict[str, Any], console: Console) -> None:
    """Prints the machine and the versions."""
    machine, build = header["machine"], header["build"]
    versions = " · ".join(f"{name} {version}" for name, version in header["versions"].items())
    console.print(
        f"{', '.join(machine['gpus'])} · driver {machine['driver']} · cache {machine['gpu_cache_mib']:.0f} MiB · "
        f"a copy moves {machine['gpu_copy_gb_per_s']:,.0f} GB/s · {machine['cpu']}",
        versions,
        f"built with {build['compiler']}",
        sep="\n",
        highlight=False,
    )


def print_case(rows: Sequence[DeviceRow], console: Console) -> None:
    """Prints a table for every pass of one case, and the fused kernels one by one."""
    console.print(f"\n{describe_case(rows[0])} · {rows[0].input_sets} input sets", style="bold", highlight=False)
    for what, of_pass in groupby(rows, key=lambda row: row.what):
        of_pass_rows = list(of_pass)
        console.print(_table(what, of_pass_rows))
        for row in of_pass_rows:
            if row.implementation == "fused" and row.kernels:
                listed = ", ".join(f"{_times(kernel)}{kernel['name']} {kernel['us']:.1f}" for kernel in row.kernels)
                console.print(f"fused, µs under the profiler: {listed}", style="dim", highlight=False)


def print_notes(results: Results, console: Console) -> None:
    """Prints what was skipped, and what the numbers mean."""
    notes = list(results.notes)
    notes += [
        f"skipped: {skipped.implementation} for {skipped.case['preset']}, batch {skipped.case['batch']}: it "
        f"{skipped.reason}"
        for skipped in results.skipped
    ]
    for note in notes:
        console.print(note, style="yellow", highlight=False)
    console.print(_FOOTNOTE, style="dim", highlight=False)


def _table(what: str, rows: Sequence[DeviceRow]) -> Table:
    table = Table(title=PASS_TITLES[what], title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("implementation", "timed"):
        table.add_column(name, no_wrap=True)
    for name in ("median", "p20", "p80", "÷ fused", "÷ floor", "called", "launches", "peak MiB", "B/box"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.implementation,
            row.mode,
            *map(_microseconds, (row.median_ms, row.p20_ms, row.p80_ms)),
            *map(_ratio, (row.ratio_to_fused, row.ratio_to_floor)),
            _microseconds(row.called_ms),
            "-" if row.launches is None else f"{row.launches:.0f}",
            *("-" if value is None else f"{value:,.1f}" for value in (row.peak_mib, row.bytes_per_cell)),
            style="bold" if row.implementation == "fused" else None,
        )
    first = rows[0]
    floor = map(_microseconds, (first.floor_ms, first.floor_p20_ms, first.floor_p80_ms))
    table.add_row("touch-only floor", "replayed", *floor, "", "1.00", style="dim")
    return table


def _times(kernel: dict[str, Any]) -> str:
    return "" if kernel["launches"] == 1 else f"{kernel['launches']:g} x "


def _microseconds(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds * 1e3:,.1f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"
