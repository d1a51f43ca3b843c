"""Puts together the parts of CUDA 12.9 that clang needs, from packages of PyPI: no toolkit has to be installed.

The argument is the folder to make. Nothing happens where it is there already, complete. The packages are those of Linux
on x86-64, byte by byte: whatever index pip asks, what it hands over is taken only if its hash is the one named here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile

from pip_command import pip


@dataclasses.dataclass(frozen=True)
class Package:
    """A wheel, what to take from it, and where to."""

    requirement: str
    sha256: str
    places: dict[str, str]


VERSION = "12.9.86"
# No package of CUDA 12 has fatbinary; CUDA 13's writes its format too.
PACKAGES = (
    Package(
        f"nvidia-cuda-nvcc-cu12=={VERSION}",
        "5d6a0d32fdc7ea39917c20065614ae93add6f577d840233237ff08e9a38f58f0",
        {
            "nvidia/cuda_nvcc/bin/ptxas": "bin/ptxas",
            "nvidia/cuda_nvcc/include/": "include/",
            "nvidia/cuda_nvcc/nvvm/libdevice/": "nvvm/libdevice/",
        },
    ),
    Package(
        "nvidia-cuda-runtime-cu12==12.9.79",
        "25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3",
        {
            "nvidia/cuda_runtime/include/": "include/",
            "nvidia/cuda_runtime/lib/libcudart_static.a": "lib/libcudart_static.a",
        },
    ),
    Package(
        "nvidia-cuda-cccl-cu12==12.9.27",
        "37869e17ce2e1ecec6eddf1927cca0f8c34e64fd848d40453df559091e2d7117",
        {"nvidia/cuda_cccl/include/": "include/"},
    ),
    Package(
        "nvidia-cuda-nvcc==13.0.88",
        "56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03",
        {"nvidia/cu13/bin/fatbinary": "bin/fatbinary"},
    ),
)
# clang includes it whether or not anything draws random numbers.
EMPTY = "include/curand_mtgp32_kernel.h"


class FetchError(Exception):
    """A package is not what it should be."""


def download(package: Package, folder: pathlib.Path) -> pathlib.Path:
    """The package as a wheel in `folder`, which is empty."""
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    subprocess.run(pip("download", *options, package.requirement), check=True)
    return next(folder.glob("*.whl"))


def verify(wheel: pathlib.Path, sha256: str) -> None:
    """Raises `FetchError` unless the wheel has the hash."""
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != sha256:
        raise FetchError(f"{wheel.name}: expected SHA-256 {sha256}, got {found}")


def extract(wheel: pathlib.Path, places: dict[str, str], folder: pathlib.Path) -> None:
    """Copies the files whose names start with a key of `places` to where its value says.

    Raises:
      FetchError: there are none, or the wheel has a member that could end up elsewhere.
    """
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            check_member(wheel, member)
        for source, target in places.items():
            names = [name for name in archive.namelist() if name.startswith(source) and not name.endswith("/")]
            if not names:
                raise FetchError(f"{wheel.name}: expected {source}, got none")
            for name in names:
                path = folder / (target + name.removeprefix(source))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(name))


def check_member(wheel: pathlib.Path, member: zipfile.ZipInfo) -> None:
    """Raises `FetchError` unless the member is a file or a folder below the one that a wheel is unpacked to."""
    kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the archive does not tell
    path = pathlib.PurePosixPath(member.filename)
    if (
        path.is_absolute()
        or ".." in path.parts
        or "\\" in member.filename
        or kind not in (0, stat.S_IFREG, stat.S_IFDIR)
    ):
        raise FetchError(f"{wheel.name}: expected files inside of it, got {member.filename}")


def main() -> None:
    """Downloads, checks, unpacks, and renames to the folder asked for, so that it is complete or not there."""
    target = pathlib.Path(sys.argv[1])
    if (target / "version.txt").is_file() and (target / "version.txt").read_text() == VERSION:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        root = pathlib.Path(scratch) / "cuda"
        for number, package in enumerate(PACKAGES):
            wheel = download(package, pathlib.Path(scratch) / str(number))
            verify(wheel, package.sha256)
            extract(wheel, package.places, root)
        (root / EMPTY).touch()
        for program in (root / "bin").iterdir():
            program.chmod(0o755)
        (root / "version.txt").write_text(VERSION)
        shutil.rmtree(target, ignore_errors=True)
        root.rename(target)


if __name__ == "__main__":
    try:
        main()
    except (subprocess.CalledProcessError, FetchError) as error:
        sys.exit(f"fetch_cuda12: {error}")
