"""Loads SavedModels that hold ops of detloss, in a process that never called a loss, and prints what they give as JSON.

Arguments: `before` or `after`: whether detloss is imported before TensorFlow; the folder of the models. Only the public
`import detloss` and `import tensorflow` happen here.
"""

from __future__ import annotations

import importlib
import json
import pathlib
import sys

order, folder = sys.argv[1], pathlib.Path(sys.argv[2])
for module in ("detloss", "tensorflow") if order == "before" else ("tensorflow", "detloss"):
    importlib.import_module(module)
tf = sys.modules["tensorflow"]
np = importlib.import_module("numpy")

arrays = np.load(folder / "arrays.npz")


def inputs_of(name: str) -> list[object]:
    return [tf.constant(arrays[key]) for key in sorted(arrays.files) if key.startswith(f"{name}.")]


results: dict[str, float | list[float]] = {}
for name in ("ssd", "yolov3"):
    module = tf.saved_model.load(str(folder / f"{name}_module"))
    inputs = inputs_of(name)
    # The gradient inside the restored step, then one that this process takes of a restored forward pass.
    losses = [float(module.train_step(*inputs)) for _ in range(3)]
    with tf.GradientTape() as tape:
        loss = module.loss(*inputs)
    (gradient,) = tape.gradient(loss, [module.factor])
    results[f"{name}_module"] = [*losses, float(loss), float(gradient)]
    for kind in ("keras", "tf_keras"):
        model = tf.saved_model.load(str(folder / f"{name}_{kind}"))
        given = inputs if kind == "keras" else [inputs]
        serve = model.serve if kind == "keras" else model
        results[f"{name}_{kind}"] = float(tf.reduce_sum(serve(inputs)))
print(json.dumps(results))
