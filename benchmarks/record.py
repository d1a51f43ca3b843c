"""Measures what the README's tables show: `make benchmark`. Writes JSON, and the plot, beside this file.

A quiet machine takes a quarter of an hour, most of it XLA compiling the original.
"""

from __future__ import annotations

import pathlib
import sys

from detloss.benchmark.command import main as benchmark

FOLDER = pathlib.Path(__file__).resolve().parent
RUNS = {
    "ssd_loss_cpu": ["--preset", "ssd300-voc", "ssd300-coco", "--mode", "graph", "xla"],
    "ssd_loss_cpu_logits": ["--preset", "ssd300-voc", "ssd300-coco", "--from-logits", "--mode", "graph", "xla"],
}


def main() -> int:
    """Runs the chosen recordings, all by default; returns the exit status of the first that fails."""
    for name in sys.argv[1:] or RUNS:
        output = ["--json", str(FOLDER / f"{name}.json"), "--plot", str(FOLDER / f"{name}.png")]
        status = benchmark([*RUNS[name], "--batch", "32", "--threads", "2", *output])
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
