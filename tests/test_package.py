"""The installed package: what importing it loads, what it refuses, and what its libraries link."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys

import pytest

import detloss
from detloss import _core, _tensorflow_version

PACKAGE = pathlib.Path(detloss.__file__).parent
LIBRARIES = sorted(PACKAGE.glob("*.so"))


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )


def test_version_is_the_distributions() -> None:
    assert detloss.__version__ == importlib.metadata.version("detloss")


def test_public_names_exist() -> None:
    assert all(getattr(detloss, name) is not None for name in detloss.__all__)
    assert set(detloss.__all__) <= set(dir(detloss))


def test_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'ssd_los'"):
        detloss.ssd_los  # noqa: B018


def test_core_needs_no_tensorflow() -> None:
    code = "import sys, detloss._core as c; c.build_info(); assert not {'tensorflow', 'keras'} & sys.modules.keys()"
    child = run_python(code)
    assert child.returncode == 0, child.stderr


def test_core_works_where_no_tensorflow_is_installed(tmp_path: pathlib.Path) -> None:
    blocked = "import sys; sys.modules['tensorflow'] = None\n"
    child = run_python(f"{blocked}import detloss._core as c; print(c.build_info()['version'])")
    assert child.stdout.strip() == detloss.__version__, child.stderr


def make_fake_tensorflow(folder: pathlib.Path, version: str) -> None:
    metadata = folder / f"tensorflow-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tensorflow\nVersion: {version}\n")
    (folder / "tensorflow").mkdir()
    (folder / "tensorflow" / "__init__.py").write_text("raise SystemExit('tensorflow was imported')")


@pytest.mark.parametrize("version", ["2.20.0", "2.22.1", "3.0.0"])
def test_other_tensorflow_is_refused_before_anything_is_loaded(tmp_path: pathlib.Path, version: str) -> None:
    make_fake_tensorflow(tmp_path, version)
    child = run_python("import detloss", PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    assert child.returncode == 1
    assert "ImportError" in child.stderr
    assert f"built for TensorFlow {_tensorflow_version.BUILT_FOR}" in child.stderr  # what was built
    assert f"TensorFlow {version} is installed" in child.stderr  # what was found
    assert f'pip install "tensorflow~={_tensorflow_version.BUILT_FOR}.0"' in child.stderr  # what to run
    assert "tensorflow was imported" not in child.stderr


def test_same_minor_is_accepted(tmp_path: pathlib.Path) -> None:
    make_fake_tensorflow(tmp_path, f"{_tensorflow_version.BUILT_FOR}.7")
    child = run_python("import detloss", PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    assert child.returncode == 0, child.stderr


def test_unknown_implementation_is_refused() -> None:
    code = "import detloss, numpy as np; detloss.ssd_loss(np.zeros((1, 1, 15), 'f'), np.zeros((1, 1, 15), 'f'))"
    child = run_python(code, DETLOSS_IMPL="fast")
    assert "DETLOSS_IMPL: expected 'fused' or 'reference', got 'fast'" in child.stderr


def test_reference_implementation_needs_no_op_library() -> None:
    code = """
import detloss, numpy as np
from detloss.ops import library
library.ops = None
print(detloss.ssd_loss(np.ones((1, 2, 15), 'f'), np.ones((1, 2, 15), 'f')).shape)
"""
    child = run_python(code, DETLOSS_IMPL="reference")
    assert child.stdout.strip() == "(1,)", child.stderr


@pytest.mark.parametrize("earlier", ["tf.constant([1.0])", "tf.function(lambda: tf.zeros(1), jit_compile=True)()"])
def test_library_loads_after_tensorflow_has_started(earlier: str) -> None:
    code = f"""
import tensorflow as tf
{earlier}
import detloss
loss = tf.function(lambda x: detloss.ssd_loss(x, x), jit_compile=True)
print(loss(tf.ones([1, 3, 15])).shape)
"""
    child = run_python(code)
    assert child.stdout.strip() == "(1,)", child.stderr


def test_build_info() -> None:
    info = _core.build_info()
    assert info["version"] == detloss.__version__
    assert info["tensorflow"].startswith(_tensorflow_version.BUILT_FOR)
    assert info["compiler"]
    assert info["cpu_tiers"] == ["baseline", "x86-64-v3", "x86-64-v4"]
    assert info["cpu_tier"] in info["cpu_tiers"]
    assert info["cuda"] is bool(info["cuda_architectures"]) is bool(info["cuda_version"])


def test_build_has_cuda_kernels() -> None:
    info = _core.build_info()
    if not info["cuda"]:
        pytest.skip("CUDA kernels are left out of this build: no nvcc was found, or DETLOSS_CUDA=OFF")
    assert re.fullmatch(r"\d+\.\d+\.\d+", info["cuda_version"])
    assert all(re.fullmatch(r"\d+[af]?", architecture) for architecture in info["cuda_architectures"])


@pytest.mark.parametrize("tier", ["baseline", "x86-64-v3"])
def test_cpu_tier_can_be_lowered(tier: str) -> None:
    child = run_python("import detloss._core as c; print(c.build_info()['cpu_tier'])", DETLOSS_CPU_TIER=tier)
    tiers = _core.build_info()["cpu_tiers"]
    assert tiers.index(child.stdout.strip()) <= tiers.index(tier)


UNKNOWN_TIER = "DETLOSS_CPU_TIER: expected one of 'baseline', 'x86-64-v3', 'x86-64-v4', got 'avx2'"


def test_unknown_cpu_tier_is_refused() -> None:
    child = run_python("import detloss._core as c; c.build_info()", DETLOSS_CPU_TIER="avx2")
    assert f"ValueError: {UNKNOWN_TIER}" in child.stderr


def test_no_op_runs_with_an_unknown_cpu_tier() -> None:
    code = """
import detloss, tensorflow as tf
x = tf.ones([1, 3, 15])
calls = [
    lambda: detloss.ssd_loss(x, x),
    lambda: detloss.yolov3_loss(x[:, None, :, None], x[:, None, :, None], [[1.0, 1.0]]),
    lambda: detloss.hard_negative_mask(x[0], x[0, :, 0]),
    lambda: detloss.yolo_ignore_mask(x[..., :4], x[..., :4]),
]
for call in calls:
    for run in call, tf.function(call), tf.function(call, jit_compile=True):
        try:
            run()
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            print(error)
"""
    child = run_python(code, DETLOSS_CPU_TIER="avx2")
    assert child.stdout.count(UNKNOWN_TIER) == 12, child.stderr


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda path: path.name)
def test_library_has_no_run_path_and_exports_no_kernel(library: pathlib.Path) -> None:
    dynamic = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    assert "RPATH" not in dynamic
    assert "RUNPATH" not in dynamic
    # It loads where there is no driver, and no CUDA: cudart is inside, and looks for the driver when it is used.
    assert not re.search(r"NEEDED.*lib(cuda|nv)", dynamic)
    undefined = subprocess.run(["nm", "-DC", "--undefined-only", library], capture_output=True, text=True, check=True)
    assert not re.search(r" _*cuda[A-Z]", undefined.stdout)  # TensorFlow's own, which need CUDA 12 installed
    symbols = subprocess.run(
        ["nm", "-DC", "--defined-only", library], capture_output=True, text=True, check=True
    ).stdout
    assert "detloss::" not in symbols
    assert not re.search(r" _*cuda[A-Z]", symbols)


def test_importing_changes_no_floating_point_mode() -> None:
    code = """
import numpy as np
import detloss._core
tiny = np.float32(1e-40)
assert tiny * np.float32(0.5) != 0, "subnormals are flushed to zero"
"""
    child = run_python(code)
    assert child.returncode == 0, child.stderr
