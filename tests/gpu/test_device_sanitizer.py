"""compute-sanitizer finds nothing in the CUDA kernels: no access out of bounds, no race, no barrier that some miss."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.gpu

_FOLDER = pathlib.Path(__file__).resolve().parent
_FOUND_SOMETHING = 99
_USUAL_FOLDERS = ("/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer")


def sanitizer() -> str | None:
    return shutil.which("compute-sanitizer", path=os.pathsep.join([os.environ.get("PATH", ""), *_USUAL_FOLDERS]))


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_small_cases(tool):
    program = sanitizer()
    if program is None:
        pytest.skip("compute-sanitizer, which comes with the CUDA toolkit, is not on the PATH")
    paths = [str(_FOLDER.parent), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        # Every tensor an allocation of its own, or accesses beyond one would end up in the next.
        "PYTORCH_NO_CUDA_MEMORY_CACHING": "1",
    }
    done = subprocess.run(
        [
            program, "--tool", tool, "--error-exitcode", str(_FOUND_SOMETHING), "--print-limit", "20",
            sys.executable, str(_FOLDER / "sanitized_cases.py"),
        ],
        env=environment, capture_output=True, text=True, timeout=800, check=False,
    )  # fmt: skip
    output = f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    if "Device not supported" in output:
        pytest.skip("compute-sanitizer does not support this machine's device")
    assert done.returncode == 0, output
    assert "ERROR SUMMARY: 0 errors" in output or "RACECHECK SUMMARY: 0 hazards" in output, output
    counts = next(json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    assert min(counts.values()) > 0
