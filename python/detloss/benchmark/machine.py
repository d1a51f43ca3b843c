"""The header of a result: on what it was measured, and with which versions."""

from __future__ import annotations

import datetime
import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import detloss
from detloss import _core


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def describe(frameworks: Mapping[str, str], gpus: Sequence[str]) -> dict[str, Any]:
    """Date, machine, versions and the build of detloss.

    Args:
      frameworks: versions of what computes the losses, by name.
      gpus: names of the GPUs that it finds.
    """
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {
            "cpu": _cpu_name(),
            "usable_cores": usable_cores(),
            "logical_cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "gpus": list(gpus),
            "system": f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}",
        },
        "versions": {
            "detloss": detloss.__version__,
            **frameworks,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "build": _core.build_info(),
    }


def _cpu_name() -> str:
    """The model and, where the name says little ("AMD EPYC"), family and model number as well."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(re.findall(r"^(model name|cpu family|model)\s*:\s*(.+)$", text, re.MULTILINE))
    name = fields.get("model name", platform.machine())
    return f"{name} (family {fields.get('cpu family', '?')}, model {fields.get('model', '?')})"
