"""Measures what the README's tables show: `make benchmark`. Writes JSON, and the plot, beside this file.

A quiet machine takes half an hour, most of it XLA compiling the original SSD loss.
"""

from __future__ import annotations

import pathlib
import sys

from detloss.benchmark.command import main as benchmark

FOLDER = pathlib.Path(__file__).resolve().parent
STEPS = ["--threads", "2", "--mode", "graph", "xla", "--what", "forward_backward"]
SSD = ["--preset", "ssd300-voc", "ssd300-coco", "--batch", "32", *STEPS]
YOLOV3 = ["--preset", "yolov3-416-coco", *STEPS]
RUNS = {
    "ssd_loss_cpu": SSD,
    "ssd_loss_cpu_logits": [*SSD, "--from-logits"],
    "yolov3_loss_cpu": [*YOLOV3, "--batch", "8", "32", "--boxes-per-image", "20"],
    "yolov3_loss_cpu_crowded": [
        *YOLOV3, "--batch", "8", "--boxes-per-image", "100", "--implementation", "fused", "reference",
    ],
}  # fmt: skip


def main() -> int:
    """Runs the chosen recordings, all by default; returns the exit status of the first that fails."""
    for name in sys.argv[1:] or RUNS:
        output = ["--json", str(FOLDER / f"{name}.json"), "--plot", str(FOLDER / f"{name}.png")]
        status = benchmark([*RUNS[name], *output])
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
