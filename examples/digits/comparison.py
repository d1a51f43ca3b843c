"""Trains one kind of detector with two implementations of its loss, compares the two runs and reports.

Both runs start from the same weights and see the same batches, so that only the rounding inside the loss differs.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

import detloss
from digits import pictures
from digits.boxes import Detections
from digits.canvases import Canvas, canvases, load_digit_images
from digits.detector import Detector, images_of
from digits.mean_average_precision import mean_average_precision
from digits.step_timing import StepTime, time_steps
from digits.training import Recipe, TrainedDetector, train

_LAST_STEPS = 10
_SHOWN_SCORE = 0.5
_SHOWN_CANVASES = 8


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run and what is reported about it."""

    trained: TrainedDetector
    detections: list[Detections]
    mean_average_precision: float
    time: StepTime

    def as_json(self) -> dict[str, Any]:
        """The numbers of the report."""
        return {
            "mean_average_precision_at_iou_0.5": self.mean_average_precision,
            "training_seconds": self.trained.seconds,
            "step_ms_median": self.time.step_ms,
            "loss_forward_backward_ms_median": self.time.loss_ms,
            "loss_share_of_step": self.time.share,
            "losses": self.trained.losses.tolist(),
        }


def argument_parser(description: str) -> argparse.ArgumentParser:
    """The command line of the training programs; `set_defaults` adapts it."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder to write to")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of each run")
    parser.add_argument("--steps-per-epoch", type=int, default=40, help="batches per epoch")
    parser.add_argument("--batch-size", type=int, default=32, help="canvases per batch")
    parser.add_argument("--learning-rate", type=float, default=3e-3, help="Adam's learning rate at the start")
    parser.add_argument("--held-out", type=int, default=300, help="canvases to evaluate on")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights and the canvases")
    parser.add_argument("--require-map", type=float, default=0.7, help="least mAP@0.5 of the fused run")
    return parser


def compare(detector: Detector, losses: Mapping[str, Any], options: argparse.Namespace) -> int:
    """Trains `detector` with each of `losses`, writes pictures and report, prints a summary.

    Args:
      detector: the kind of detector.
      losses: `reference` and `fused`.
      options: as `argument_parser` reads them.

    Returns:
      The exit status: 1 if the fused run finds too few digits, else 0.
    """
    recipe = Recipe(options.epochs, options.steps_per_epoch, options.batch_size, options.learning_rate, options.seed)
    console = Console()
    # A sum that changes its order from run to run would hide what the losses' rounding does.
    tf.config.experimental.enable_op_determinism()
    train_digits, test_digits = load_digit_images(seed=options.seed)
    # Another seed than the training's, or the first canvases would share their backgrounds and places.
    held_out = list(itertools.islice(canvases(test_digits, options.seed + 1), options.held_out))
    console.print(
        f"Canvases from {len(train_digits.images)} digit images; evaluation on {len(held_out)} canvases "
        f"from {len(test_digits.images)} other ones."
    )

    with progress_bar(console) as progress:
        trained = {
            name: train(detector, loss, train_digits, recipe, progress, f"{name} loss") for name, loss in losses.items()
        }
    images = images_of(held_out)
    found = {name: detector.decode(result.model.predict(images, verbose=0)) for name, result in trained.items()}
    times = time_steps(
        detector, losses, trained, list(itertools.islice(canvases(train_digits, recipe.seed), recipe.batch_size))
    )
    runs = {
        name: Run(trained[name], found[name], mean_average_precision(found[name], held_out), times[name])
        for name in losses
    }

    options.output.mkdir(parents=True, exist_ok=True)
    write_pictures(options.output, runs, held_out)
    write_report(options.output / "report.json", runs, options)
    print_summary(console, runs, held_out)
    console.print(f"Pictures and report: {options.output}")

    reached = runs["fused"].mean_average_precision
    if reached < options.require_map:
        print(f"mAP@0.5 of the fused run: expected at least {options.require_map}, got {reached:.3f}", file=sys.stderr)
        return 1
    return 0


def progress_bar(console: Console) -> Progress:
    """A bar with the loss of the last batch."""
    return Progress(
        TextColumn("{task.description:>14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:6.3f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        refresh_per_second=4,
    )


def loss_differences(runs: dict[str, Run]) -> np.ndarray:
    """How far apart the two runs' losses are at every step."""
    return np.abs(runs["reference"].trained.losses - runs["fused"].trained.losses)


def write_pictures(folder: Path, runs: dict[str, Run], held_out: Sequence[Canvas]) -> None:
    """Writes the loss curves of both runs and the first held-out canvases with what the fused run found."""
    curves = {name: run.trained.losses for name, run in runs.items()}
    pictures.save_loss_curves(folder / "loss_curves.png", **curves)
    fused = runs["fused"]
    pictures.save_detections(
        folder / "detections.png",
        held_out[:_SHOWN_CANVASES],
        [found.above(_SHOWN_SCORE) for found in fused.detections[:_SHOWN_CANVASES]],
        f"Trained with the fused loss: mAP@0.5 {fused.mean_average_precision:.3f} on {len(held_out)} held-out canvases",
    )


def write_report(path: Path, runs: dict[str, Run], options: argparse.Namespace) -> None:
    """Writes all numbers, with versions and options, as JSON."""
    report = {
        "versions": {"detloss": detloss.__version__, "tensorflow": tf.__version__, "keras": keras.__version__},
        "cpu_count": os.cpu_count(),
        "options": {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()},
        "largest_loss_difference": float(loss_differences(runs).max()),
        "runs": {name: run.as_json() for name, run in runs.items()},
    }
    path.write_text(json.dumps(report, indent=2) + "\n")


def print_summary(console: Console, runs: dict[str, Run], held_out: Sequence[Canvas]) -> None:
    """Prints the comparison as a table."""
    table = Table(title="The same detector, trained with two implementations of one loss", title_justify="left")
    table.add_column()
    for name in runs:
        table.add_column(f"{name} loss", justify="right")
    for label, text in (
        ("training, with drawing the canvases", lambda run: f"{run.trained.seconds:.1f} s"),
        ("training step, median", lambda run: f"{run.time.step_ms:.1f} ms"),
        ("loss alone, forward and backward, median", lambda run: f"{run.time.loss_ms:.2f} ms"),
        ("loss's share of the step", lambda run: f"{run.time.share:.1%}"),
        (f"mean loss of the last {_LAST_STEPS} steps", lambda run: f"{run.trained.losses[-_LAST_STEPS:].mean():.4f}"),
        (f"mAP@0.5 on {len(held_out)} held-out canvases", lambda run: f"{run.mean_average_precision:.3f}"),
    ):
        table.add_row(label, *(text(run) for run in runs.values()))
    console.print(table)

    differences = loss_differences(runs)
    worst = int(differences.argmax())
    loss = runs["reference"].trained.losses[worst]
    console.print(
        f"Largest difference between the loss curves: {differences[worst]:.2g} at step {worst + 1}, where the loss is "
        f"{loss:.2f}. At the first step, from equal weights, it is {differences[0]:.2g}: the losses differ by "
        "rounding, and training amplifies that."
    )
