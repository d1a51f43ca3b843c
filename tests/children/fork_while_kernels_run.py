"""Forks while other threads are inside the kernels; prints how the children ended, by name."""

from __future__ import annotations

import collections
import json
import multiprocessing
import os
import signal
import sys
import threading
import time

import numpy as np

from detloss import _core

_SECONDS = 20.0
Y_TRUE = np.zeros((4, 2000, 17), np.float32)
Y_TRUE[..., 0] = 1
Y_PRED = np.random.default_rng(0).random(Y_TRUE.shape, np.float32)


def loss(threads: int) -> bytes:
    return _core.ssd_loss_forward(Y_TRUE, Y_PRED, threads=threads)["loss"].tobytes()


def fork(expected: bytes) -> str:
    child = os.fork()
    if child == 0:
        os._exit(0 if loss(3) == loss(2) == expected else 3)
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return {0: "right", 3 << 8: "wrong"}.get(status, f"status {status}")
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hung"


def main() -> None:
    expected = loss(3)
    stop = threading.Event()

    def work(threads: int) -> None:
        while not stop.is_set():
            loss(threads)

    workers = [threading.Thread(target=work, args=(threads,)) for threads in (1, 2, 3, 4)]
    for worker in workers:
        worker.start()
    ends = collections.Counter(fork(expected) for _ in range(int(sys.argv[1])))
    # Children of children, and the pool of multiprocessing.
    with multiprocessing.get_context("fork").Pool(2) as pool:
        ends.update(
            "right" if value == expected else "wrong" for value in pool.map_async(loss, [1, 2, 3] * 4).get(_SECONDS)
        )
    stop.set()
    for worker in workers:
        worker.join()
    print(json.dumps(ends))


if __name__ == "__main__":
    main()
