"""The medians as bars, with the floor as a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from detloss.benchmark.choices import DEVICE_IMPLEMENTATIONS, DEVICE_MODES, IMPLEMENTATIONS, MODES, PASSES, PEERS
from detloss.benchmark.errors import BenchmarkError
from detloss.benchmark.report import PASS_TITLES
from detloss.benchmark.results import Results, Row, describe_case

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

# Okabe and Ito's palette, which colour-blind readers can tell apart.
_COLOURS = {
    "fused": "#009E73",
    "reference": "#56B4E9",
    "original": "#999999",
    "paddle": "#CC79A7",
    "torch": "#56B4E9",
    "torch-topk": "#999999",
    "torch-compile": "#E69F00",
}
_ORDER = tuple(dict.fromkeys((*IMPLEMENTATIONS, *PEERS, *DEVICE_IMPLEMENTATIONS)))
_TITLE_WIDTH = 9.0  # inches that the longest description of a case takes
_LARGEST_BAR = 0.27
_MODE_HEIGHT = 0.84


def check_available() -> None:
    """Raises `BenchmarkError` without matplotlib, before anything is measured."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise BenchmarkError('--plot: expected matplotlib, found none: pip install "detloss[plot]"') from error


def write_plot(results: Results, path: Path) -> None:
    """One row of axes per case, one column per pass; horizontal bars on a logarithmic scale, grouped by mode."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cases = results.by_case()
    passes = [what for what in PASSES if any(row.what == what for row in results.rows)]
    modes = [mode for mode in (*MODES, *DEVICE_MODES) if any(row.mode == mode for row in results.rows)]
    height = 0.8 + len(cases) * (1.1 + 0.9 * len(modes))
    width = max(_TITLE_WIDTH, 6.2 * len(passes) + 0.6)
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    legend: dict[str, Artist] = {}
    for part, rows in zip(figure.subfigures(len(cases), 1, squeeze=False)[:, 0], cases, strict=True):
        part.suptitle(describe_case(rows[0]), fontsize=9.5, x=0.01, ha="left")
        axes = part.subplots(1, len(passes), squeeze=False)[0]
        for axis, what in zip(axes, passes, strict=True):
            _draw_pass(axis, [row for row in rows if row.what == what], modes)
            axis.set_xlim(_limits(rows))
            axis.set_title(PASS_TITLES[what], fontsize=10, loc="left", fontweight="bold")
            handles, labels = axis.get_legend_handles_labels()
            legend |= zip(labels, handles, strict=True)
    figure.legend(
        legend.values(), legend.keys(), loc="outside lower center", ncols=len(legend), frameon=False, fontsize=9
    )
    figure.suptitle(_subtitle(results), fontsize=8, color="#666666", x=0.01, ha="left")
    figure.savefig(path)


def _draw_pass(axis: Axes, rows: Sequence[Row], modes: Sequence[str]) -> None:
    shown = [name for name in _ORDER if any(row.implementation == name for row in rows)]
    thickness = min(_LARGEST_BAR, _MODE_HEIGHT / max(1, len(shown)))
    for position, implementation in enumerate(shown):
        members = [row for row in rows if row.implementation == implementation]
        heights = [modes.index(row.mode) + (position - (len(shown) - 1) / 2) * thickness for row in members]
        medians = [row.median_ms for row in members]
        spread = [[row.median_ms - row.p20_ms for row in members], [row.p80_ms - row.median_ms for row in members]]
        axis.barh(heights, medians, thickness * 0.92, color=_COLOURS[implementation], label=implementation)
        axis.errorbar(medians, heights, xerr=spread, fmt="none", ecolor="#333333", elinewidth=1)
        for y, row in zip(heights, members, strict=True):
            axis.annotate(_label(row), (row.p80_ms, y), (4, 0), textcoords="offset points", va="center", fontsize=8)
    floor = rows[0].floor_ms if rows else None
    if floor is not None:
        axis.axvline(floor, color="#D55E00", linestyle="--", linewidth=1.2, label="touch-only floor")
    _style(axis, modes)


def _limits(rows: Sequence[Row]) -> tuple[float, float]:
    """One scale for all passes of a case, with room on the right for the numbers."""
    lowest = min(min(row.median_ms, row.floor_ms or row.median_ms) for row in rows)
    highest = max(row.p80_ms for row in rows)
    return lowest / 1.6, highest * (highest / lowest) ** 0.3 * 1.6


def _style(axis: Axes, modes: Sequence[str]) -> None:
    axis.set_xscale("log")
    axis.set_yticks(range(len(modes)), modes)
    axis.set_ylim(len(modes) - 0.5, -0.5)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_xlabel("ms per batch, median with 20th to 80th percentile (log scale)", fontsize=8)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(axis="x", color="#DDDDDD", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)


def _label(row: Row) -> str:
    parts = [f"{row.median_ms:.3g} ms"]
    if row.ratio_to_fused is not None and row.implementation != "fused":
        parts.append(f"({row.ratio_to_fused:.3g}x)")
    if row.compiles_every_batch:
        parts.append("+ compiles every batch")
    return "  ".join(parts)


def _subtitle(results: Results) -> str:
    header = results.header
    machine, versions = header["machine"], header["versions"]
    on_gpu = any(row.device == "gpu" for row in results.rows)
    where = ", ".join(machine["gpus"]) if on_gpu else machine["cpu"]
    framework = f"TensorFlow {versions['tensorflow']}" if "tensorflow" in versions else f"PyTorch {versions['torch']}"
    return (
        f"{where} · detloss {versions['detloss']} · {framework} · {header['date'][:10]}\n"
        "(3.0x): three times the time of the fused op in that mode"
    )
