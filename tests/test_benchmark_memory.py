"""The child process that measures peak memory: from where it imports."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from detloss.benchmark import memory
from detloss.benchmark.presets import SSDPreset

CASE = SSDPreset("small", boxes=400, classes=5).case(2, "float32", from_logits=False)
REQUEST = memory.MemoryRequest(CASE, "fused", "graph", ("forward",), device="cpu", threads=1, seed=0)


def plant(folder: pathlib.Path, *names: str) -> None:
    for name in names:
        (folder / f"{name}.py").write_text(f"raise SystemExit('planted {name} was imported')")


def test_nothing_is_imported_from_the_working_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "detloss", "tensorflow", "numpy", "json", "runpy", "pickle", "sitecustomize", "usercustomize")
    monkeypatch.chdir(tmp_path)
    peaks = memory.peak_mib(REQUEST)
    assert peaks.keys() == {"forward"}
    assert 0 <= peaks["forward"] < 100


def run(arguments: list[str], folder: pathlib.Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", memory._RUN, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("safe", [{}, {"PYTHONSAFEPATH": "1"}], ids=["usual", "safe path"])
def test_pythonpath_counts_and_the_package_comes_last(tmp_path: pathlib.Path, safe: dict[str, str]) -> None:
    here, named, package = (tmp_path / name for name in ("here", "named", "package"))
    for folder in (here, named, package):
        folder.mkdir()
    plant(here, "measured", "helper", "runpy", "other")
    (named / "helper.py").write_text("name = 'of PYTHONPATH'")
    (package / "helper.py").write_text("name = 'of the package'")
    (package / "other.py").write_text("name = 'of the package'")
    (package / "measured.py").write_text("import helper, other; print(helper.name, other.name, __name__, sep=', ')")
    found = run(["measured", str(package)], here, PYTHONPATH=str(named), **safe)
    assert found == "of PYTHONPATH, of the package, __main__\n"
