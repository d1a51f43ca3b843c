"""The layer rules, as far as the text of the sources shows them."""

from __future__ import annotations

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
# What waits for a device, or may: a copy from pageable memory does, and so do allocations.
WAITING = re.compile(
    r"\b(cu(da)?\w*Synchronize|cuda\w*Query|cu(da)?Memcpy\w*|cudaMemset|cu(da)?(Malloc|Free|MemAlloc|MemFree)\w*"
    r"|cudaHostAlloc|BlockHostUntilDone)\b"
)
FOREIGN = re.compile(r'#\s*include\s*[<"](tensorflow|xla|tsl|absl|pybind11|Python|ops|Eigen|unsupported)\b')


def sources(folder: str, *endings: str) -> list[pathlib.Path]:
    found = [path for ending in endings for path in sorted((ROOT / folder).rglob(f"*{ending}"))]
    assert found, f"no sources in {folder}"
    return found


@pytest.mark.parametrize("path", sources("cc", ".h", ".cc", ".cu", ".cuh"), ids=lambda path: path.name)
def test_kernels_know_no_framework_and_never_throw(path: pathlib.Path) -> None:
    code = re.sub(r"//.*", "", path.read_text())
    assert not FOREIGN.search(code)
    assert not re.search(r"\b(throw|try|catch)\b", code)


@pytest.mark.parametrize(
    "path", sources("cc", ".h", ".cc", ".cu", ".cuh") + sources("ops", ".h", ".cc"), ids=lambda path: path.name
)
def test_nothing_waits_for_a_device(path: pathlib.Path) -> None:
    assert not WAITING.search(path.read_text())


@pytest.mark.parametrize("path", sources("ops", ".h", ".cc"), ids=lambda path: path.name)
def test_ops_hold_no_maths(path: pathlib.Path) -> None:
    assert not re.search(r"#\s*include\s*<(cmath|math\.h|algorithm|numeric)>", path.read_text())


@pytest.mark.parametrize("path", sources("python/detloss", ".py"), ids=lambda path: path.name)
def test_only_the_op_wrappers_call_the_library(path: pathlib.Path) -> None:
    if path.parent.name != "ops":
        assert "library.ops" not in path.read_text()
        assert "raw_ops" not in path.read_text()


@pytest.mark.parametrize("path", sources("python/detloss/ops", ".py"), ids=lambda path: path.name)
def test_op_wrappers_know_no_keras(path: pathlib.Path) -> None:
    assert not re.search(r"^\s*(import|from) (tf_)?keras\b", path.read_text(), re.MULTILINE)
