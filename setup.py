"""Builds the two libraries of the package with CMake; everything else is in pyproject.toml."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = pathlib.Path(__file__).resolve().parent


class CMakeBuild(build_ext):
    """Configures, builds and installs with CMake into the wheel, or beside the sources for an editable install."""

    def run(self) -> None:
        prefix = ROOT / "python" if self.inplace else pathlib.Path(self.build_lib).resolve()
        build = ROOT / "build" / f"cmake-{sys.implementation.cache_tag}"
        configure = [
            "cmake",
            f"-S{ROOT}",
            f"-B{build}",
            "-GNinja",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={_pybind11_directory()}",
            *_cuda_options(),
            "-DCMAKE_BUILD_TYPE=Release",
        ]
        # XLA's headers take 2 GB to compile, so that parallel builds are bounded.
        jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", str(min(4, os.cpu_count() or 1)))
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", str(build), "--parallel", jobs], check=True)
        subprocess.run(["cmake", "--install", str(build), "--prefix", str(prefix)], check=True)

    def get_outputs(self) -> list[str]:
        return [str(pathlib.Path(self.build_lib) / "detloss" / name) for name in ("_ops.so", self._core_name())]

    def get_output_mapping(self) -> dict[str, str]:
        return {}

    def _core_name(self) -> str:
        return self.get_ext_filename("_core")


def _cuda_options() -> list[str]:
    """What cmake/DetlossCuda.cmake reads. All are passed always: CMake would remember those of an earlier build."""
    defaults = {
        "DETLOSS_CUDA": "AUTO",
        "DETLOSS_CUDA_TOOLKIT": "",
        "DETLOSS_CUDA_ARCHITECTURES": "",
        "DETLOSS_CUDA_WERROR": "OFF",
    }
    return [f"-D{name}={os.environ.get(name) or default}" for name, default in defaults.items()]


def _pybind11_directory() -> str:
    import pybind11

    return pybind11.get_cmake_dir()


setup(ext_modules=[Extension("detloss._core", sources=[])], cmdclass={"build_ext": CMakeBuild})
