"""The pictures of the comparison: loss curves, and held-out canvases with the boxes found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullFormatter

from digits.boxes import Detections
from digits.canvases import CLASS_NAMES, IMAGE_SIZE, Canvas

_REFERENCE = "#9aa5b1"
_FUSED = "#d1495b"
_DIFFERENCE = "#2f6690"
_CLASS_COLOURS = mpl.colormaps["tab10"].colors


def save_loss_curves(path: Path, reference: np.ndarray, fused: np.ndarray) -> None:
    """Draws the loss per step of both runs, and below it their difference."""
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    losses, differences = figure.subplots(2, sharex=True, height_ratios=(2, 1))
    steps = np.arange(1, len(reference) + 1)
    losses.plot(steps, reference, color=_REFERENCE, linewidth=4, label="reference loss")
    losses.plot(steps, fused, color=_FUSED, linewidth=1, label="fused loss")
    losses.set(yscale="log", ylabel="loss of the batch", title="One training, two implementations of the loss")
    losses.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}", minor_formatter=NullFormatter())
    losses.legend(frameon=False)

    difference = np.abs(reference - fused)
    # A logarithmic axis has no place for the steps at which the runs agree to the last bit.
    differences.plot(steps, np.where(difference > 0, difference, np.nan), ".", color=_DIFFERENCE, markersize=3)
    differences.set(yscale="log", ylabel="|difference|", xlabel="training step", xlim=(0, len(reference)))
    for axes in (losses, differences):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def save_detections(path: Path, canvases: Sequence[Canvas], detections: Sequence[Detections], title: str) -> None:
    """Draws `canvases`, four a row, with the true boxes (dashed) and the boxes found (coloured by class)."""
    rows = -(-len(canvases) // 4)
    figure = Figure(figsize=(12, 3 * rows + 1.0), layout="constrained")
    grid = figure.subplots(rows, 4, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, canvas, found in zip(grid.flat, canvases, detections, strict=False):
        axes.imshow(canvas.image[..., 0], cmap="gray", vmin=0, vmax=1, extent=(0, IMAGE_SIZE, IMAGE_SIZE, 0))
        for box in canvas.boxes:
            _draw_box(axes, box, color="white", linestyle=(0, (2, 2)), linewidth=1.2)
        # The best one last, on top.
        for box, label, score in zip(found.boxes[::-1], found.labels[::-1], found.scores[::-1], strict=True):
            _draw_detection(axes, box, label, score)
        axes.set(xlim=(0, IMAGE_SIZE), ylim=(IMAGE_SIZE, 0))
    figure.suptitle(title)
    figure.legend(
        handles=[
            Line2D([], [], color="#555555", linestyle=(0, (2, 2)), label="true box (white, dashed)"),
            Line2D([], [], color="#555555", linewidth=2, label="box found, with digit and probability"),
        ],
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )
    figure.savefig(path, dpi=110)


def _draw_detection(axes: Axes, box: np.ndarray, label: int, score: float) -> None:
    colour = _CLASS_COLOURS[label]
    _draw_box(axes, box, color=colour, linewidth=2)
    left, top = (box[:2] - box[2:] / 2) * IMAGE_SIZE
    axes.text(
        max(left, 0),
        max(top, 6),
        f"{CLASS_NAMES[label]}  {score:.2f}",
        color="white",
        fontsize=7,
        va="bottom",
        bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.2},
    )


def _draw_box(axes: Axes, box: np.ndarray, **style: object) -> None:
    corner = (box[:2] - box[2:] / 2) * IMAGE_SIZE
    axes.add_patch(Rectangle(corner, *(box[2:] * IMAGE_SIZE), fill=False, **style))
