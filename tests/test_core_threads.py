"""The threads of `detloss._core`: bounded, content with those that start, made anew after a fork, no matter at exit."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import child_process
from detloss import _core

#: More threads than these are never used.
MOST = max(64, os.cpu_count() or 1)
LOSSES = np.arange(12, dtype=np.float32).reshape(2, 6)
COUNTS = np.ones(2, np.float32)


@pytest.mark.parametrize("left", ["memory", "processes"])
def test_threads_that_do_not_start_are_done_without(left: str) -> None:
    found = child_process.run("threads_with_little_memory.py", left)
    assert found["equal"]
    assert found["threads"] <= MOST


def test_all_numbers_of_threads_share_one_pool() -> None:
    code = """
import os, numpy, detloss._core as core
def threads(): return len(os.listdir("/proc/self/task"))
before = threads()
for number in range(1, 301):
    core.hard_negative_mask(numpy.ones((2, 6), numpy.float32), numpy.ones(2, numpy.float32), threads=number)
print(threads() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert 63 <= int(done.stdout) <= MOST - 1


def test_forks_while_other_threads_run_kernels() -> None:
    assert child_process.run("fork_while_kernels_run.py", 60).keys() == {"right"}


def test_exit_while_daemon_threads_run_kernels() -> None:
    for _ in range(5):
        assert child_process.run("exit_while_kernels_run.py")


@pytest.mark.parametrize(
    "threads, error, text",
    [
        (-1, ValueError, "threads: expected at least 0, got -1"),
        (2**63, ValueError, "threads: expected an integer of 64 bits, got 9223372036854775808"),
        (True, TypeError, "threads: expected an integer, got True"),
        (2.0, TypeError, "threads: expected an integer, got 2.0"),
        (None, TypeError, "threads: expected an integer, got None"),
    ],
)
def test_what_is_no_number_of_threads(threads: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"^{text}$"):
        _core.hard_negative_mask(LOSSES, COUNTS, threads=threads)
