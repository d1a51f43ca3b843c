"""The command `python -m detloss.benchmark.gpu`."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from detloss.benchmark import command_line
from detloss.benchmark.choices import DEVICE_IMPLEMENTATIONS, DTYPES, PASSES
from detloss.benchmark.errors import BenchmarkError
from detloss.benchmark.presets import PRESETS

if TYPE_CHECKING:
    from detloss.benchmark.gpu.cases import DeviceCase
    from detloss.benchmark.gpu.results import DeviceRow

_DESCRIPTION = (
    "Checks that the CUDA kernels agree with the CPU's, then times them on a GPU against the same loss in PyTorch, "
    "eager and compiled, and against a kernel that only touches the memory. Needs PyTorch, and no TensorFlow."
)
_BATCHES = (8, 32, 128)
_BOXES_PER_IMAGE = 20
_SEVERAL: dict[str, Any] = {"nargs": "+", "action": "extend"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark with the given or the process's arguments; returns the exit status.

    0: measured; 1: the implementations disagree; 2: what was asked for cannot be measured here, or not be written.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    command_line.check_output_files(parser, options)
    return command_line.run_command("detloss.benchmark.gpu", lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    if importlib.util.find_spec("torch") is None:
        raise BenchmarkError(
            "expected PyTorch, found none; with TensorFlow alone, detloss-benchmark --device gpu measures its ops"
        )
    from detloss.benchmark import plot
    from detloss.benchmark.gpu import report, session

    if options.plot:
        plot.check_available()
    settings = session.Settings(
        implementations=_chosen(options.implementation, DEVICE_IMPLEMENTATIONS),
        passes=_chosen(options.what, PASSES),
        repetitions=options.repetitions,
        seed=options.seed,
        profile=options.profile,
    )
    # A pipe or a file has no width of its own: one that the tables fit into.
    console = Console(width=None if sys.stdout.isatty() else 132)
    messages = Console(stderr=True)
    shown = 0
    for results in session.measure(_cases(options), settings, lambda text: messages.print(text, style="dim")):
        if shown == 0:
            report.print_header(results.header, console)
        rows: Sequence[DeviceRow] = results.rows[shown:]  # type: ignore[assignment]
        shown = len(results.rows)
        if rows:
            report.print_case(rows, console)
        # After every case: what is measured stays, whatever comes.
        if options.json:
            with command_line.writing("--json"):
                results.write_json(options.json)
    report.print_notes(results, console)
    if options.plot and results.rows:
        with command_line.writing("--plot"):
            plot.write_plot(results, options.plot)


def _cases(options: argparse.Namespace) -> list[DeviceCase]:
    from detloss.benchmark.gpu.cases import make_case

    return [
        make_case(
            PRESETS[name],
            batch,
            options.dtype,
            from_logits=options.from_logits,
            boxes_per_image=options.boxes_per_image,
            class_focal=options.class_focal,
        )
        for name in dict.fromkeys(options.preset or PRESETS)
        for batch in dict.fromkeys(options.batch or _BATCHES)
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m detloss.benchmark.gpu", description=_DESCRIPTION)
    case = parser.add_argument_group("case")
    case.add_argument(
        "--preset", **_SEVERAL, choices=PRESETS, metavar="PRESET", help=f"{', '.join(PRESETS)} (default: all)"
    )
    case.add_argument("--batch", **_SEVERAL, type=command_line.images, help="images in a batch (default: 8 32 128)")
    case.add_argument("--dtype", choices=DTYPES, default="float32", help="of the predictions (default: %(default)s)")
    case.add_argument("--from-logits", action="store_true", help="SSD: predictions are logits, not probabilities")
    case.add_argument(
        "--boxes-per-image",
        type=command_line.objects,
        default=_BOXES_PER_IMAGE,
        help="YOLOv3: objects of an image (default: %(default)s)",
    )
    case.add_argument("--class-focal", action="store_true", help="YOLOv3: focal class loss, which covers every cell")
    case.add_argument(
        "--seed", type=command_line.seed, default=0, help="of the data and of the order (default: %(default)s)"
    )
    what = parser.add_argument_group("what is measured")
    what.add_argument("--implementation", **_SEVERAL, choices=DEVICE_IMPLEMENTATIONS, help="default: all")
    what.add_argument("--what", **_SEVERAL, choices=PASSES, help="default: both")
    what.add_argument("--no-profile", dest="profile", action="store_false", help="record no launches")
    what.add_argument(
        "--repetitions", type=command_line.calls, default=30, help="timed calls of each (default: %(default)s)"
    )
    output = parser.add_argument_group("output beside the table")
    output.add_argument(
        "--json", type=command_line.json_file, metavar="FILE", help="write the rows, versions and machine"
    )
    output.add_argument(
        "--plot", type=command_line.plot_file, metavar="FILE.png", help="draw the medians (needs matplotlib)"
    )
    return parser


def _chosen(values: Sequence[str] | None, possible: Sequence[str]) -> tuple[str, ...]:
    """The possible values that were asked for, in the usual order; all of them when none was."""
    return tuple(value for value in possible if not values or value in values)
