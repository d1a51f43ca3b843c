"""Measures the peak memory of a step in this process: reads a pickled `MemoryRequest`, writes MiB per pass as JSON.

On a CPU the peak is the rise of the largest resident size (`VmHWM`) over the resident size between two steps:
intermediate results, and the gradient of a forward + backward step. On a GPU it is the peak of TensorFlow's allocator
over what is held between steps.

Linux adds up resident pages per core in batches: the result is accurate to about 0.1 MiB for each of a few cores.
"""

from __future__ import annotations

import ctypes
import json
import pickle
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from detloss.benchmark import devices
from detloss.benchmark.case import Batch
from detloss.benchmark.memory import GRADIENT_ONLY, MemoryRequest
from detloss.benchmark.steps import make_steps, run

_WARM_UP_CALLS = 3
_MEASURED_CALLS = 5
_SETTLING_SECONDS = 0.05  # for TensorFlow's threads, which free the last tensors after a call has returned
_MIB = 2.0**20
_PROCESS = Path("/proc/self")


def measure(request: MemoryRequest) -> dict[str, float]:
    """Peak extra memory of every requested pass in MiB."""
    devices.configure(request.device, request.threads)
    rise = _resident_rise if request.device == "cpu" else _device_rise
    with tf.device(devices.name(request.device)):
        batch = request.case.make_batch([request.seed, 0])
        return {what: rise(_call(request, what, batch)) / _MIB for what in request.passes}


def _call(request: MemoryRequest, what: str, batch: Batch) -> Callable[[], object]:
    if request.implementation == GRADIENT_ONLY:
        one = tf.ones([], request.case.dtype)
        return lambda: [tf.fill(tensor.shape, one) for tensor in batch.predictions]
    steps = make_steps(request.case.loss(request.implementation), request.mode, what, [batch])
    return lambda: run(steps, [batch])


def _resident_rise(call: Callable[[], object]) -> int:
    """Largest number of bytes by which the resident size rises during a `call`."""
    for _ in range(_WARM_UP_CALLS):
        call()
    rises = []
    for _ in range(_MEASURED_CALLS):
        # What earlier calls used must have left the process, or this one would take it again and seem to need nothing.
        time.sleep(_SETTLING_SECONDS)
        ctypes.CDLL(None).malloc_trim(0)
        (_PROCESS / "clear_refs").write_text("5")  # sets VmHWM to the present size
        start = _status_bytes("VmRSS")
        call()
        rises.append(_status_bytes("VmHWM") - start)
    return max(rises)


def _device_rise(call: Callable[[], object]) -> int:
    """Bytes of GPU memory that `call` uses at its peak, beyond those in use before it."""
    for _ in range(_WARM_UP_CALLS):
        call()
    tf.config.experimental.reset_memory_stats("GPU:0")
    start = tf.config.experimental.get_memory_info("GPU:0")["current"]
    for _ in range(_MEASURED_CALLS):
        call()
    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"]) - int(start)


def _status_bytes(field: str) -> int:
    status = (_PROCESS / "status").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status: expected a line {field}, got\n{status}")
    return int(found.group(1)) * 1024


if __name__ == "__main__":
    print(json.dumps(measure(pickle.load(sys.stdin.buffer))))
