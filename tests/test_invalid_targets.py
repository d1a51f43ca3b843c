"""What a CPU says about labels that it leaves out: one warning per process, and none on request."""

from __future__ import annotations

import pytest

import child_process
import execution

YOLOV3 = (
    "detloss: y_true: 1 invalid label(s) of this batch are left out of the loss. The first: expected width and height "
    "above 0, got [0.8, 0.7, 0, 0.5, 1, 0, 1, 0] in image 1, scale 0, cell (1, 2), anchor 1. detloss.check_targets "
    'lists them all. This is said once per process, and not with invalid_targets="silent".'
)
YOLOV3_TF2 = (
    "detloss: y_true: 2 invalid label(s) of this batch are left out of the loss. The first: expected a class index "
    "from 0 to 2, got [0.7, 0.4, 0.9, 0.6, 1, 67] in image 0, scale 0, cell (1, 2), anchor 0. "
)
SSD = (
    "detloss: y_true: 2 invalid label(s) of this batch are left out of the loss. The first: expected classes from 0 to "
    "1e+06 and offsets of positives from -1e+06 to 1e+06, got class 2 = -1 in image 0, box 1. "
)
SSD_LAYOUT = (
    "detloss: y_true: rows of 25 columns were taken for 13 classes and 12 more columns, but 1 boxes of this batch have "
    "a label behind these classes and none in them. Pass num_classes"
)
CASES = [("yolov3", mode, YOLOV3) for mode in execution.MODES] + [
    ("yolov3_tf2", "graph", YOLOV3_TF2),
    ("ssd", "xla", SSD),
    ("ssd_layout", "eager", SSD_LAYOUT),
]


@pytest.mark.parametrize("case, mode, text", CASES, ids=[f"{case}-{mode}" for case, mode, _ in CASES])
def test_one_warning_per_process(case, mode, text, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")
    silent, first, second = child_process.run("log_invalid_labels.py", case, mode)
    assert "detloss" not in silent
    assert first.count("detloss: ") == 1
    assert text in first
    assert "detloss" not in second
