"""The command `detloss-benchmark`."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from detloss.benchmark import command_line, machine, paddle_peer
from detloss.benchmark.choices import DEVICES, DTYPES, IMPLEMENTATIONS, MODES, PASSES, PEER_MODE, PEERS
from detloss.benchmark.presets import COARSEST_STRIDE, PRESETS, Preset, SSDPreset, YOLOv3Preset

if TYPE_CHECKING:
    from detloss.benchmark.case import Case

_DESCRIPTION = (
    "Checks that the fused loss, its plain TensorFlow reference and the original agree, then times them in turns and "
    "measures their peak memory."
)
_DEFAULT_PRESET = "ssd300-voc"
_DEFAULT_BATCH = 32
_DEFAULT_BOXES_PER_IMAGE = 20
# Options of one kind of preset, and the kinds that take them. Each has `None` or nothing where it is not given.
_OPTIONS_OF = {
    "SSD": (SSDPreset, ("boxes", "from_logits")),
    "YOLOv3": (YOLOv3Preset, ("image_size", "boxes_per_image", "class_focal", "against")),
}
# Options that replace a field of a preset.
_SIZES = ("boxes", "image_size", "classes")
# Both `--mode graph xla` and `--mode graph --mode xla`.
_SEVERAL: dict[str, Any] = {"nargs": "+", "action": "extend"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark with the given or the process's arguments; returns the exit status.

    0: measured; 1: the implementations disagree; 2: what was asked for cannot be measured here, or not be written.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    presets = _presets(parser, options)
    command_line.check_output_files(parser, options)
    # TensorFlow's messages would tear the progress bar; what goes wrong is raised as well as logged.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return command_line.run_command("detloss-benchmark", lambda: _run(options, presets))


def _run(options: argparse.Namespace, presets: Sequence[Preset]) -> None:
    from detloss.benchmark import plot

    if options.plot:
        plot.check_available()
    if "paddle" in options.against:
        paddle_peer.load()
    messages = Console(stderr=True)
    with messages.status("loading TensorFlow"):
        from detloss.benchmark import report, session

    settings = session.Settings(
        implementations=_chosen(options.implementation, IMPLEMENTATIONS),
        modes=_chosen(options.mode, MODES),
        passes=_chosen(options.what, PASSES),
        device=options.device,
        threads=options.threads or machine.usable_cores(),
        batches=options.batches,
        repetitions=options.repetitions,
        seed=options.seed,
        memory=options.memory,
        peers=tuple(dict.fromkeys(options.against)),
    )
    cases = [
        _case(preset, batch, options)
        for preset in presets
        for batch in dict.fromkeys(options.batch or [_DEFAULT_BATCH])
    ]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=messages) as progress:
        results = session.measure(cases, settings, progress)
    # A pipe or a file has no width of its own: one that the tables fit into.
    report.print_results(results, Console(width=None if sys.stdout.isatty() else 120))
    if options.json:
        with command_line.writing("--json"):
            results.write_json(options.json)
    if options.plot:
        with command_line.writing("--plot"):
            plot.write_plot(results, options.plot)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("detloss-benchmark", description=_DESCRIPTION)
    case = parser.add_argument_group("case")
    case.add_argument(
        "--preset",
        **_SEVERAL,
        choices=PRESETS,
        metavar="PRESET",
        help=f"{', '.join(PRESETS)} (default: {_DEFAULT_PRESET})",
    )
    case.add_argument(
        "--batch", **_SEVERAL, type=command_line.images, help=f"images in a batch (default: {_DEFAULT_BATCH})"
    )
    case.add_argument("--dtype", choices=DTYPES, default="float32", help="of the predictions (default: %(default)s)")
    case.add_argument("--classes", type=command_line.classes, help="replaces the preset's classes, for a quick check")
    case.add_argument(
        "--seed", type=command_line.seed, default=0, help="of the data and of the order (default: %(default)s)"
    )
    ssd = parser.add_argument_group("case, SSD presets only")
    ssd.add_argument("--from-logits", action="store_true", help="predictions are logits, not softmax probabilities")
    ssd.add_argument("--boxes", type=command_line.boxes, help="replaces the preset's boxes, for a quick check")
    yolov3 = parser.add_argument_group("case, YOLOv3 presets only")
    yolov3.add_argument(
        "--boxes-per-image",
        type=command_line.objects,
        help=f"objects of an image (default: {_DEFAULT_BOXES_PER_IMAGE})",
    )
    yolov3.add_argument("--class-focal", action="store_true", help="focal class loss, which covers every cell")
    yolov3.add_argument(
        "--image-size", type=command_line.pixels, help="replaces the preset's image size, for a quick check"
    )
    yolov3.add_argument(
        "--against", **_SEVERAL, default=[], choices=PEERS, help="also times another framework's loss, not compared"
    )
    what = parser.add_argument_group("what is measured")
    what.add_argument("--implementation", **_SEVERAL, choices=IMPLEMENTATIONS, help="default: all")
    what.add_argument("--mode", **_SEVERAL, choices=MODES, help="default: all")
    what.add_argument("--what", **_SEVERAL, choices=PASSES, help="default: both")
    what.add_argument(
        "--no-memory", dest="memory", action="store_false", help="skip the peak memory, a process for each"
    )
    how = parser.add_argument_group("how")
    how.add_argument("--device", choices=DEVICES, default="cpu", help="default: %(default)s")
    how.add_argument(
        "--threads", type=command_line.threads, help="TensorFlow's intra-op threads (default: the usable cores)"
    )
    how.add_argument(
        "--batches",
        type=command_line.calls,
        default=3,
        help="a timed call steps over so many batches (default: %(default)s)",
    )
    how.add_argument(
        "--repetitions", type=command_line.calls, default=30, help="timed calls of each (default: %(default)s)"
    )
    output = parser.add_argument_group("output beside the table")
    output.add_argument(
        "--json", type=command_line.json_file, metavar="FILE", help="write the rows, versions and machine"
    )
    output.add_argument(
        "--plot", type=command_line.plot_file, metavar="FILE.png", help="draw the medians (needs detloss[plot])"
    )
    return parser


def _presets(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[Preset]:
    presets = [PRESETS[name] for name in dict.fromkeys(options.preset or [_DEFAULT_PRESET])]
    for kind, (preset_type, names) in _OPTIONS_OF.items():
        others = [preset.name for preset in presets if not isinstance(preset, preset_type)]
        given = [_flag(name) for name in names if getattr(options, name)]
        if given and others:
            parser.error(f"{', '.join(given)}: expected {kind} presets only, got {' '.join(others)}")
    _check_peers(parser, options)
    size = {name: getattr(options, name) for name in _SIZES if getattr(options, name) is not None}
    if not size:
        return presets
    if len(presets) > 1:
        parser.error(f"{', '.join(map(_flag, size))}: expected one --preset to change, got {len(presets)}")
    _check_size(parser, presets[0], size)
    return [dataclasses.replace(presets[0], name="custom", **size)]


def _check_size(parser: argparse.ArgumentParser, preset: Preset, size: dict[str, int]) -> None:
    if isinstance(preset, SSDPreset) and size.get("classes") == 1:
        parser.error("--classes: expected at least 2, background and one more, got 1")
    if size.get("image_size", COARSEST_STRIDE) % COARSEST_STRIDE != 0:
        parser.error(f"--image-size: expected a multiple of {COARSEST_STRIDE}, got {size['image_size']}")


def _check_peers(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.against and PEER_MODE not in (options.mode or MODES):
        parser.error(
            f"--against: expected {PEER_MODE} among --mode, as {options.against[0]} runs, got {' '.join(options.mode)}"
        )
    if options.against and options.device != "cpu":
        parser.error(f"--against: expected --device cpu, got {options.device}")


def _case(preset: Preset, batch: int, options: argparse.Namespace) -> Case:
    if isinstance(preset, SSDPreset):
        return preset.case(batch, options.dtype, options.from_logits)
    boxes_per_image = options.boxes_per_image or _DEFAULT_BOXES_PER_IMAGE
    return preset.case(batch, options.dtype, boxes_per_image, options.class_focal)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _chosen(values: Sequence[str] | None, possible: Sequence[str]) -> tuple[str, ...]:
    """The possible values that were asked for, in the usual order; all of them when none was."""
    return tuple(value for value in possible if not values or value in values)
