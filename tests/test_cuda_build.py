"""The build's choices about CUDA: what it says where a compiler is missing, and CUDA 12 kernels by clang alone.

That the wheel under test has CUDA kernels where nvcc is found is in test_package.py.
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Kept between runs, as the builds of `make` are, for the sake of the 85 MB that it fetches.
BUILD = ROOT / "build" / "test-cuda12"
# The programs of the environment that pytest runs in come first. One try per package tells whether there is a network.
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "PIP_RETRIES": "1",
}
ENVIRONMENT.pop("CUDACXX", None)
NO_NVCC = {"CUDACXX": "/nowhere/nvcc"}

pytestmark = pytest.mark.skipif(
    not all(shutil.which(program, path=ENVIRONMENT["PATH"]) for program in ("cmake", "ninja", "c++")),
    reason="building needs cmake, ninja and a C++ compiler",
)


def run(*command: str | pathlib.Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env={**ENVIRONMENT, **environment}, capture_output=True, text=True, timeout=600)


def configure(build: pathlib.Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["cmake", f"-S{ROOT}", f"-B{build}", "-GNinja", "-DDETLOSS_PYTHON=OFF"]
    return run(*command, f"-DPython_EXECUTABLE={sys.executable}", *options, **environment)


def words(text: str) -> str:
    """CMake wraps its messages."""
    return " ".join(text.split())


def test_auto_without_nvcc_leaves_the_kernels_out_and_says_so(tmp_path: pathlib.Path) -> None:
    done = configure(tmp_path, **NO_NVCC)
    assert done.returncode == 0, done.stderr
    assert "detloss: CUDA kernels left out: no nvcc was found" in words(done.stdout)


def test_on_without_nvcc_says_what_is_missing(tmp_path: pathlib.Path) -> None:
    done = configure(tmp_path, "-DDETLOSS_CUDA=ON", **NO_NVCC)
    assert done.returncode != 0
    assert "DETLOSS_CUDA=ON: no nvcc was found" in words(done.stderr)
    assert "DETLOSS_CUDA_TOOLKIT=12" in words(done.stderr)


def test_toolkit_12_without_clang_says_what_to_install(tmp_path: pathlib.Path) -> None:
    done = configure(tmp_path, "-DDETLOSS_CUDA_TOOLKIT=12", "-DDETLOSS_CLANG=/nowhere/clang++")
    assert done.returncode != 0
    assert "expected clang++ 18 or newer, found /nowhere/clang++" in words(done.stderr)
    assert "apt-get install clang-19" in words(done.stderr)


@pytest.mark.parametrize(
    "option, message",
    [
        ("-DDETLOSS_CUDA=MAYBE", "DETLOSS_CUDA: expected AUTO, ON or OFF, got MAYBE"),
        ("-DDETLOSS_CUDA_TOOLKIT=11", "DETLOSS_CUDA_TOOLKIT: expected 12 or nothing, got 11"),
    ],
)
def test_unknown_choice_is_refused(option: str, message: str, tmp_path: pathlib.Path) -> None:
    assert message in words(configure(tmp_path, option).stderr)


def fetch_toolkit() -> None:
    done = run(sys.executable, ROOT / "cmake" / "fetch_cuda12.py", BUILD / "cuda-12.9")
    if done.returncode != 0 and re.search("connection|timed out|from versions: none", done.stderr, re.IGNORECASE):
        pytest.skip("fetching the parts of CUDA 12.9 needs a network")
    assert done.returncode == 0, done.stderr


def images(fatbin: bytes) -> list[tuple[str, int, int]]:
    """Kind, architecture and flags of what a fat binary holds; clang and nvcc write the same headers."""
    magic, _, position, _ = struct.unpack_from("<IHHQ", fatbin)
    assert magic == 0xBA55ED50
    found = []
    while position < len(fatbin):
        kind, _, header, size = struct.unpack_from("<HHIQ", fatbin, position)
        architecture, flags = struct.unpack_from("<I8xQ", fatbin, position + 28)
        found.append(({1: "ptx", 2: "elf"}[kind], architecture, flags))
        position += header + size
    return found


def link(object_file: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """A library of the kernels, for the sake of which one function of the host is enough."""
    source, library = folder / "host.cc", folder / "libprobe.so"
    source.write_text("""
#include "cc/yolo_ignore_mask.h"
namespace detloss {
Status CheckIgnoreOptions(const IgnoreOptions&) { return Status::Ok(); }
}
""")
    cudart = BUILD / "cuda-12.9" / "lib" / "libcudart_static.a"
    flags = ["-std=c++17", "-shared", "-fPIC", f"-I{ROOT}", "-DDETLOSS_HAS_CUDA=1", "-Wl,--no-undefined"]
    done = run("c++", *flags, "-o", library, source, object_file, cudart, "-ldl", "-lrt", "-lpthread")
    assert done.returncode == 0, done.stderr
    return library


def clang() -> str:
    for version in (19, 20, 21, 18):
        if found := shutil.which(f"clang++-{version}"):
            return found
    pytest.skip("CUDA 12 kernels need clang, as in apt-get install clang-19")


@pytest.mark.parametrize("source", sorted((ROOT / "cc").glob("*.cu")), ids=lambda path: path.name)
def test_clang_takes_every_kernel(source: pathlib.Path) -> None:
    compiler = clang()
    fetch_toolkit()
    flags = ["-x", "cuda", f"--cuda-path={BUILD / 'cuda-12.9'}", "-Wno-unknown-cuda-version", "-std=c++17", f"-I{ROOT}"]
    done = run(
        compiler, *flags, "--cuda-device-only", "--cuda-gpu-arch=sm_75", "-Wall", "-Werror", "-fsyntax-only", source
    )
    assert done.returncode == 0, done.stderr


def test_cuda_12_kernels_by_clang(tmp_path: pathlib.Path) -> None:
    clang()
    fetch_toolkit()
    done = configure(
        BUILD, "-DDETLOSS_CUDA_TOOLKIT=12", "-DDETLOSS_CUDA_ARCHITECTURES=75;90", "-DDETLOSS_CUDA_WERROR=ON"
    )
    assert done.returncode == 0, done.stderr
    assert "CUDA kernels for 75;90 (PTX: 90), CUDA 12.9" in words(done.stdout)

    done = run("cmake", "--build", BUILD, "--target", "cuda/yolo_ignore_mask.cu.o")
    assert done.returncode == 0, done.stdout
    found = images((BUILD / "cuda" / "yolo_ignore_mask.cu.fatbin").read_bytes())
    assert [(kind, architecture) for kind, architecture, _ in found] == [("elf", 75), ("elf", 90), ("ptx", 90)]
    # Compressed as TensorFlow 2.21's own kernels are: 0x8000, which CUDA 13 prefers, is too new for drivers of CUDA 12.
    assert {flags & 0xF000 for _, _, flags in found} == {0x2000}

    library = link(BUILD / "cuda" / "yolo_ignore_mask.cu.o", tmp_path)
    assert not re.search(r"NEEDED.*libcuda", run("readelf", "-d", library).stdout)
    ctypes.CDLL(str(library))
