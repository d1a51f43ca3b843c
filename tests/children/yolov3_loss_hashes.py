"""Prints hashes of the YOLOv3 loss's outputs and gradients: `yolov3_loss_hashes.py THREADS [deterministic]`."""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import numpy as np
import tensorflow as tf

import detloss
import execution
import yolov3_cases

#: More than one block of rows, and less than one; gradients that are streamed, and others.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "YOLOv3-416": (dict(images=4, grids=((13, 13), (26, 26), (52, 52)), classes=80, boxes=7), {}),
    "of all scales": (dict(images=3, grids=((13, 20), (26, 40)), boxes=9), dict(ignore_scope="image", box_loss="ciou")),
    "focal": (
        dict(images=2, grids=((26, 26),), classes=20, boxes=9),
        dict(class_focal=True, objectness_focal=True, box_loss="siou"),
    ),
    "half": (dict(images=3, grids=((13, 13), (26, 26)), classes=20, dtype=np.float16), dict(class_loss="softmax")),
    "one cell": (dict(images=1, grids=((1, 1),), classes=1), {}),
}


def hashes(case: str, mode: str) -> list[str]:
    choices, options = CASES[case]
    batch = yolov3_cases.yolov3_batch(**choices)
    upstream = tf.constant(np.linspace(0.5, 2, choices["images"]), tf.float32)

    def loss_and_gradient(y_true: list[tf.Tensor], y_pred: list[tf.Tensor]) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            result = detloss.yolov3_loss(y_true, y_pred, batch.anchors, return_components=True, **options)
        return result, tape.gradient(result[0], y_pred, output_gradients=upstream)

    arrays = [[tf.constant(scale) for scale in scales] for scales in (batch.y_true, batch.y_pred)]
    result = execution.in_mode(mode, loss_and_gradient)(*arrays)
    return [hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for tensor in tf.nest.flatten(result)]


def mask_hash() -> str:
    rng = np.random.default_rng(0)
    boxes, true_boxes = (rng.uniform(0.05, 0.9, (4, number, 4)).astype(np.float32) for number in (3000, 30))
    mask = detloss.yolo_ignore_mask(boxes, true_boxes, ignore_thresh=0.3)
    return hashlib.sha256(mask.numpy().tobytes()).hexdigest()


def main(threads: int, *, deterministic: bool) -> None:
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    found: dict[str, Any] = {f"{case}, {mode}": hashes(case, mode) for case in CASES for mode in execution.MODES}
    found["mask"] = mask_hash()
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), deterministic="deterministic" in sys.argv[2:])
