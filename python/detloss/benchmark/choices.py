"""The values that options and result rows share."""

from __future__ import annotations

IMPLEMENTATIONS = ("fused", "reference", "original")
PEERS = ("paddle",)
MODES = ("eager", "graph", "xla")
PEER_MODE = "eager"  # a peer is called from Python, step by step, as TensorFlow is in eager mode
PASSES = ("forward", "forward_backward")
DTYPES = ("float32", "float16", "bfloat16", "float64")
DEVICES = ("cpu", "gpu")
DEVICE_IMPLEMENTATIONS = ("fused", "torch", "torch-topk", "torch-compile")
DEVICE_MODES = ("replayed", "called")
