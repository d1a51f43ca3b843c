"""`detloss-benchmark`: agreement before times, sound statistics, and the files that it writes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from detloss import _core
from detloss.benchmark import agreement, command, devices, plot, report
from detloss.benchmark.errors import BenchmarkError, DisagreementError
from detloss.benchmark.presets import PRESETS, SSDPreset
from detloss.benchmark.results import Results, Row, Skipped
from detloss.benchmark.ssd_case import SSDCase
from detloss.benchmark.ssd_inputs import make_ssd_batch
from detloss.benchmark.steps import make_steps, run
from detloss.benchmark.timing import summarize, time_in_turns

TINY = SSDPreset("tiny", boxes=64, classes=5).case(2, "float32", from_logits=False)
TINY_ARGUMENTS = ["--boxes", "64", "--classes", "5", "--batch", "2", "--repetitions", "3", "--no-memory"]
ROW_FIELDS = {
    "preset", "batch", "device", "dtype", "threads", "implementation", "mode", "what", "median_ms", "p20_ms", "p80_ms",
    "floor_ms", "peak_mib", "from_logits", "ratio_to_fused", "ratio_to_floor",
}  # fmt: skip


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DETLOSS_IMPL"}
    return subprocess.run(
        [sys.executable, "-m", "detloss.benchmark", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets `command.main` run beside other tests: TensorFlow's threads are fixed already."""
    monkeypatch.setattr(devices, "configure", lambda device, threads: None)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.delenv("DETLOSS_IMPL", raising=False)


def test_command_measures_every_implementation_and_mode(tmp_path):
    result = run_command(*TINY_ARGUMENTS, "--threads", "2", "--json", str(tmp_path / "rows.json"))
    assert result.returncode == 0, result.stderr
    content = json.loads((tmp_path / "rows.json").read_text())
    assert content["header"]["versions"]["tensorflow"] == tf.__version__
    assert content["header"]["machine"]["cpu"]
    assert content["header"]["build"] == _core.build_info()
    assert content["skipped"] == []
    rows = content["rows"]
    assert len(rows) == 2 * 3 * 3
    assert len({(row["what"], row["mode"], row["implementation"]) for row in rows}) == len(rows)
    for row in rows:
        assert row.keys() >= ROW_FIELDS
        assert (row["preset"], row["batch"], row["threads"], row["repetitions"]) == ("custom", 2, 2, 3)
        assert 0 < row["p20_ms"] <= row["median_ms"] <= row["p80_ms"]
        assert row["ratio_to_floor"] == pytest.approx(row["median_ms"] / row["floor_ms"])
        assert row["peak_mib"] is None
    assert {row["ratio_to_fused"] for row in rows if row["implementation"] == "fused"} == {1.0}
    for name in ("fused", "reference", "original", "touch-only floor", "forward + backward"):
        assert name in result.stdout


def test_command_measures_peak_memory_and_says_what_it_skips(tmp_path, capsys, in_this_process):
    what = ["--boxes", "4000", "--batch", "8", "--from-logits", "--implementation", "fused", "original"]
    how = ["--mode", "graph", "--what", "forward_backward", "--repetitions", "2"]
    assert command.main([*what, *how, "--json", str(tmp_path / "rows.json")]) == 0
    content = json.loads((tmp_path / "rows.json").read_text())
    (row,) = content["rows"]
    gradient_mib = 8 * 4000 * 33 * 4 / 2**20
    assert row["gradient_peak_mib"] == pytest.approx(gradient_mib, abs=0.5)
    assert gradient_mib - 0.5 < row["peak_mib"] < 2 * gradient_mib
    assert row["bytes_per_cell"] == pytest.approx((row["peak_mib"] - row["gradient_peak_mib"]) * 2**20 / (8 * 4000))
    assert [skipped["implementation"] for skipped in content["skipped"]] == ["original"]
    assert "skipped: original" in capsys.readouterr().out


def test_command_draws_a_plot(tmp_path, in_this_process):
    pytest.importorskip("matplotlib")
    path = tmp_path / "plot.png"
    arguments = [*TINY_ARGUMENTS, "--implementation", "fused", "reference", "--mode", "eager", "--mode", "graph"]
    assert command.main([*arguments, "--plot", str(path)]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("wrong", ["loss", "gradient"])
def test_command_refuses_to_time_implementations_that_disagree(monkeypatch, capsys, in_this_process, wrong):
    right = SSDCase.loss

    @tf.custom_gradient
    def distort(loss):
        scale = 1.01 if wrong == "loss" else 1.0
        return loss * scale, lambda upstream: upstream * 1.01

    def loss(self, implementation):
        function = right(self, implementation)
        if implementation != "original":
            return function
        return lambda labels, predictions: distort(function(labels, predictions))

    monkeypatch.setattr(SSDCase, "loss", loss)
    assert command.main([*TINY_ARGUMENTS, "--mode", "eager", "--what", "forward_backward"]) == 1
    error = capsys.readouterr().err
    assert f"original, eager, forward_backward: expected the reference's {wrong}" in error


def test_command_refuses_to_measure_a_replaced_fused_op(monkeypatch, capsys, in_this_process):
    monkeypatch.setenv("DETLOSS_IMPL", "reference")
    assert command.main(TINY_ARGUMENTS) == 2
    assert "DETLOSS_IMPL: expected it unset" in capsys.readouterr().err


def test_command_refuses_a_case_that_nothing_computes(capsys, in_this_process):
    assert command.main([*TINY_ARGUMENTS, "--implementation", "original", "--dtype", "float16"]) == 2
    assert "original takes float32 only, not float16" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--preset", "ssd300-voc", "ssd300-coco", "--boxes", "64"], "--boxes, --classes: expected one --preset"),
        (["--classes", "1"], "--classes: expected at least 2"),
        (["--batch", "0"], "expected a positive integer, got '0'"),
        (["--json", "no/such/folder/rows.json"], "expected a file in an existing folder"),
    ],
)
def test_command_explains_wrong_arguments(capsys, arguments, expected):
    with pytest.raises(SystemExit) as raised:
        command.main(arguments)
    assert raised.value.code == 2
    assert expected in capsys.readouterr().err


def test_gpu_needs_a_cuda_build_and_a_gpu(monkeypatch):
    monkeypatch.setattr(_core, "build_info", lambda: {"cuda": False})
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    with pytest.raises(BenchmarkError, match="expected a build of detloss with CUDA kernels"):
        devices.check("gpu", ("fused", "reference"))
    with pytest.raises(BenchmarkError, match="expected a GPU that TensorFlow can use"):
        devices.check("gpu", ("reference",))
    devices.check("cpu", ("fused",))


def test_plot_needs_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BenchmarkError, match=r"pip install \"detloss\[plot\]\""):
        plot.check_available()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("from_logits", [False, True])
def test_fused_agrees_with_the_reference_in_every_dtype(dtype, from_logits):
    case = SSDPreset("tiny", boxes=256, classes=5).case(3, dtype, from_logits)
    batches = [case.make_batch([0, 0])]
    (fused,), (reference,) = (
        run(make_steps(case.loss(name), "eager", "forward_backward", batches), batches)
        for name in ("fused", "reference")
    )
    agreement.check(dtype, fused, reference, dtype)


def test_agreement_compares_shapes():
    one, two = (tf.ones([images]) for images in (1, 2))
    with pytest.raises(DisagreementError, match=r"expected a loss of the reference's shape \[2\], got \[1\]"):
        agreement.check("x", (one, []), (two, []), "float32")


def test_agreement_counts_nan_as_a_difference():
    with pytest.raises(DisagreementError, match="got nan"):
        agreement.check("x", (tf.constant([1.0, np.nan]), []), (tf.ones([2]), []), "float32")


def test_floor_runs_in_every_dtype():
    for dtype in ("float32", "float16", "bfloat16", "float64"):
        case = SSDPreset("tiny", boxes=100, classes=5).case(2, dtype, from_logits=True)
        for touch in case.floor([case.make_batch([0, 0])], threads=2).values():
            touch()


def test_original_is_compiled_for_every_batch_under_xla():
    assert [mode for mode in ("eager", "graph", "xla") if TINY.compiles_every_batch("original", mode)] == ["xla"]
    batches = [TINY.make_batch([0, index]) for index in range(3)]
    step = make_steps(TINY.loss("original"), "xla", "forward", batches[:1])
    run(step, batches[:1])

    def seconds(batch):
        start = time.perf_counter()
        run(step, [batch])
        return time.perf_counter() - start

    new = min(seconds(batch) for batch in batches[1:])
    seen = min(seconds(batch) for batch in batches)
    assert new > 10 * seen


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


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_a_call_steps_over_every_batch(mode):
    batches = [TINY.make_batch([0, index]) for index in range(3)]
    loss = TINY.loss("fused")
    outputs = run(make_steps(loss, mode, "forward_backward", batches), batches)
    for batch, (value, (gradient,)) in zip(batches, outputs, strict=True):
        np.testing.assert_array_equal(value, loss(batch.labels, batch.predictions))
        assert gradient.shape == batch.predictions[0].shape


@pytest.mark.parametrize("from_logits", [False, True])
def test_inputs_look_like_training_data(from_logits):
    boxes, classes = 8732, 21
    labels, predictions = make_ssd_batch(np.random.default_rng(0), 4, boxes, classes, from_logits)
    assert labels.shape == predictions.shape == (4, boxes, classes + 12)
    marks = labels[..., :classes].sum(axis=-1)
    assert set(np.unique(marks)) == {0.0, 1.0}
    positive = labels[..., 1:classes].any(axis=-1)
    assert 0.003 < positive.mean() < 0.005
    assert 0.002 < (marks == 0).mean() < 0.02
    beside_another = positive[:, 1:] & positive[:, :-1]
    assert beside_another.sum() > 10 * positive.mean() * positive.sum()
    assert not labels[..., classes : classes + 4][~positive].any()
    if from_logits:
        assert predictions[..., :classes].min() < 0
    else:
        np.testing.assert_allclose(predictions[..., :classes].sum(axis=-1), 1.0, rtol=1e-5)
        assert predictions[..., :classes].min() > 0
        assert 0.5 < predictions[..., 0].mean() < 0.95


def test_inputs_follow_the_seed():
    first, again, other = (np.asarray(TINY.make_batch([0, seed]).predictions[0]) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_presets_are_the_published_heads():
    sizes = {name: (preset.boxes, preset.classes) for name, preset in PRESETS.items()}
    assert sizes == {"ssd300-voc": (8732, 21), "ssd300-coco": (8732, 81), "ssd512-coco": (24564, 81)}


def test_table_shows_rows_notes_and_missing_values():
    row = Row(
        case=TINY.describe(),
        device="cpu",
        threads=1,
        implementation="original",
        mode="xla",
        what="forward",
        batches=1,
        repetitions=3,
        median_ms=1234.5,
        p20_ms=1.0,
        p80_ms=2000.0,
        first_call_ms=5000.0,
        compiles_every_batch=True,
    )
    results = Results(_header(), [row], [Skipped(TINY.describe(), "fused", "is not there")])
    output = io.StringIO()
    report.print_results(results, Console(file=output, width=120))
    text = output.getvalue()
    assert "tiny · batch 2 · float32 · probabilities · 64 boxes · 5 classes · cpu, 1 thread" in text
    assert "1,234.50" in text
    assert "skipped: fused for tiny: it is not there" in text
    assert "original in xla: compiled anew for every batch of new data, here in up to 5.0 s" in text
    assert "touch-only floor  " not in text


def _header():
    return {
        "machine": {"cpu": "a CPU", "usable_cores": 1, "memory_gib": 1.0, "gpus": []},
        "versions": {"detloss": "0"},
        "build": _core.build_info(),
        "settings": {"batches": 1},
    }


def test_choices_keep_the_usual_order():
    assert command._chosen(["xla", "eager"], ("eager", "graph", "xla")) == ("eager", "xla")
    assert command._chosen(None, ("eager", "graph")) == ("eager", "graph")
