"""Loads saved models in a process that imported nothing of detloss but `detloss`, and prints their losses as JSON.

Arguments: `keras` or `tf_keras`; `before` or `after`: whether detloss is imported before that Keras; the files.
"""

from __future__ import annotations

import importlib
import json
import sys

name, order, *files = sys.argv[1:]
for module in ("detloss", name) if order == "before" else (name, "detloss"):
    importlib.import_module(module)
keras = sys.modules[name]

# Not at the top: nothing may import Keras before the loop above.
ssd_training = importlib.import_module("ssd_training")

losses = {}
for file in files:
    layout = "ssd_keras_rykov8" if "rykov8" in file else "ssd_keras"
    model = keras.models.load_model(file)
    losses[file] = model.evaluate(ssd_training.features(6), ssd_training.labels(6, layout), batch_size=6, verbose=0)
print(json.dumps(losses))
