"""The results as tables on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from detloss.benchmark.results import Results, Row, describe_case

PASS_TITLES = {"forward": "forward", "forward_backward": "forward + backward"}
_FOOTNOTE = (
    "Milliseconds of one step; a timed call takes one over each of {batches}. ÷ fused: median over that of the fused "
    "op in the same mode. ÷ floor: median over that of the touch-only floor, a kernel that reads and writes the memory "
    "which any implementation must and computes nothing. Peak: extra memory of one step; B/box: the same without the "
    "gradient, in bytes per box (YOLOv3: per cell and anchor)."
)


def print_results(results: Results, console: Console) -> None:
    """Prints the machine, a table for every case and pass, and what was skipped."""
    _print_header(results.header, console)
    for rows in results.by_case():
        console.print(f"\n{describe_case(rows[0])}", style="bold", highlight=False)
        for what, of_pass in groupby(rows, key=lambda row: row.what):
            console.print(_table(what, list(of_pass)))
    for note in _notes(results):
        console.print(note, style="yellow", highlight=False)
    batches = results.header["settings"]["batches"]
    footnote = _FOOTNOTE.format(batches="1 batch" if batches == 1 else f"{batches} batches")
    console.print(footnote, style="dim", highlight=False)


def _print_header(header: dict[str, Any], console: Console) -> None:
    machine, build = header["machine"], header["build"]
    gpus = "".join(f" · {name}" for name in machine["gpus"])
    versions = " · ".join(f"{name} {version}" for name, version in header["versions"].items())
    console.print(
        f"{machine['cpu']} · {machine['usable_cores']} cores · {machine['memory_gib']} GiB{gpus}",
        versions,
        f"built with {build['compiler']} · CPU kernels: {build['cpu_tier']} · CUDA: {'yes' if build['cuda'] else 'no'}",
        sep="\n",
        highlight=False,
    )


def _table(what: str, rows: Sequence[Row]) -> Table:
    table = Table(title=PASS_TITLES[what], title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("mode", "implementation"):
        table.add_column(name, no_wrap=True)
    for name in ("median", "p20", "p80", "÷ fused", "÷ floor", "peak MiB", "B/box"):
        table.add_column(name, justify="right", no_wrap=True)
    for mode, of_mode in groupby(rows, key=lambda row: row.mode):
        for position, row in enumerate(of_mode):
            _add_row(table, row, mode if position == 0 else "")
        table.add_section()
    first = rows[0]
    if first.floor_ms is not None:
        floor = map(_number, (first.floor_ms, first.floor_p20_ms, first.floor_p80_ms))
        table.add_row("", "touch-only floor", *floor, "", "1.00", style="dim")
    return table


def _add_row(table: Table, row: Row, mode: str) -> None:
    table.add_row(
        mode,
        row.implementation,
        *map(_number, (row.median_ms, row.p20_ms, row.p80_ms, row.ratio_to_fused, row.ratio_to_floor)),
        _number(row.peak_mib, digits=1),
        _number(row.bytes_per_cell, digits=1),
        style="bold" if row.implementation == "fused" else None,
    )


def _notes(results: Results) -> list[str]:
    notes = list(results.notes)
    for skipped in results.skipped:
        name = f"{skipped.implementation} ({', '.join(skipped.modes)})"
        notes.append(f"skipped: {name} for {skipped.case['preset']}: it {skipped.reason}")
    recompiled = [row for row in results.rows if row.compiles_every_batch]
    if recompiled:
        slowest = max(row.first_call_ms for row in recompiled) / 1e3
        names = ", ".join(sorted({f"{row.implementation} in {row.mode}" for row in recompiled}))
        notes.append(
            f"{names}: compiled anew for every batch of new data, here in up to {slowest:.1f} s; "
            "the times are those of a batch seen before"
        )
    return notes


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
