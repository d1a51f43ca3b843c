"""Prints hashes of the SSD loss's outputs and gradients: `ssd_loss_hashes.py THREADS [deterministic]`."""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import numpy as np
import tensorflow as tf

import detloss
import execution
import ssd_cases

#: More than one block of boxes, and less than one; mining over the batch, and per image.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "SSD300": (dict(images=4, boxes=8732, classes=21), {}),
    "SSD300, per image": (dict(images=4, boxes=8732, classes=21), dict(mining_scope="image")),
    "SSD300, half": (dict(images=4, boxes=8732, classes=21, dtype=np.float16), {}),
    "logits": (dict(images=3, boxes=3000, classes=21, from_logits=True), dict(from_logits=True, rank_by="foreground")),
    "float64": (dict(images=5, boxes=1500, classes=4, dtype=np.float64), dict(normalizer="image_selected")),
    "small": (dict(images=7, boxes=100, classes=3), {}),
    "one box": (dict(images=1, boxes=1, classes=2), {}),
}


def hashes(case: str, mode: str) -> list[str]:
    batch, options = CASES[case]
    y_true, y_pred = ssd_cases.ssd_batch(**batch, positive_share=0.01)
    upstream = np.linspace(0.5, 2, len(y_true)).astype(y_true.dtype)

    def loss(y_true: tf.Tensor, y_pred: tf.Tensor) -> Any:
        return detloss.ssd_loss(y_true, y_pred, return_components=True, **options)

    result = execution.value_and_gradient(mode, loss, y_true, y_pred, upstream)
    return [hashlib.sha256(array.tobytes()).hexdigest() for array in tf.nest.flatten(result)]


def mask_hash(mining_scope: str) -> str:
    keys = np.random.default_rng(0).choice(np.arange(50, dtype=np.float32), (4, 8732))
    mask = detloss.hard_negative_mask(keys, np.full(4, 400.5), mining_scope=mining_scope)
    return hashlib.sha256(mask.numpy().tobytes()).hexdigest()


def main(threads: int, *, deterministic: bool) -> None:
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    found: dict[str, Any] = {f"{case}, {mode}": hashes(case, mode) for case in CASES for mode in execution.MODES}
    found.update({scope: mask_hash(scope) for scope in ("batch", "image", "image_uniform")})
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), deterministic="deterministic" in sys.argv[2:])
