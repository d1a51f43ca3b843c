"""Loads saved YOLOv3 models in a process that imported nothing of detloss but `detloss`, and prints their losses.

Arguments: `keras` or `tf_keras`; `before` or `after`: whether detloss is imported before that Keras; the files, whose
names begin with the kind of the model. The last line of the output is JSON.
"""

from __future__ import annotations

import importlib
import json
import pathlib
import sys

name, order, *files = sys.argv[1:]
for module in ("detloss", name) if order == "before" else (name, "detloss"):
    importlib.import_module(module)
keras = sys.modules[name]

# Not at the top: nothing may import Keras before the loop above.
saved_yolov3_models = importlib.import_module("saved_yolov3_models")

losses = {}
for file in files:
    kind = pathlib.Path(file).stem
    # tf_keras keeps the function of every Lambda layer as bytecode, which it runs on request only.
    unsafe = {"safe_mode": False} if name == "tf_keras" and "lambda" in kind else {}
    losses[file] = saved_yolov3_models.loss_of(kind, keras.models.load_model(file, **unsafe))
print(json.dumps(losses))
