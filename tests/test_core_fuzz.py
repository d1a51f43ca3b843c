"""Whatever `detloss._core` is called with, it returns or raises: in a child process, which a crash would end."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

CHILD = pathlib.Path(__file__).resolve().parent / "children" / "fuzz_core.py"


def test_hostile_arguments(tmp_path: pathlib.Path) -> None:
    last = tmp_path / "last"
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", CHILD, "300", last],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{last.read_text()}\n{done.stderr[-4000:]}"
    assert '"ssd_loss_forward: returned"' in done.stdout
