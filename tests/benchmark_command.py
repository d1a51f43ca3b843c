"""Runs `detloss-benchmark` for its tests, in a process of its own or in this one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from detloss.benchmark import devices

TINY_SSD = ["--boxes", "64", "--classes", "5", "--batch", "2", "--repetitions", "3", "--no-memory"]
TINY_YOLOV3 = [
    "--preset", "yolov3-416-coco", "--image-size", "64", "--classes", "5", "--boxes-per-image", "7", "--batch", "2",
    "--batches", "1", "--repetitions", "3", "--no-memory",
]  # fmt: skip


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DETLOSS_IMPL"}
    return subprocess.run(
        [sys.executable, "-m", "detloss.benchmark", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def prepare_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets `command.main` run beside other tests: TensorFlow's threads are fixed already."""
    monkeypatch.setattr(devices, "configure", lambda device, threads: None)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.delenv("DETLOSS_IMPL", raising=False)
