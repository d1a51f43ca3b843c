"""Ends while daemon threads are inside the kernels."""

from __future__ import annotations

import threading
import time

import numpy as np

from detloss import _core

Y_TRUE = np.zeros((4, 3000, 33), np.float32)
Y_PRED = np.full_like(Y_TRUE, 0.05)


def work() -> None:
    while True:
        _core.ssd_loss_forward(Y_TRUE, Y_PRED, threads=2)


for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.1)
print("true", flush=True)
