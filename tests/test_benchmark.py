"""`detloss-benchmark`: what it measures, refuses and skips, and the files that it writes."""

from __future__ import annotations

import json
import sys

import pytest
import tensorflow as tf

from benchmark_command import TINY_SSD, TINY_YOLOV3, prepare_this_process, run_command
from detloss import _core
from detloss.benchmark import command, plot
from detloss.benchmark.errors import BenchmarkError
from detloss.benchmark.ssd_case import SSDCase
from detloss.benchmark.yolov3_case import YOLOv3Case

ROW_FIELDS = {
    "preset", "batch", "device", "dtype", "threads", "implementation", "mode", "what", "median_ms", "p20_ms", "p80_ms",
    "floor_ms", "peak_mib", "from_logits", "ratio_to_fused", "ratio_to_floor",
}  # fmt: skip


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_this_process(monkeypatch)


def test_command_measures_every_implementation_and_mode(tmp_path):
    result = run_command(*TINY_SSD, "--threads", "2", "--json", str(tmp_path / "rows.json"))
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


def test_command_measures_yolov3_and_says_which_mode_it_skips(tmp_path, capsys, in_this_process):
    path = tmp_path / "rows.json"
    assert command.main([*TINY_YOLOV3, "--mode", "eager", "graph", "--json", str(path)]) == 0
    content = json.loads(path.read_text())
    assert content["skipped"] == []
    assert len(content["rows"]) == 2 * 2 * 3
    for row in content["rows"]:
        assert row.keys() >= ROW_FIELDS - {"from_logits"} | {"image_size", "boxes_per_image", "class_focal", "scales"}
        assert row["ratio_to_floor"] == pytest.approx(row["median_ms"] / row["floor_ms"])
    title = "custom · batch 2 · float32 · 64 px · 5 classes · 7 boxes per image · 3 scales · cpu"
    assert title in capsys.readouterr().out

    what = ["--implementation", "fused", "original", "--mode", "graph", "xla", "--what", "forward"]
    assert command.main([*TINY_YOLOV3, *what, "--json", str(path)]) == 0
    content = json.loads(path.read_text())
    measured = {(row["implementation"], row["mode"]) for row in content["rows"]}
    assert measured == {("fused", "graph"), ("fused", "xla"), ("original", "graph")}
    (skipped,) = content["skipped"]
    assert (skipped["implementation"], skipped["modes"]) == ("original", ["xla"])
    assert "skipped: original (xla) for custom: it does not compile" in capsys.readouterr().out


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


def test_command_measures_the_peak_memory_of_all_scales(tmp_path, in_this_process):
    case = ["--preset", "yolov3-416-voc", "--batch", "4", "--batches", "1", "--implementation", "fused"]
    how = ["--mode", "graph", "--what", "forward_backward", "--repetitions", "2"]
    assert command.main([*case, *how, "--json", str(tmp_path / "rows.json")]) == 0
    (row,) = json.loads((tmp_path / "rows.json").read_text())["rows"]
    cells = 4 * 3 * (13**2 + 26**2 + 52**2)
    gradient_mib = cells * 25 * 4 / 2**20
    assert row["gradient_peak_mib"] == pytest.approx(gradient_mib, abs=0.5)
    assert gradient_mib - 0.5 < row["peak_mib"] < 2 * gradient_mib
    assert row["bytes_per_cell"] == pytest.approx((row["peak_mib"] - row["gradient_peak_mib"]) * 2**20 / cells)


def test_command_draws_a_plot(tmp_path, in_this_process):
    pytest.importorskip("matplotlib")
    path = tmp_path / "plot.png"
    arguments = [*TINY_SSD, "--implementation", "fused", "reference", "--mode", "eager", "--mode", "graph"]
    assert command.main([*arguments, "--plot", str(path)]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("wrong", ["loss", "gradient"])
@pytest.mark.parametrize("case, arguments", [(SSDCase, TINY_SSD), (YOLOv3Case, TINY_YOLOV3)])
def test_command_refuses_to_time_implementations_that_disagree(
    monkeypatch, capsys, in_this_process, case, arguments, wrong
):
    right = case.loss

    @tf.custom_gradient
    def distort(loss):
        scale = 1.01 if wrong == "loss" else 1.0
        return loss * scale, lambda upstream: upstream * 1.01

    def loss(self, implementation):
        function = right(self, implementation)
        if implementation != "original":
            return function
        return lambda labels, predictions: distort(function(labels, predictions))

    monkeypatch.setattr(case, "loss", loss)
    what = ["--implementation", "original", "--mode", "eager", "--what", "forward_backward"]
    assert command.main([*arguments, *what]) == 1
    error = capsys.readouterr().err
    assert f"original, eager, forward_backward: expected the reference's {wrong}" in error


def test_command_refuses_to_measure_a_replaced_fused_op(monkeypatch, capsys, in_this_process):
    monkeypatch.setenv("DETLOSS_IMPL", "reference")
    assert command.main(TINY_SSD) == 2
    assert "DETLOSS_IMPL: expected it unset" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, reason",
    [
        ([*TINY_SSD, "--dtype", "float16"], "original takes float32 only, not float16"),
        ([*TINY_YOLOV3, "--dtype", "float16"], "original takes float32 only, not float16"),
        ([*TINY_YOLOV3, "--class-focal"], "original has no focal class loss"),
        ([*TINY_YOLOV3, "--mode", "xla"], "original does not compile"),
    ],
)
def test_command_refuses_a_case_that_nothing_computes(capsys, in_this_process, arguments, reason):
    assert command.main([*arguments, "--implementation", "original"]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--preset", "ssd300-voc", "ssd300-coco", "--boxes", "64"], "--boxes: expected one --preset to change, got 2"),
        (["--classes", "1"], "--classes: expected at least 2"),
        (["--class-focal"], "--class-focal: expected YOLOv3 presets only, got ssd300-voc"),
        (
            ["--preset", "yolov3-416-voc", "ssd300-voc", "--from-logits", "--boxes", "9"],
            "--boxes, --from-logits: expected SSD presets only, got yolov3-416-voc",
        ),
        (["--preset", "yolov3-416-voc", "--image-size", "100"], "--image-size: expected a multiple of 32, got 100"),
        ([*TINY_YOLOV3, "--against", "paddle", "--mode", "graph"], "--against: expected eager among --mode"),
        ([*TINY_YOLOV3, "--against", "paddle", "--device", "gpu"], "--against: expected --device cpu, got gpu"),
        (["--against", "paddle"], "--against: expected YOLOv3 presets only, got ssd300-voc"),
        (["--batch", "0"], "expected a positive integer, got '0'"),
        (["--json", "no/such/folder/rows.json"], "expected a file in an existing folder"),
    ],
)
def test_command_explains_wrong_arguments(capsys, arguments, expected):
    with pytest.raises(SystemExit) as raised:
        command.main(arguments)
    assert raised.value.code == 2
    assert expected in capsys.readouterr().err


def test_plot_needs_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BenchmarkError, match=r"pip install \"detloss\[plot\]\""):
        plot.check_available()


def test_choices_keep_the_usual_order():
    assert command._chosen(["xla", "eager"], ("eager", "graph", "xla")) == ("eager", "xla")
    assert command._chosen(None, ("eager", "graph")) == ("eager", "graph")
