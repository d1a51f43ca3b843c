"""Peak memory of a step, measured by a child process of its own: `memory_child`."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import detloss
from detloss.benchmark.case import Case
from detloss.benchmark.errors import BenchmarkError

GRADIENT_ONLY = "gradient"
"""In the place of an implementation: allocates and fills the gradient, and nothing else."""

_CHILD = "detloss.benchmark.memory_child"
_ERROR_LINES = 8

# As `python -m`, but nothing is imported from the working folder, where a module of any name may lie: Python before
# 3.11 has no option for that which leaves PYTHONPATH and the user's packages alone. The folder of this package comes
# last, for when the parent found it in the working folder.
_RUN = (
    "import sys; sys.path[:] = [*sys.path[not getattr(sys.flags, 'safe_path', False):], sys.argv[2]]; "
    "import runpy; runpy.run_module(sys.argv[1], run_name='__main__', alter_sys=True)"
)
_FOLDER = Path(detloss.__file__).resolve().parent.parent

# Memory that is kept after it was freed hides every peak but the first. TensorFlow's oneDNN allocator keeps all of it,
# and malloc keeps blocks in the arenas of TensorFlow's threads unless it maps them one by one.
_GIVE_MEMORY_BACK = {"TF_ENABLE_ONEDNN_OPTS": "0", "MALLOC_MMAP_THRESHOLD_": str(64 * 1024)}


@dataclasses.dataclass(frozen=True)
class MemoryRequest:
    """What a child process measures.

    Attributes:
      case: the loss and its size.
      implementation: one of `IMPLEMENTATIONS`, or `GRADIENT_ONLY`.
      mode: eager, graph or xla.
      passes: forward, forward_backward or both.
      device: cpu or gpu.
      threads: intra-op threads.
      seed: of the data.
    """

    case: Case
    implementation: str
    mode: str
    passes: tuple[str, ...]
    device: str
    threads: int
    seed: int


def peak_mib(request: MemoryRequest) -> dict[str, float]:
    """Peak extra memory of every requested pass in MiB.

    Raises:
      BenchmarkError: the child failed; the text ends with what it wrote last.
    """
    child = subprocess.run(
        [sys.executable, "-c", _RUN, _CHILD, str(_FOLDER)],
        input=pickle.dumps(request),
        capture_output=True,
        env={**os.environ, **_GIVE_MEMORY_BACK},
        check=False,
    )
    if child.returncode != 0:
        last = "\n".join(child.stderr.decode(errors="replace").splitlines()[-_ERROR_LINES:])
        raise BenchmarkError(
            f"memory of {request.implementation} in {request.mode} mode: expected the child process to end well, "
            f"got exit status {child.returncode}:\n{last}"
        )
    peaks: dict[str, float] = json.loads(child.stdout)
    return peaks
