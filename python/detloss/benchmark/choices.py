"""The values that options and result rows share."""

from __future__ import annotations

IMPLEMENTATIONS = ("fused", "reference", "original")
MODES = ("eager", "graph", "xla")
PASSES = ("forward", "forward_backward")
DTYPES = ("float32", "float16", "bfloat16", "float64")
DEVICES = ("cpu", "gpu")
