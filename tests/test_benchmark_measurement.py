"""The measurement itself: agreement before times, sound statistics, steps over batches, and the tables."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from detloss import _core
from detloss.benchmark import agreement, devices, report
from detloss.benchmark.errors import BenchmarkError, DisagreementError
from detloss.benchmark.presets import SSDPreset, YOLOv3Preset
from detloss.benchmark.results import Results, Row, Skipped
from detloss.benchmark.steps import make_steps, run
from detloss.benchmark.timing import summarize, time_in_turns

SSD = SSDPreset("small", boxes=64, classes=5).case(2, "float32", from_logits=False)
YOLOV3 = YOLOv3Preset("small", image_size=64, classes=5).case(2, "float32", boxes_per_image=7, class_focal=False)


def test_agreement_compares_shapes():
    one, two = (tf.ones([images]) for images in (1, 2))
    with pytest.raises(DisagreementError, match=r"expected a loss of the reference's shape \[2\], got \[1\]"):
        agreement.check("x", (one, []), (two, []), "float32")


def test_agreement_counts_nan_as_a_difference():
    with pytest.raises(DisagreementError, match="got nan"):
        agreement.check("x", (tf.constant([1.0, np.nan]), []), (tf.ones([2]), []), "float32")


def test_gpu_needs_a_cuda_build_and_a_gpu(monkeypatch):
    monkeypatch.setattr(_core, "build_info", lambda: {"cuda": False})
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    with pytest.raises(BenchmarkError, match="expected a build of detloss with CUDA kernels"):
        devices.check("gpu", ("fused", "reference"))
    with pytest.raises(BenchmarkError, match="expected a GPU that TensorFlow can use"):
        devices.check("gpu", ("reference",))
    devices.check("cpu", ("fused",))


def test_summary_is_the_median_and_the_percentiles_between_samples():
    quantiles = summarize([0.008, 0.002, 0.006, 0.004], steps=2)
    assert (quantiles.p20, quantiles.median, quantiles.p80) == pytest.approx((1.6, 2.5, 3.4))
    assert summarize([0.001], steps=1).p20 == pytest.approx(1.0)


def test_turns_are_even_and_shuffled():
    turns = []

    def recorder(name):
        return lambda: turns.append(name)

    seconds = time_in_turns({name: recorder(name) for name in "abc"}, repetitions=40, seed=1)
    assert {name: len(values) for name, values in seconds.items()} == {"a": 40, "b": 40, "c": 40}
    rounds = ["".join(turns[start : start + 3]) for start in range(0, 120, 3)]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len(set(rounds)) == 6


@pytest.mark.parametrize("case", [SSD, YOLOV3], ids=["ssd", "yolov3"])
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_a_call_steps_over_every_batch(case, mode):
    batches = [case.make_batch([0, index]) for index in range(3)]
    loss = case.loss("fused")
    outputs = run(make_steps(loss, mode, "forward_backward", batches), batches)
    for batch, (value, gradients) in zip(batches, outputs, strict=True):
        np.testing.assert_array_equal(value, loss(batch.labels, batch.predictions))
        assert [gradient.shape for gradient in gradients] == [tensor.shape for tensor in batch.predictions]


def test_table_shows_rows_notes_and_missing_values():
    row = _row(SSD, median_ms=1234.5, first_call_ms=5000.0, compiles_every_batch=True)
    skipped = Skipped(SSD.describe(), "fused", ("eager", "graph"), "is not there")
    text = _printed(Results(_header(), [row], [skipped], ["something to know"]))
    assert "small · batch 2 · float32 · probabilities · 64 boxes · 5 classes · cpu, 1 thread" in text
    assert "1,234.50" in text
    assert "something to know" in text
    assert "skipped: fused (eager, graph) for small: it is not there" in text
    assert "original in xla: compiled anew for every batch of new data, here in up to 5.0 s" in text
    assert "touch-only floor  " not in text


def test_table_names_the_options_that_are_on():
    focal = dataclasses.replace(YOLOV3, class_focal=True)
    text = _printed(Results(_header(), [_row(YOLOV3), _row(focal)]))
    assert "float32 · 64 px · 5 classes · 7 boxes per image · 3 scales · cpu" in text
    assert "class focal · 64 px · 5 classes · 7 boxes per image · 3 scales · cpu" in text


def test_peers_are_refused_where_they_have_no_loss():
    with pytest.raises(BenchmarkError, match="--against: expected a preset that paddle has a loss for, got small"):
        SSD.peer("paddle")


def _row(case, **fields):
    times = dict(median_ms=1.0, p20_ms=1.0, p80_ms=2000.0, first_call_ms=1.0, compiles_every_batch=False)
    step = dict(device="cpu", threads=1, implementation="original", mode="xla", what="forward")
    return Row(case=case.describe(), **step, batches=1, repetitions=3, **{**times, **fields})


def _printed(results):
    output = io.StringIO()
    report.print_results(results, Console(file=output, width=120))
    return output.getvalue()


def _header():
    return {
        "machine": {"cpu": "a CPU", "usable_cores": 1, "memory_gib": 1.0, "gpus": []},
        "versions": {"detloss": "0"},
        "build": _core.build_info(),
        "settings": {"batches": 1},
    }
