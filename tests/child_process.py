"""Runs the scripts of `tests/children`, each in a fresh Python process."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

_TESTS = pathlib.Path(__file__).resolve().parent


def run(script: str, *arguments: object) -> Any:
    """What its last line of output says in JSON; fails with its standard error.

    The child finds the test modules, and everything that this process was told to find, on its path.
    """
    path = os.pathsep.join(filter(None, [str(_TESTS), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, str(_TESTS / "children" / script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{script} failed:\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])


@functools.cache
def weights_on_one_device_and_on_two(keras: str) -> dict[str, tuple[list[float], list[float]]]:
    """The trained weights of each case of `train_on_replicas.py`."""
    return {case: tuple(weights) for case, weights in run("train_on_replicas.py", keras).items()}
