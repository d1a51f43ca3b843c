"""Calls every function of `_core` with arguments that are right but for a few; prints how the calls ended.

Arguments: cases; a file that holds the last call, for when the process crashes; the functions' module, `detloss._core`
unless it is given. A call returns, or raises TypeError, ValueError or MemoryError: anything else fails.
"""

from __future__ import annotations

import collections
import dataclasses
import importlib
import json
import pathlib
import resource
import sys
from typing import Any

import hypothesis
import ml_dtypes
import numpy as np
from hypothesis import strategies as st

CASES, LAST = int(sys.argv[1]), pathlib.Path(sys.argv[2])
core = importlib.import_module(sys.argv[3] if len(sys.argv) > 3 else "detloss._core")

_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_DTYPES = {
    name: np.dtype(name)
    for name in (
        "float32", "float64", "float16", ">f4", ">f8", ">f2", "float128", "complex64", "int32", ">i4", "int64", "int8",
        "uint8", "bool", "O", "S4", "V4", "V2", "M8[s]", "f4,f4",
    )
} | {"bfloat16": _BFLOAT16, "big bfloat16": _BFLOAT16.newbyteorder(">")}  # fmt: skip
_LAYOUTS = ("gaps", "reversed", "Fortran", "misaligned", "read-only", "broadcast")
_FILLS = ("labels", "logits", "probabilities", "zeros", "ones", "extreme", "bytes")
_EXTREME = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 1e-38, -0.0, 1e9, -1e9, 2.0**31, 0.5, 1.0]
_HUGE = (2**20, 2**31, 2**33)
_VALUES: list[Any] = [
    None, True, False, np.True_, 0, 1, -1, 7, 0.0, 0.5, 1.0, 2.5, float("nan"), float("inf"), -float("inf"), 1e300,
    1e38, 1e-320, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400, np.float32(3), np.float16(1), np.int8(2),
    np.uint64(2**63), np.longdouble("1e400"), 1j, "", "x", "\ud800", "\0", "batch", "image", "error", "<=", "ciou",
    "corner", b"batch", bytearray(3), [], [1.0], [2, 2], [None], (1.0, 1.0), {}, {"a": 1}, object(), np.ones(2),
    np.ones(()), np.ones((1, 2, 2)), np.zeros((3, 3), ">f4"), range(3),
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Array:
    """An array to make: a description that a failure can print."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    fill: str = "zeros"
    layout: str = "C"
    seed: int = 0

    def make(self) -> np.ndarray:
        dtype = _DTYPES[self.dtype]
        if self.layout == "broadcast" or np.prod(self.shape, dtype=object) > 1 << 22:
            return np.broadcast_to(np.zeros((), dtype), self.shape)
        array = self._values().reshape(self.shape)
        with np.errstate(all="ignore"):
            array = (
                array.astype(dtype) if dtype.names is None and dtype.kind not in "MVS" else np.zeros(self.shape, dtype)
            )
            if dtype.kind == "V" and dtype.name == "bfloat16":
                array = self._values().reshape(self.shape).astype(_BFLOAT16).astype(dtype)
        return self._laid_out(array)

    def _values(self) -> np.ndarray:
        rng, count = np.random.default_rng(self.seed), int(np.prod(self.shape))
        if self.fill == "labels":
            return np.where(
                rng.random(count) < 0.2, rng.integers(0, 2, count), rng.random(count) * (rng.random() < 0.5)
            )
        if self.fill == "logits":
            return rng.normal(0, 10, count)
        if self.fill == "probabilities":
            return rng.random(count)
        if self.fill == "extreme":
            return rng.choice(_EXTREME, count)
        if self.fill == "bytes":
            return rng.integers(0, 256, count)
        return np.full(count, float(self.fill == "ones"))

    def _laid_out(self, array: np.ndarray) -> np.ndarray:
        if self.layout == "gaps" and array.ndim:
            return np.repeat(array, 2, axis=-1)[..., ::2]
        if self.layout == "reversed" and array.ndim:
            return array[::-1]
        if self.layout == "Fortran":
            return np.asfortranarray(array)
        if self.layout == "misaligned" and array.dtype.kind != "O":
            memory = np.zeros(array.nbytes + 1, np.uint8)
            shifted = memory[1:].view(array.dtype).reshape(array.shape)
            shifted[...] = array
            return shifted
        if self.layout == "read-only":
            array.flags.writeable = False
        return array


@dataclasses.dataclass(frozen=True)
class OnCacheLine(Array):
    """The same for the floors, which write; what lies around it must stay."""

    def make(self) -> np.ndarray:
        array = super().make()
        if self.layout != "C" or array.dtype.kind == "O" or not 0 < array.nbytes < 1 << 25:
            return array
        memory = np.full(array.nbytes + 192, 0xA5, np.uint8)
        start = -memory.ctypes.data % 64 + 64
        return memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)

    @staticmethod
    def is_intact(array: np.ndarray) -> bool:
        memory = array
        while isinstance(memory.base, np.ndarray):
            memory = memory.base
        if memory.dtype != np.uint8 or memory is array or memory.nbytes != array.nbytes + 192:
            return True
        start = array.ctypes.data - memory.ctypes.data
        return bool((memory[:start] == 0xA5).all() and (memory[start + array.nbytes :] == 0xA5).all())


def build(value: Any) -> Any:
    if isinstance(value, Array):
        return value.make()
    return [build(element) for element in value] if isinstance(value, list) else value


# Strategies. A rare draw is 1 in so many.


def rarely(draw: Any, one_in: int) -> bool:
    return draw(st.integers(0, one_in - 1)) == one_in - 1


@st.composite
def changed(draw: Any, array: Array) -> Any:
    """Something other than the array."""
    what = draw(st.sampled_from(["dtype", "layout", "shape", "size", "fill", "value"]))
    if what == "dtype":
        return dataclasses.replace(array, dtype=draw(st.sampled_from(sorted(_DTYPES))))
    if what == "layout":
        return dataclasses.replace(array, layout=draw(st.sampled_from(_LAYOUTS)))
    if what == "fill":
        return dataclasses.replace(array, fill=draw(st.sampled_from(_FILLS)), seed=draw(st.integers(0, 999)))
    if what == "value":
        return draw(st.sampled_from(_VALUES))
    shape = list(array.shape)
    if what == "size" and shape:
        shape[draw(st.integers(0, len(shape) - 1))] = draw(st.sampled_from([0, 1, 2, 3, 6, 13, *_HUGE]))
    else:
        shape = draw(st.lists(st.sampled_from([0, 1, 2, 4, 17, *_HUGE]), max_size=6))
    # NumPy itself refuses more.
    if np.prod([size for size in shape if size], dtype=object) * 16 >= 2**63:
        shape = [min(size, 5) for size in shape]
    return dataclasses.replace(array, shape=tuple(shape))


def arrays(draw: Any, shape: tuple[int, ...], dtype: str = "float32", fill: str | None = None) -> Any:
    fill = draw(st.sampled_from(_FILLS)) if fill is None or rarely(draw, 8) else fill
    array = Array(shape, dtype, fill, "C", draw(st.integers(0, 999)))
    return draw(changed(array)) if rarely(draw, 12) else array


def scales(draw: Any, shapes: list[tuple[int, ...]], dtype: str, fill: str | None = None) -> Any:
    if rarely(draw, 30):
        return draw(st.sampled_from(_VALUES))
    elements = [arrays(draw, shape, dtype, fill) for shape in shapes]
    return elements[: draw(st.integers(0, len(elements)))] if rarely(draw, 20) else elements


def options(draw: Any, possible: dict[str, st.SearchStrategy[Any]]) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(sorted(possible)), max_size=4, unique=True))
    chosen = {name: draw(st.sampled_from(_VALUES)) if rarely(draw, 8) else draw(possible[name]) for name in names}
    if rarely(draw, 40):
        chosen[draw(st.sampled_from(["", "no_option", "y_true", "\0"]))] = 1
    return chosen


def choice(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


_NUMBERS = choice(0.0, 0.25, 1.0, 3.0, 1e-40, 3e38)
_THREADS = choice(0, 1, 2, 3, 7, 70, 5000)
_FLAGS = choice(True, False)
_DTYPE = choice("float32", "float32", "float64", "float16", "bfloat16")
_MINING = dict(
    neg_pos_ratio=_NUMBERS,
    n_neg_min=choice(0, 1, 5, 2**40, 2**63 - 1),
    mining_scope=choice("batch", "image", "image_uniform"),
)
_COLUMNS = choice(*range(-18, 18), 2**62, -(2**63))
_SSD_GRADIENT = dict(
    alpha=_NUMBERS,
    normalizer=choice("batch", "image", "image_selected"),
    from_logits=_FLAGS,
    num_classes=choice(0, 1, 2, 5, 21, 2**62, -3),
    class_column=_COLUMNS,
    box_column=_COLUMNS,
    positive_column=_COLUMNS,
    threads=_THREADS,
)
_SSD = dict(**_SSD_GRADIENT, **_MINING, rank_by=choice("loss", "foreground"), invalid_targets=choice("ignore", "error"))
_IGNORE = dict(ignore_thresh=_NUMBERS, comparator=choice("<", "<="), threads=_THREADS)
_YOLOV3 = dict(
    **_IGNORE,
    grid_sense=choice([1.0], [1.05, 1.2], [1.05, 1.1, 1.2], [3e38] * 2),
    class_weights=choice([], [1.0], [0.0, 2.0], [1.0] * 5),
    ignore_scope=choice("scale", "image"),
    box_loss=choice("classic", "squared", "iou", "giou", "diou", "ciou", "siou"),
    class_loss=choice("sigmoid", "softmax", "normalized_sigmoid", "none"),
    class_focal=_FLAGS,
    objectness_focal=_FLAGS,
    label_smoothing=choice(0.0, 0.1, 0.99, 1.0),
    box_weight=_NUMBERS,
    object_weight=_NUMBERS,
    no_object_weight=_NUMBERS,
    class_weight=_NUMBERS,
    target_format=choice("center", "corner"),
    invalid_targets=choice("ignore", "error"),
)
_IMAGES = choice(0, 1, 2, 3)
_BOXES = choice(0, 1, 2, 7, 40, 1100)


def label_dtype(dtype: str) -> str:
    return "float64" if dtype == "float64" else "float32"


@st.composite
def ssd_calls(draw: Any, backward: bool) -> dict[str, Any]:
    images, boxes, classes, dtype = (draw(one) for one in (_IMAGES, _BOXES, choice(2, 3, 5, 21), _DTYPE))
    labels, shape = label_dtype(dtype), (images, boxes, classes + 12)
    call = dict(y_true=arrays(draw, shape, labels, "labels"), y_pred=arrays(draw, shape, dtype))
    if not backward:
        return {**call, **options(draw, _SSD)}
    call |= {name: arrays(draw, (images,), labels) for name in ("loss_gradient", "n_pos", "n_kept")}
    call["selection"] = arrays(draw, shape[:2], "uint8", "bytes")
    return {**call, **options(draw, _SSD_GRADIENT)}


@st.composite
def mining_calls(draw: Any) -> dict[str, Any]:
    images, boxes, dtype = draw(_IMAGES), draw(_BOXES), draw(_DTYPE)
    return dict(
        negative_loss=arrays(draw, (images, boxes), dtype),
        n_positive=arrays(draw, (images,), label_dtype(dtype), "ones"),
        **options(draw, {**_MINING, "threads": _THREADS}),
    )


@st.composite
def yolov3_calls(draw: Any, backward: bool) -> dict[str, Any]:
    images, anchors, classes, dtype = (draw(one) for one in (_IMAGES, choice(1, 2, 3), choice(1, 2, 5, 33), _DTYPE))
    grids = draw(st.lists(st.tuples(choice(0, 1, 3, 13), choice(0, 1, 2, 14)), min_size=1, max_size=3))
    labels, chosen = label_dtype(dtype), options(draw, _YOLOV3)
    columns = 6 if chosen.get("target_format") == "corner" else 5 + classes
    rows = [(images, height * width * anchors) for height, width in grids]
    call = dict(
        y_true=scales(draw, [(images, *grid, anchors, columns) for grid in grids], labels, "labels"),
        y_pred=scales(draw, [(images, *grid, anchors, 5 + classes) for grid in grids], dtype),
        anchors=arrays(draw, (len(grids), anchors, 2), draw(choice("float64", "int8", ">f4")), "ones"),
        strides=[draw(choice(0, 8, 32, 2**20))] * len(grids),
    )
    if rarely(draw, 20):
        call["strides"] = draw(st.sampled_from(_VALUES))
    if backward:
        call |= dict(
            loss_gradient=arrays(draw, (images,), labels),
            objectness_gradient=scales(draw, rows, labels),
            selection=scales(draw, rows, "uint8", "bytes"),
        )
    return {**call, **chosen}


@st.composite
def ignore_calls(draw: Any) -> dict[str, Any]:
    images, boxes, dtype = draw(_IMAGES), draw(_BOXES), draw(_DTYPE)
    return dict(
        boxes=arrays(draw, (images, boxes, 4), dtype),
        true_boxes=arrays(draw, (images, draw(choice(0, 1, 5, 70)), 4), label_dtype(dtype)),
        **options(draw, _IGNORE),
    )


@st.composite
def floor_calls(draw: Any, own: dict[str, st.SearchStrategy[Any]]) -> dict[str, Any]:
    rows, columns, dtype = draw(choice(0, 1, 31, 33, 1100)), draw(choice(6, 13, 33, 2100)), draw(_DTYPE)
    call = dict(
        labels=arrays(draw, (rows, draw(choice(columns, columns, 6, 33))), label_dtype(dtype)),
        predictions=arrays(draw, (rows, columns), dtype),
        gradient=OnCacheLine((rows, columns), dtype),
        backward=draw(_FLAGS),
        **{name: draw(values) for name, values in own.items()},
    )
    if rarely(draw, 6):
        call["gradient"] = draw(changed(call["gradient"]))
    if rarely(draw, 6):
        call[draw(st.sampled_from([*own, "backward", "threads"]))] = draw(st.sampled_from(_VALUES))
    return call


_CALLS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "ssd_loss_forward": ssd_calls(False),
    "ssd_loss_backward": ssd_calls(True),
    "hard_negative_mask": mining_calls(),
    "yolov3_loss_forward": yolov3_calls(False),
    "yolov3_loss_backward": yolov3_calls(True),
    "yolo_ignore_mask": ignore_calls(),
    "touch_ssd_loss": floor_calls(dict(num_classes=choice(1, 2, 9, 21, 0, -1, 2**62), from_logits=_FLAGS)),
    "touch_yolov3_loss": floor_calls(dict(class_focal=_FLAGS)),
}
ends: collections.Counter[str] = collections.Counter()


@hypothesis.settings(
    max_examples=CASES,
    database=None,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)
@hypothesis.given(st.sampled_from(sorted(_CALLS)).flatmap(lambda name: st.tuples(st.just(name), _CALLS[name])))
def fuzz(call: tuple[str, dict[str, Any]]) -> None:
    name, description = call
    LAST.write_text(f"{name}({description!a})\n")
    arguments = {key: build(value) for key, value in description.items()}
    end, text = "returned", "expected it"
    try:
        getattr(core, name)(**arguments)
    except MemoryError:
        end = "MemoryError"
    except (TypeError, ValueError) as error:
        end, text = type(error).__name__, str(error)
    assert "expected " in text
    if isinstance(description.get("gradient"), OnCacheLine):
        assert OnCacheLine.is_intact(arguments["gradient"])
    ends[f"{name}: {end}"] += 1


if __name__ == "__main__":
    if len(sys.argv) <= 4:
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    fuzz()
    print(json.dumps(ends))
