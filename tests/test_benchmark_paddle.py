"""`detloss-benchmark --against paddle`, with a stand-in for the package."""

from __future__ import annotations

import contextlib
import json
import sys
import types

import numpy as np
import pytest

from benchmark_command import TINY_SSD, TINY_YOLOV3, prepare_this_process
from detloss.benchmark import command, paddle_peer
from detloss.benchmark.errors import BenchmarkError
from detloss.benchmark.presets import PRESETS

CASE = PRESETS["yolov3-tiny-416-coco"].case(2, "float32", boxes_per_image=6, class_focal=False)
AGAINST = [*TINY_YOLOV3, "--mode", "eager", "--implementation", "reference", "--against", "paddle"]


class StandIn(types.ModuleType):
    """What the peer uses of `paddle`; remembers the calls of `yolo_loss` and whether a gradient was taken."""

    __version__ = "9.9"

    def __init__(self) -> None:
        super().__init__("paddle")
        self.calls: list[dict[str, object]] = []
        self.gradients = 0
        self.recording = True
        self.vision = types.SimpleNamespace(ops=types.SimpleNamespace(yolo_loss=self.yolo_loss))

    def set_device(self, device):
        assert device == "cpu"

    def to_tensor(self, array, stop_gradient=True):
        assert array.flags.c_contiguous
        return array

    def yolo_loss(self, x, **options):
        self.calls.append({"x": x, "recording": self.recording, **options})
        return np.ones(len(x), np.float32)

    def add_n(self, values):
        return sum(values)

    @contextlib.contextmanager
    def no_grad(self):
        self.recording = False
        yield
        self.recording = True

    def grad(self, value, inputs):
        self.gradients += 1
        return [np.zeros_like(array) for array in inputs]


@pytest.fixture
def paddle(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    module = StandIn()
    monkeypatch.setitem(sys.modules, "paddle", module)
    prepare_this_process(monkeypatch)
    return module


def test_command_times_paddle_beside_the_others(tmp_path, capsys, paddle):
    pytest.importorskip("matplotlib")
    rows_file, plot_file = tmp_path / "rows.json", tmp_path / "plot.png"
    assert command.main([*AGAINST, "--json", str(rows_file), "--plot", str(plot_file)]) == 0
    assert plot_file.read_bytes().startswith(b"\x89PNG")
    content = json.loads(rows_file.read_text())
    rows = {(row["implementation"], row["what"]): row for row in content["rows"]}
    assert rows.keys() == {(name, what) for name in ("reference", "paddle") for what in ("forward", "forward_backward")}
    assert {row["mode"] for row in rows.values()} == {"eager"}
    row = rows["paddle", "forward_backward"]
    assert row["first_call_ms"] > 0
    assert row["peak_mib"] is None
    assert row["ratio_to_floor"] == pytest.approx(row["median_ms"] / row["floor_ms"])
    assert content["header"]["versions"]["paddle"] == "9.9"
    assert content["notes"] == [paddle_peer.NOTE]
    assert "computes another loss, and nothing checks it" in capsys.readouterr().out
    assert paddle.gradients > 0


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["--dtype", "float16"], "paddle (eager) for custom: it takes float32 and float64 only, not float16"),
        (["--class-focal"], "paddle (eager) for custom: it has no focal class loss"),
    ],
)
def test_command_says_what_paddle_cannot_compute(capsys, paddle, arguments, reason):
    assert command.main([*AGAINST, "--what", "forward", *arguments]) == 0
    output = capsys.readouterr().out
    assert f"skipped: {reason}" in output
    assert "computes another loss" not in output
    assert not paddle.calls


def test_paddle_gets_the_same_heads_and_boxes(paddle):
    batch = CASE.make_batch([0, 0])
    calls = CASE.peer("paddle").calls([batch])
    calls["forward"]()
    for call, grid, row, stride in zip(paddle.calls, (13, 26), CASE.anchor_rows, (32, 16), strict=True):
        assert call["x"].shape == (2, 255, grid, grid)
        assert call["anchors"] == [10, 14, 23, 27, 37, 58, 81, 82, 135, 169, 344, 319]
        assert (call["anchor_mask"], call["downsample_ratio"]) == (list(row), stride)
        assert (call["class_num"], call["ignore_thresh"], call["use_label_smooth"]) == (80, 0.5, False)
        assert call["gt_box"].shape == (*call["gt_label"].shape, 4)
        assert not call["recording"]
    first = np.asarray(batch.predictions[0])
    np.testing.assert_array_equal(paddle.calls[0]["x"], first.transpose(0, 3, 1, 2))
    calls["forward_backward"]()
    assert (paddle.calls[-1]["recording"], paddle.gradients) == (True, 1)


def test_true_boxes_are_those_of_all_scales():
    labels = [np.zeros((3, grid, grid, 2, 5 + 4), np.float32) for grid in (1, 2)]
    labels[0][0, 0, 0, 1] = [0.5, 0.4, 0.3, 0.2, 1, 0, 0, 1, 0]
    labels[1][0, 1, 0, 0] = [0.1, 0.9, 0.2, 0.2, 1, 1, 0, 0, 1]
    labels[1][2, 0, 1, 1] = [0.7, 0.2, 0.1, 0.1, 1, 0, 1, 0, 0]
    boxes, classes = paddle_peer.true_boxes(labels)
    np.testing.assert_array_equal(boxes[0], np.float32([[0.5, 0.4, 0.3, 0.2], [0.1, 0.9, 0.2, 0.2]]))
    np.testing.assert_array_equal(boxes[2], np.float32([[0.7, 0.2, 0.1, 0.1], [0, 0, 0, 0]]))
    assert not boxes[1].any()
    assert classes.dtype == np.int32
    assert classes.tolist() == [[2, 0], [0, 0], [1, 0]]


def test_images_without_boxes_have_one_that_is_padding():
    boxes, classes = paddle_peer.true_boxes([np.zeros((2, 3, 3, 1, 6), np.float32)])
    assert (boxes.shape, classes.shape) == ((2, 1, 4), (2, 1))


def test_command_needs_the_package(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "paddle", None)
    assert command.main(AGAINST) == 2
    assert "--against: expected the package paddle, found none: pip install paddlepaddle" in capsys.readouterr().err


def test_paddle_has_to_come_before_tensorflow(monkeypatch, tmp_path):
    (tmp_path / "paddle.py").write_text("raise AssertionError('loaded')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BenchmarkError, match="expected paddle to be loaded before TensorFlow"):
        paddle_peer.load()


def test_a_package_that_does_not_load_is_reported(monkeypatch, tmp_path):
    (tmp_path / "paddle.py").write_text("raise ImportError('a library is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorflow")
    with pytest.raises(BenchmarkError, match=r"expected the package paddle to load, got .*a library is missing"):
        paddle_peer.load()


def test_command_refuses_peers_of_an_ssd(capsys):
    with pytest.raises(SystemExit):
        command.main([*TINY_SSD, "--against", "paddle"])
    assert "--against: expected YOLOv3 presets only, got ssd300-voc" in capsys.readouterr().err
