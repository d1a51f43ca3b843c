"""Measures what the README's tables show: `make benchmark`. Writes JSON, and the plot, beside this file.

A quiet machine takes a quarter of an hour, most of it XLA compiling the original.
"""

from __future__ import annotations

import pathlib
import sys

from detloss.benchmark.command import main as benchmark

FOLDER = pathlib.Path(__file__).resolve().parent
CASES = ["--preset", "ssd300-voc", "ssd300-coco", "--batch", "32", "--threads", "2", "--mode", "graph", "xla"]
RUNS = {
    "ssd_loss_cpu": [*CASES, "--what", "forward_backward"],
    "ssd_loss_cpu_logits": [*CASES, "--what", "forward_backward", "--from-logits"],
}


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
