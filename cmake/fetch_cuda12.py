"""Puts together the parts of CUDA 12.9 that clang needs, from packages of PyPI: no toolkit has to be installed.

The argument is the folder to make. Nothing happens where it is there already, complete.
"""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

VERSION = "12.9.86"
# Per package, what to take from it, and where to. No package of CUDA 12 has fatbinary; CUDA 13's writes its format too.
PARTS = {
    f"nvidia-cuda-nvcc-cu12=={VERSION}": {
        "nvidia/cuda_nvcc/bin/ptxas": "bin/ptxas",
        "nvidia/cuda_nvcc/include/": "include/",
        "nvidia/cuda_nvcc/nvvm/libdevice/": "nvvm/libdevice/",
    },
    "nvidia-cuda-runtime-cu12==12.9.79": {
        "nvidia/cuda_runtime/include/": "include/",
        "nvidia/cuda_runtime/lib/libcudart_static.a": "lib/libcudart_static.a",
    },
    "nvidia-cuda-cccl-cu12==12.9.27": {"nvidia/cuda_cccl/include/": "include/"},
    "nvidia-cuda-nvcc==13.0.88": {"nvidia/cu13/bin/fatbinary": "bin/fatbinary"},
}
# clang includes it whether or not anything draws random numbers.
EMPTY = "include/curand_mtgp32_kernel.h"


def download(folder: pathlib.Path) -> list[pathlib.Path]:
    """The packages as wheels in `folder`, in the order of `PARTS`."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    wheels = []
    for package in PARTS:
        into = folder / package
        subprocess.run([*command, "--only-binary", ":all:", "--dest", str(into), package], check=True)
        wheels.append(next(into.glob("*.whl")))
    return wheels


def extract(wheel: pathlib.Path, places: dict[str, str], folder: pathlib.Path) -> None:
    """Copies the files whose names start with a key of `places` to where its value says."""
    with zipfile.ZipFile(wheel) as archive:
        for source, target in places.items():
            names = [name for name in archive.namelist() if name.startswith(source) and not name.endswith("/")]
            if not names:
                raise FileNotFoundError(f"{wheel.name} has no {source}")
            for name in names:
                path = folder / (target + name.removeprefix(source))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(name))


def main() -> None:
    """Downloads, unpacks, and renames to the folder asked for, so that it is complete or not there."""
    target = pathlib.Path(sys.argv[1])
    if (target / "version.txt").is_file() and (target / "version.txt").read_text() == VERSION:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        root = pathlib.Path(scratch) / "cuda"
        for wheel, places in zip(download(pathlib.Path(scratch)), PARTS.values(), strict=True):
            extract(wheel, places, root)
        (root / EMPTY).touch()
        for program in (root / "bin").iterdir():
            program.chmod(0o755)
        (root / "version.txt").write_text(VERSION)
        shutil.rmtree(target, ignore_errors=True)
        root.rename(target)


if __name__ == "__main__":
    try:
        main()
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        sys.exit(f"fetch_cuda12: {error}")
