"""Computes losses of labels that are left out, and prints what each stage wrote to the log.

Arguments: the case, which is a function of this module, and the mode.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable

import numpy as np
import tensorflow as tf

import detloss
from detloss.compat import yolov3_tf2 as yolov3_tf2_drop_in

LOG = tempfile.TemporaryFile()  # noqa: SIM115 (the log of the whole process)


def yolov3(invalid_targets: str) -> tf.Tensor:
    labels = np.zeros((2, 2, 3, 2, 8), np.float32)
    labels[1, 1, 2, 1] = [0.8, 0.7, 0, 0.5, 1, 0, 1, 0]
    logits = tf.zeros(labels.shape)
    return detloss.yolov3_loss(labels, logits, [[0.1, 0.1], [0.2, 0.2]], invalid_targets=invalid_targets)


def yolov3_tf2(invalid_targets: str) -> tf.Tensor:
    """Class indices of a data set with more classes, and of objects without a class."""
    labels = np.zeros((2, 3, 3, 2, 6), np.float32)
    labels[0, 1, 2, 0] = [0.7, 0.4, 0.9, 0.6, 1, 67]
    labels[1, 0, 1, 1] = [0.4, 0.1, 0.6, 0.2, 1, -1]
    loss = yolov3_tf2_drop_in.YoloLoss([[0.1, 0.1], [0.2, 0.2]], 3, invalid_targets=invalid_targets)
    return loss(labels, tf.zeros((2, 3, 3, 2, 8)))


def ssd(invalid_targets: str) -> tf.Tensor:
    labels = np.zeros((2, 4, 17), np.float32)
    labels[..., 0] = 1
    labels[0, 1, 2] = labels[1, 3, 2] = -1
    return detloss.ssd_loss(labels, tf.fill(labels.shape, 0.2), invalid_targets=invalid_targets)


def ssd_layout(invalid_targets: str) -> tf.Tensor:
    """Rows of 21 classes and 4 offsets, which are taken for 13 classes and 12 columns."""
    labels = np.zeros((2, 4, 25), np.float32)
    labels[..., 0] = 1
    labels[1, 2, [0, 15]] = [0, 1]
    return detloss.ssd_loss(labels, tf.fill(labels.shape, 0.2), invalid_targets=invalid_targets)


def logged(function: Callable[[], object]) -> str:
    begin = LOG.seek(0, os.SEEK_END)
    function()
    LOG.seek(begin)
    return LOG.read().decode()


def main(case: str, mode: str) -> None:
    loss = globals()[case]
    if mode != "eager":
        loss = tf.function(loss, jit_compile=mode == "xla")
    os.dup2(LOG.fileno(), sys.stderr.fileno())
    stages = [logged(lambda value=value: loss(value)) for value in ("silent", "ignore", "ignore")]
    print(json.dumps(stages))


main(*sys.argv[1:])
