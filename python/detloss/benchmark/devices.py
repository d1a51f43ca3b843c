"""Which device TensorFlow computes on, and with how many threads."""

from __future__ import annotations

from collections.abc import Collection

import tensorflow as tf

from detloss.benchmark.errors import BenchmarkError


def configure(device: str, threads: int) -> None:
    """Sets TensorFlow's intra-op threads and hides the GPUs from a measurement on the CPU; call it first of all."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")


def check(device: str, implementations: Collection[str]) -> None:
    """Raises `BenchmarkError` where the machine, or a fused op of this build, has no such device."""
    if device == "cpu":
        return
    if "fused" in implementations:
        from detloss import _core

        if not _core.build_info()["cuda"]:
            raise BenchmarkError(
                "--device: expected a build of detloss with CUDA kernels for 'gpu', got a CPU-only build; build with "
                "DETLOSS_CUDA=ON, or measure the others with --implementation reference original"
            )
    if not tf.config.list_physical_devices("GPU"):
        raise BenchmarkError("--device: expected a GPU that TensorFlow can use for 'gpu', found none")


def name(device: str) -> str:
    """TensorFlow's name of the device."""
    return f"/{device.upper()}:0"


def gpu_names() -> list[str]:
    """What the GPUs that TensorFlow finds call themselves."""
    return [
        str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name))
        for gpu in tf.config.list_physical_devices("GPU")
    ]
