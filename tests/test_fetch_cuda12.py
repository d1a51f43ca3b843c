"""`cmake/fetch_cuda12.py`: wheels are those that it names, and nothing of them is written elsewhere. No network."""

from __future__ import annotations

import importlib
import pathlib
import re
import stat
import subprocess
import sys
import zipfile
from typing import Any

import pytest

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent / "cmake"
PLACES = {"nvidia/include/": "include/", "nvidia/bin/ptxas": "bin/ptxas"}
GOOD = ["nvidia/include/cuda.h", "nvidia/include/sub/more.h", "nvidia/bin/ptxas", "nvidia/LICENSE"]


@pytest.fixture
def fetch(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("fetch_cuda12")


def make_wheel(folder: pathlib.Path, *extra: str | zipfile.ZipInfo) -> pathlib.Path:
    wheel = folder / "cuda-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in (*GOOD, *extra):
            archive.writestr(name, f"text of {getattr(name, 'filename', name)}")
    return wheel


def link(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


def files(folder: pathlib.Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_only_the_places_are_taken(fetch: Any, tmp_path: pathlib.Path) -> None:
    fetch.extract(make_wheel(tmp_path), PLACES, tmp_path / "cuda")
    assert files(tmp_path / "cuda") == ["bin/ptxas", "include/cuda.h", "include/sub/more.h"]
    assert (tmp_path / "cuda" / "include" / "cuda.h").read_text() == "text of nvidia/include/cuda.h"


@pytest.mark.parametrize(
    "member",
    [
        "nvidia/include/../../../planted.h",
        "nvidia/bin/ptxas/../../../../planted",
        "../planted",
        "/tmp/planted",
        "nvidia/include//../../planted.h",
        "nvidia\\..\\planted",
        link("nvidia/include/link.h"),
        link("nvidia/elsewhere"),
    ],
    ids=lambda member: getattr(member, "filename", member),
)
def test_members_that_end_up_elsewhere_are_refused(fetch: Any, tmp_path: pathlib.Path, member: Any) -> None:
    folder = tmp_path / "some" / "where"
    folder.mkdir(parents=True)
    wheel = make_wheel(tmp_path, member)
    name = re.escape(getattr(member, "filename", member))
    with pytest.raises(fetch.FetchError, match=f"^{wheel.name}: expected files inside of it, got {name}$"):
        fetch.extract(wheel, PLACES, folder / "cuda")
    assert files(tmp_path) == [wheel.name]


def test_a_wheel_without_the_parts_is_refused(fetch: Any, tmp_path: pathlib.Path) -> None:
    wheel = make_wheel(tmp_path)
    with pytest.raises(fetch.FetchError, match=f"{wheel.name}: expected nvidia/lib/, got none"):
        fetch.extract(wheel, {"nvidia/lib/": "lib/"}, tmp_path / "cuda")


def test_another_wheel_of_the_same_name_is_refused(fetch: Any, tmp_path: pathlib.Path) -> None:
    wheel = make_wheel(tmp_path)
    with pytest.raises(fetch.FetchError, match=rf"^{wheel.name}: expected SHA-256 {'0' * 64}, got [0-9a-f]{{64}}$"):
        fetch.verify(wheel, "0" * 64)


def test_nothing_is_unpacked_before_its_hash_is_known(
    fetch: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(package: Any, folder: pathlib.Path) -> pathlib.Path:
        folder.mkdir()
        return make_wheel(folder, "nvidia/include/../../../planted.h")

    monkeypatch.setattr(fetch, "download", download)
    monkeypatch.setattr(sys, "argv", ["fetch_cuda12.py", str(tmp_path / "cuda")])
    with pytest.raises(fetch.FetchError, match="expected SHA-256"):
        fetch.main()
    assert files(tmp_path) == []


def test_every_package_has_a_version_and_a_hash(fetch: Any) -> None:
    for package in fetch.PACKAGES:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+", package.requirement)
        assert re.fullmatch(r"[0-9a-f]{64}", package.sha256)


def test_pip_is_not_imported_from_the_working_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)
    pip = importlib.import_module("pip_command").pip
    for name in ("pip", "runpy", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('planted')")
    done = subprocess.run(pip("--version"), cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("pip ")
