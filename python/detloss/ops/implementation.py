"""Which implementation the public functions call, and whether it can run where it is asked to."""

from __future__ import annotations

import os

import tensorflow as tf
from tensorflow.python.ops import control_flow_util

from detloss._core import build_info


def uses_reference() -> bool:
    """Whether `DETLOSS_IMPL=reference` asks for the plain TensorFlow losses instead of the fused ops."""
    chosen = os.environ.get("DETLOSS_IMPL", "fused")
    if chosen not in ("fused", "reference"):
        raise ValueError(f"DETLOSS_IMPL: expected 'fused' or 'reference', got {chosen!r}")
    return chosen == "reference"


def check_xla_device(op_name: str) -> None:
    """Raises where XLA compiles a CPU-only build's op for a GPU: it would fail later, naming no cure."""
    if not xla_compiles() or build_info()["cuda"] or not tf.config.list_logical_devices("GPU"):
        return
    raise NotImplementedError(
        f"{op_name}: this build of detloss has no CUDA kernels, but XLA compiles the function on a machine with a GPU. "
        "Compile the model with jit_compile=False, install a CUDA build of detloss, or set DETLOSS_IMPL=reference."
    )


def xla_compiles() -> bool:
    """Whether XLA compiles the function that is being traced."""
    if tf.executing_eagerly():
        return False
    return bool(control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))
