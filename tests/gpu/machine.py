"""Says what this machine has for `make gpu-test` and `make gpu-benchmark`, and what goes without; nothing is installed.

`machine.py` prints it, and fails where nothing could be built or run. `machine.py --cmake` prints how to configure the
build. `machine.py --has NAME` answers by its exit status whether a Python package is there.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig

_ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
_CUDA_FOLDER = pathlib.Path("/usr/local/cuda/bin")
#: Where a pybind11 that was carried along can lie: its wheel, unpacked.
_CARRIED_PYBIND11 = _ROOT / "build" / "pybind11" / "share" / "cmake" / "pybind11"

#: Python packages, and what their absence means.
_REQUIRED = {
    "numpy": "for everything",
    "wrapt": "to import detloss",
    "rich": "for the benchmark",
    "pytest": "for the tests",
    "ml_dtypes": "for the tests",
}
_FRAMEWORKS = {
    "torch": "no tests and no benchmark on PyTorch's tensors",
    "tensorflow": "no tests and no benchmark of the TensorFlow ops",
}
_OPTIONAL = {
    "cupy": "no tests on CuPy's arrays",
    "matplotlib": "no plot",
    "pytest_timeout": "no test is stopped that hangs",
}


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cmake", action="store_true", help="print CMake's arguments")
    parser.add_argument("--has", metavar="NAME", help="whether a Python package is there")
    options = parser.parse_args()
    if options.cmake:
        print(shlex.join(cmake_arguments()))
        return 0
    if options.has:
        return 0 if has(options.has) else 1
    return report()


def report() -> int:
    """Prints what is there; returns how many things are missing that nothing works without."""
    missing = 0

    def line(what: str, found: str | None, without: str, required: bool = False) -> None:
        nonlocal missing
        missing += found is None and required
        print(f"  {what:20} {found or ('MISSING: ' if required else 'not here: ') + without}")

    print(f"GPU machine, {sys.executable}:")
    line("GPU", gpu(), "nvidia-smi finds none", required=True)
    line("nvcc", nvcc(), "neither on the PATH nor in /usr/local/cuda/bin", required=True)
    line("cmake", program("cmake"), "pip's package cmake has it", required=True)
    line("C++ compiler", program("g++") or program("clang++"), "nvcc needs it, too", required=True)
    line("Python.h", python_header(), "the package python3-dev, or one like it, has it", required=True)
    carried = _CARRIED_PYBIND11.relative_to(_ROOT).parts[:2]
    line("pybind11", pybind11(), f"install it, or unpack its wheel so that {'/'.join(carried)} is its folder", True)
    for name, purpose in _REQUIRED.items():
        line(name, version(name), purpose, required=True)
    has_framework = any(map(has, _FRAMEWORKS))
    for name, without in _FRAMEWORKS.items():
        line(name, version(name), without if has_framework else "one of the two is needed", required=not has_framework)
    if has("tensorflow") and not fits(str(version("tensorflow"))):
        print(f"  the ops are left out: they are for TensorFlow {built_for()}")
    for name, without in _OPTIONAL.items():
        line(name, version(name), without)
    line("compute-sanitizer", program("compute-sanitizer"), "no checks of memory accesses and races")
    return missing


def cmake_arguments() -> list[str]:
    """The build of `_core` for this machine's GPU, with the ops where TensorFlow is the one that they are for."""
    with_ops = has("tensorflow") and fits(str(version("tensorflow")))
    arguments = {
        "Python_EXECUTABLE": sys.executable,
        "DETLOSS_TENSORFLOW": "ON" if with_ops else "OFF",
        "pybind11_DIR": pybind11(),
        "CMAKE_CUDA_COMPILER": nvcc(),
        "DETLOSS_CUDA_ARCHITECTURES": architecture(),
    }
    ninja = ["-GNinja"] if program("ninja") else []
    return ninja + [f"-D{name}={value}" for name, value in arguments.items() if value is not None]


def has(package: str) -> bool:
    """Whether a Python package can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def version(package: str) -> str | None:
    """Of the distribution, if it is known; `None` without the package."""
    if not has(package):
        return None
    for distribution in importlib.metadata.packages_distributions().get(package, ()):
        return importlib.metadata.version(distribution)
    return "of unknown version"


def fits(tensorflow: str) -> bool:
    """Whether the ops are for that TensorFlow."""
    return tensorflow.split(".")[:2] == built_for().split(".")


def built_for() -> str:
    """The TensorFlow that the ops are for."""
    text = (_ROOT / "python" / "detloss" / "_tensorflow_version.py").read_text()
    found = re.search(r'^BUILT_FOR = "(.*)"$', text, re.MULTILINE)
    assert found is not None
    return found.group(1)


def gpu() -> str | None:
    """The names of the GPUs."""
    return ask_nvidia_smi("name")


def architecture() -> str | None:
    """That of the first GPU, as in 90."""
    capability = ask_nvidia_smi("compute_cap")
    return None if capability is None else capability.split(",")[0].replace(".", "")


def ask_nvidia_smi(field: str) -> str | None:
    """A field of every GPU, between commas."""
    try:
        asked = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"]
        lines = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    return ", ".join(line.strip() for line in lines) or None


def nvcc() -> str | None:
    """CUDA's compiler."""
    return program("nvcc")


def program(name: str) -> str | None:
    """Where a program is, which may be a Python package's, or the CUDA toolkit's."""
    return shutil.which(name) or shutil.which(name, path=f"{sys.prefix}/bin:{_CUDA_FOLDER}")


def python_header() -> str | None:
    """Python's C header."""
    header = pathlib.Path(sysconfig.get_path("include")) / "Python.h"
    return str(header) if header.is_file() else None


def pybind11() -> str | None:
    """The folder of pybind11's CMake files."""
    if has("pybind11"):
        import pybind11 as package

        return str(package.get_cmake_dir())
    return str(_CARRIED_PYBIND11) if _CARRIED_PYBIND11.is_dir() else None


if __name__ == "__main__":
    sys.exit(main())
