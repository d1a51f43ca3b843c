"""The header of a result: on what it was measured, and with which versions."""

from __future__ import annotations

import datetime
import os
import platform
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import detloss
from detloss import _core
from detloss.benchmark.devices import usable_cores


def describe() -> dict[str, Any]:
    """Date, machine, versions and the build of detloss."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {
            "cpu": _cpu_name(),
            "usable_cores": usable_cores(),
            "logical_cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "gpus": _gpu_names(),
            "system": f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}",
        },
        "versions": {
            "detloss": detloss.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
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


def _gpu_names() -> list[str]:
    return [
        str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name))
        for gpu in tf.config.list_physical_devices("GPU")
    ]
