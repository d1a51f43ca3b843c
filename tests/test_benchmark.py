"""`detloss-benchmark`: what it measures, refuses and skips, and the files that it writes."""

from __future__ import annotations

import json
import os
import pathlib
import sys

import pytest
import tensorflow as tf

from benchmark_command import TINY_SSD, TINY_YOLOV3, prepare_this_process, run_command
from detloss import _core
from detloss.benchmark import command, plot
from detloss.benchmark.errors import BenchmarkError
from detloss.benchmark.gpu import command as gpu_command
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
    ],
)
def test_command_explains_wrong_arguments(capsys, arguments, expected):
    with pytest.raises(SystemExit) as raised:
        command.main(arguments)
    assert raised.value.code == 2
    assert expected in capsys.readouterr().err


COMMANDS = pytest.mark.parametrize("run", [command.main, gpu_command.main], ids=["detloss-benchmark", "gpu"])


@COMMANDS
@pytest.mark.parametrize(
    "option, values, bounds",
    [
        ("--batch", ["0", "-1", "1.5", "nan", "1e3", "100001", "9" * 5000, ""], "1 to 100000"),
        ("--repetitions", ["0", "1000001", "x"], "1 to 1000000"),
        ("--boxes-per-image", ["0", "10001"], "1 to 10000"),
        ("--seed", ["-1", "nan", str(2**63), "9" * 5000, "\u00b2"], "0 to 9223372036854775807"),
    ],
)
def test_commands_refuse_numbers_out_of_bounds(capsys, run, option, values, bounds):
    for value in values:
        with pytest.raises(SystemExit) as raised:
            run([f"{option}={value}"])
        assert raised.value.code == 2
        assert f"argument {option}: expected an integer from {bounds}, got {value!r}\n" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--threads", "--batches", "--boxes", "--classes", "--image-size"])
def test_command_refuses_huge_numbers(capsys, option):
    with pytest.raises(SystemExit) as raised:
        command.main([option, str(10**12)])
    assert raised.value.code == 2
    assert f"argument {option}: expected an integer from 1 to " in capsys.readouterr().err


@COMMANDS
@pytest.mark.parametrize("option", ["--json", "--plot"])
@pytest.mark.parametrize(
    "name, expected",
    [
        ("no/such/folder/out.png", "expected a file in an existing folder"),
        ("file/out.png", "expected a file in an existing folder"),
        ("folder.png", "expected a file, got the folder"),
        (f"{'x' * 300}.png", "expected a file that may be written"),
        ("circle.png", "expected a file that may be written"),
    ],
)
def test_commands_refuse_files_that_cannot_be_written(capsys, tmp_path, run, option, name, expected):
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    with pytest.raises(SystemExit) as raised:
        run([option, str(tmp_path / name)])
    assert raised.value.code == 2
    assert f"argument {option}: {expected}" in capsys.readouterr().err


@COMMANDS
def test_commands_refuse_read_only_files(capsys, tmp_path, run):
    if os.geteuid() == 0:
        path = pathlib.Path("/proc/version")  # which even root cannot write
    else:
        path = tmp_path / "rows.json"
        path.touch(0o444)
    with pytest.raises(SystemExit) as raised:
        run(["--json", str(path)])
    assert raised.value.code == 2
    assert "argument --json: expected a file that may be written" in capsys.readouterr().err


@COMMANDS
@pytest.mark.parametrize("name", ["plot", "plot.bmp", "plot.png.txt", ".png"])
def test_commands_refuse_plots_of_other_formats(capsys, tmp_path, run, name):
    with pytest.raises(SystemExit) as raised:
        run(["--plot", str(tmp_path / name)])
    assert raised.value.code == 2
    assert "argument --plot: expected a file name that ends in .png or .pdf or .svg" in capsys.readouterr().err


@COMMANDS
def test_commands_refuse_one_file_for_rows_and_plot(capsys, tmp_path, run):
    with pytest.raises(SystemExit) as raised:
        run(["--json", str(tmp_path / "a.png"), "--plot", str(tmp_path / ".." / tmp_path.name / "a.png")])
    assert raised.value.code == 2
    assert "--json, --plot: expected two files" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_no_disagreement(capsys, in_this_process):
    what = ["--implementation", "fused", "--mode", "eager", "--what", "forward"]
    assert command.main([*TINY_SSD, *what, "--json", "/dev/full"]) == 2
    assert "--json: expected a file that can be written, got [Errno 28]" in capsys.readouterr().err


@pytest.mark.parametrize("error", [MemoryError("8 TiB"), tf.errors.ResourceExhaustedError(None, None, "8 TiB")])
def test_a_case_that_does_not_fit_is_no_disagreement(monkeypatch, capsys, in_this_process, error):
    def make_batch(self, seed):
        raise error

    monkeypatch.setattr(SSDCase, "make_batch", make_batch)
    assert command.main(TINY_SSD) == 2
    assert "expected a case that fits into memory, got MemoryError('8 TiB')" in capsys.readouterr().err


def test_plot_needs_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BenchmarkError, match=r"pip install \"detloss\[plot\]\""):
        plot.check_available()


def test_choices_keep_the_usual_order():
    assert command._chosen(["xla", "eager"], ("eager", "graph", "xla")) == ("eager", "xla")
    assert command._chosen(None, ("eager", "graph")) == ("eager", "graph")
