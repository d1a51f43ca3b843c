"""`detloss._core.device` and `detloss.device`: which tensors they take. The values are a matter for `tests/gpu`."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

import emulated_kernels
from detloss import _core, device
from fake_tensor import FakeTensor, aligned
from ssd_cases import ssd_batch
from yolov3_cases import yolov3_batch

#: Those of the build; where it has none, those that are emulated.
kernels = getattr(_core, "device", None) or getattr(emulated_kernels.load(), "device", None)
needs_kernels = pytest.mark.skipif(
    kernels is None, reason="neither does this build of detloss have CUDA kernels, nor are there emulated ones"
)
needs_cuda_build = pytest.mark.skipif(
    not hasattr(_core, "device"), reason="this build of detloss has no CUDA kernels, so there is no _core.device"
)


def ssd_arguments(
    y_true: np.ndarray, y_pred: np.ndarray, *, outputs: dict[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    """Those of `kernels.ssd_loss_forward`."""
    shape = y_pred.shape
    label_dtype = np.float64 if y_pred.dtype == np.float64 else np.float32
    arrays = {
        name: np.zeros(shape[:1], label_dtype)
        for name in ("loss", "positive", "negative", "localization", "n_pos", "n_kept")
    }
    arrays |= {"num_invalid": np.zeros(shape[:1], np.int32), "selection": np.zeros(shape[:2], np.uint8)}
    tensors = {name: FakeTensor(array) for name, array in arrays.items()}
    return dict(
        y_true=FakeTensor(y_true),
        y_pred=FakeTensor(y_pred),
        outputs={**tensors, **(outputs or {})},
        workspace=FakeTensor(aligned(1 << 20)),
        stream=0,
        **options,
    )


def message_of(error: type[Exception], function: Any, *arguments: Any, **keywords: Any) -> str:
    with pytest.raises(error) as caught:
        function(*arguments, **keywords)
    return str(caught.value)


ZEROS = np.zeros((1, 2, 15), np.float32)
SHIFTED = FakeTensor(np.zeros(4 * ZEROS.size + 1, np.uint8)[1:].view(np.float32).reshape(ZEROS.shape))

#: Labels, predictions and options that no implementation takes.
BAD_SSD: dict[str, tuple[type[Exception], np.ndarray, np.ndarray, dict[str, Any]]] = {
    "rank": (ValueError, ZEROS, np.zeros((2, 3), np.float32), {}),
    "dtype of y_pred": (TypeError, ZEROS, ZEROS.astype(np.int32), {}),
    "bool y_pred": (TypeError, ZEROS, ZEROS.astype(bool), {}),
    "dtype of y_true": (TypeError, ZEROS.astype(np.float64), ZEROS, {}),
    "float32 labels of float64": (TypeError, ZEROS, ZEROS.astype(np.float64), {}),
    "half labels": (TypeError, ZEROS.astype(np.float16), ZEROS.astype(np.float16), {}),
    "shape of y_true": (ValueError, np.zeros((1, 3, 15), np.float32), ZEROS, {}),
    "transposed": (ValueError, np.zeros((1, 15, 2), np.float32).transpose(0, 2, 1), ZEROS, {}),
    "every other row": (ValueError, ZEROS, np.zeros((1, 4, 15), np.float32)[:, ::2], {}),
    "mining_scope": (ValueError, ZEROS, ZEROS, dict(mining_scope="world")),
    "neg_pos_ratio": (ValueError, ZEROS, ZEROS, dict(neg_pos_ratio=-1.0)),
    "type of neg_pos_ratio": (TypeError, ZEROS, ZEROS, dict(neg_pos_ratio="3")),
    "type of n_neg_min": (TypeError, ZEROS, ZEROS, dict(n_neg_min=1.5)),
    "type of rank_by": (TypeError, ZEROS, ZEROS, dict(rank_by=None)),
    "alpha": (ValueError, ZEROS, ZEROS, dict(alpha=float("nan"))),
    "num_classes": (ValueError, ZEROS, ZEROS, dict(num_classes=1)),
    "box_column": (ValueError, ZEROS, ZEROS, dict(box_column=12)),
    "unknown option": (TypeError, ZEROS, ZEROS, dict(ratio=3)),
}


@needs_kernels
@pytest.mark.parametrize("case", BAD_SSD)
def test_errors_are_those_of_the_cpu(case):
    error, y_true, y_pred, options = BAD_SSD[case]
    expected = message_of(error, _core.ssd_loss_forward, y_true, y_pred, **options)
    arguments = ssd_arguments(y_true, y_pred, **options)
    assert message_of(error, kernels.ssd_loss_forward, **arguments) == expected


def core_yolov3_arguments(**changes: Any) -> dict[str, Any]:
    shape = (2, 3, 4, 2, 8)
    arguments = dict(
        y_true=[np.zeros(shape, np.float32)],
        y_pred=[np.zeros(shape, np.float32)],
        anchors=np.ones((1, 2, 2)),
        strides=[0],
    )
    return {**arguments, **changes}


@needs_kernels
@pytest.mark.parametrize(
    "error, changes",
    [
        (ValueError, dict(y_pred=[])),
        (ValueError, dict(y_true=[])),
        (ValueError, dict(y_true=[np.zeros((2, 3, 4, 2, 9), np.float32)])),
        (TypeError, dict(y_true=[np.zeros((2, 3, 4, 2, 8), np.float64)])),
        (TypeError, dict(y_pred=[np.zeros((2, 3, 4, 2, 8), np.int32)])),
        (ValueError, dict(anchors=np.ones((2, 2)))),
        (ValueError, dict(anchors=-np.ones((1, 2, 2)))),
        (ValueError, dict(strides=[32, 16])),
        (ValueError, dict(box_loss="eiou")),
        (ValueError, dict(class_weights=[1.0])),
        (TypeError, dict(class_weights="heavy")),
        (TypeError, dict(smoothing=0.1)),
    ],
)
def test_errors_of_yolov3_are_those_of_the_cpu(error, changes):
    arguments = core_yolov3_arguments(**changes)
    expected = message_of(error, _core.yolov3_loss_forward, **arguments)
    names = ("loss", "box", "xy", "wh", "object", "no_object", "class")
    outputs: dict[str, Any] = {name: FakeTensor(np.zeros(2, np.float32)) for name in names}
    outputs["num_invalid"] = FakeTensor(np.zeros(2, np.int32))
    outputs["objectness_gradient"] = [FakeTensor(np.zeros((2, 24), np.float32))]
    outputs["selection"] = [FakeTensor(np.zeros((2, 24), np.uint8))]
    fakes = {name: [FakeTensor(scale) for scale in arguments[name]] for name in ("y_true", "y_pred")}
    found = message_of(
        error,
        kernels.yolov3_loss_forward,
        **{**arguments, **fakes},
        outputs=outputs,
        workspace=FakeTensor(aligned(1 << 20)),
        stream=0,
    )
    assert found == expected


@needs_kernels
@pytest.mark.parametrize(
    "error, message, changes",
    [
        (TypeError, r"y_pred: expected a tensor with __dlpack__, or a DLPack capsule, got int", dict(y_pred=3)),
        (
            ValueError,
            r"y_true: expected a tensor on a CUDA device, got DLPack device type 7",
            dict(y_true=FakeTensor(ZEROS, device_type=7)),
        ),
        (
            ValueError,
            r"y_pred: expected a tensor on CUDA device 0, as the others, got device 1",
            dict(y_pred=FakeTensor(ZEROS, device_id=1)),
        ),
        (ValueError, r"y_pred: expected a C-contiguous array", dict(y_pred=FakeTensor(ZEROS, strides=[30, 16, 1]))),
        (
            ValueError,
            r"workspace: expected shape \(\d+,\) or longer, got \(64,\)",
            dict(workspace=FakeTensor(aligned(64))),
        ),
        (
            ValueError,
            r"workspace: expected memory that is aligned to 64 bytes",
            dict(workspace=FakeTensor(aligned(1 << 20, shift=4))),
        ),
        (
            TypeError,
            r"workspace: expected dtype uint8, got float32",
            dict(workspace=FakeTensor(np.zeros(1 << 20, np.float32))),
        ),
        (
            ValueError,
            r"y_pred: expected memory that is aligned to 4 bytes, got an address 1 beyond",
            dict(y_pred=SHIFTED),
        ),
        (
            ValueError,
            r"y_pred: expected sizes of at least 0, got shape \(1, -2, 15\)",
            dict(y_pred=FakeTensor(ZEROS, shape=[1, -2, 15])),
        ),
        (
            ValueError,
            r"y_pred: expected sizes whose product, without zeros, is at most 1099511627776, got shape \(0, 2\d+, ",
            dict(y_pred=FakeTensor(ZEROS, shape=[0, 1 << 31, 1 << 31])),
        ),
        (ValueError, r"y_pred: expected a rank of at least 0, got -1", dict(y_pred=FakeTensor(ZEROS, ndim=-1))),
        (TypeError, r"y_pred: .* got of DLPack type code 2, 32 bits, 4 lanes", dict(y_pred=FakeTensor(ZEROS, lanes=4))),
        (TypeError, r"y_pred: .* got float33", dict(y_pred=FakeTensor(ZEROS, bits=33))),
        (ValueError, r"y_pred: expected a C-contiguous array", dict(y_pred=FakeTensor(ZEROS, strides=[30, -15, 1]))),
        (
            ValueError,
            r"y_pred: expected a C-contiguous array",
            dict(y_pred=FakeTensor(ZEROS, strides=[0, 1 << 62, 1])),
        ),
        (
            ValueError,
            r"y_pred: expected a tensor with memory, got a null pointer",
            dict(y_pred=FakeTensor(ZEROS, data=0)),
        ),
        (
            TypeError,
            r"y_pred: expected __dlpack_device__ to tell two integers, got \('cuda', 0\)",
            dict(y_pred=FakeTensor(ZEROS, device_id=0, told=("cuda", 0))),
        ),
        (
            TypeError,
            r"outputs: expected .* got 3|incompatible function arguments",
            dict(outputs=3),
        ),
        (ValueError, r"stream: expected an integer of at least 0, of 64 bits, got -1", dict(stream=-1)),
        (TypeError, r"stream: expected an integer, got 1\.0", dict(stream=1.0)),
    ],
)
def test_bad_tensors(error, message, changes):
    with pytest.raises(error, match=message):
        kernels.ssd_loss_forward(**{**ssd_arguments(ZEROS, ZEROS), **changes})


@needs_kernels
@pytest.mark.parametrize(
    "name, array, error, message",
    [
        ("loss", np.zeros(1), TypeError, "loss: expected dtype float32, got float64"),
        ("loss", np.zeros(2, np.float32), ValueError, r"loss: expected shape \(1,\), got \(2,\)"),
        ("num_invalid", np.zeros(1, np.int64), TypeError, "num_invalid: expected dtype int32, got int64"),
        ("selection", np.zeros((1, 2), bool), TypeError, "selection: expected dtype uint8, got bool"),
        ("selection", np.zeros((1, 4), np.uint8)[:, ::2], ValueError, "selection: expected a C-contiguous array"),
    ],
)
def test_bad_outputs(name, array, error, message):
    with pytest.raises(error, match=message):
        kernels.ssd_loss_forward(**ssd_arguments(ZEROS, ZEROS, outputs={name: FakeTensor(array)}))


@needs_kernels
def test_missing_output():
    arguments = ssd_arguments(ZEROS, ZEROS)
    del arguments["outputs"]["n_kept"]
    with pytest.raises(ValueError, match="outputs: expected a tensor 'n_kept'"):
        kernels.ssd_loss_forward(**arguments)


@needs_kernels
@pytest.mark.parametrize("stream, number", [(0, 1), (2, 2), (0x7F00DEADBEE0, 0x7F00DEADBEE0)])
def test_producers_learn_the_stream(stream, number):
    """As DLPack numbers it, where 0 would be ambiguous."""
    boxes = FakeTensor(np.zeros((1, 5, 4), np.float32))
    with pytest.raises(ValueError, match=r"boxes, true_boxes: expected shapes .* and \(1, 4\)"):
        kernels.yolo_ignore_mask(boxes, FakeTensor(np.zeros((1, 4), np.float32)), boxes, stream)
    assert boxes.streams == [number]


@needs_kernels
def test_what_counts_as_contiguous():
    """Strides that are not there, and those of axes of one element, or of no elements at all."""
    boxes = np.zeros((1, 5, 4), np.float32)
    owner, wrong = FakeTensor(boxes), FakeTensor(np.zeros((1, 5), np.uint8))
    for tensor in (
        FakeTensor(boxes, strides=None),
        FakeTensor(boxes, strides=[7, 4, 1]),
        FakeTensor(boxes[:, :0], strides=[1, 9, 9]),
        owner.__dlpack__(),
    ):
        with pytest.raises((TypeError, ValueError), match=r"^mask: expected"):
            kernels.yolo_ignore_mask(tensor, FakeTensor(boxes), wrong, 0)


@needs_kernels
def test_workspace_sizes_check_their_arguments():
    size = kernels.ssd_loss_workspace_bytes((2, 8732, 33), "float16", mining_scope="image")
    assert size >= 2 * 8732 * 4
    with pytest.raises(TypeError, match=r"y_pred: expected dtype float32, .* got int8"):
        kernels.ssd_loss_workspace_bytes((2, 8732, 33), "int8")
    with pytest.raises(ValueError, match="y_pred: expected shape"):
        kernels.yolov3_loss_workspace_bytes([(2, 3, 4, 24)], "float32", np.ones((1, 3, 2)), [0], False)
    with pytest.raises(ValueError, match="negative_loss: expected shape"):
        kernels.hard_negative_mask_workspace_bytes((3,), "float32")


def workspace_calls(sizes: list[int]) -> dict[str, tuple[Any, ...]]:
    """Shapes with sizes in the place of rows."""
    more = (np.ones((1, 3, 2)), [0], False)
    return {
        "ssd_loss": ((1, *sizes, 33), "float32"),
        "hard_negative_mask": ((1, *sizes), "float32"),
        "yolov3_loss": ([(1, *sizes, 4, 3, 8)], "float32", *more),
    }


@needs_kernels
@pytest.mark.parametrize("name", workspace_calls([1]))
@pytest.mark.parametrize(
    "size, error, text",
    [
        (-1, ValueError, "expected sizes of at least 0, got shape"),
        (-(2**63), ValueError, "expected sizes of at least 0, got shape"),
        (2**62, ValueError, "expected sizes whose product, without zeros, is at most"),
        (2**63, ValueError, "expected an integer of 64 bits, got 9223372036854775808"),
        (2.0, TypeError, "expected an integer, got 2.0"),
        (True, TypeError, "expected an integer, got True"),
        (None, TypeError, "expected an integer, got None"),
    ],
)
def test_workspace_sizes_of_impossible_shapes(name, size, error, text):
    function = getattr(kernels, f"{name}_workspace_bytes")
    with pytest.raises(error, match=text):
        function(*workspace_calls([size])[name])


@needs_kernels
def test_workspace_sizes_of_scales_that_differ():
    with pytest.raises(ValueError, match=r"y_pred: expected shape \(2, height, width, 3, 8\), got \(1, 3, 4, 3, 8\)"):
        kernels.yolov3_loss_workspace_bytes(
            [(2, 3, 4, 3, 8), (1, 3, 4, 3, 8)], "float32", np.ones((2, 3, 2)), [0, 0], False
        )


def has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


@needs_cuda_build
@pytest.mark.skipif(has_driver(), reason="this machine has a CUDA driver, which would follow the fake pointers")
def test_without_a_driver_a_call_says_so():
    with pytest.raises(RuntimeError, match=r"driver"):
        kernels.ssd_loss_forward(**ssd_arguments(ZEROS, ZEROS))


# detloss.device


@needs_cuda_build
def test_which_frameworks():
    y_true, y_pred = ssd_batch(2, 30)
    with pytest.raises(TypeError, match=r"y_pred: expected a tensor of PyTorch or an array of CuPy, got ndarray"):
        device.ssd_loss_forward(y_true, y_pred)
    batch = yolov3_batch(2)
    with pytest.raises(TypeError, match=r"y_pred: expected a tensor of PyTorch or an array of CuPy, got ndarray"):
        device.yolov3_loss_forward(batch.y_true, batch.y_pred, batch.anchors)


@needs_cuda_build
def test_tensors_of_the_cpu():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    y_true, y_pred = map(torch.from_numpy, ssd_batch(2, 30))
    with pytest.raises(ValueError, match=r"y_true: expected a tensor on a CUDA device, got DLPack device type 1"):
        device.ssd_loss_forward(y_true, y_pred)


@pytest.mark.skipif(hasattr(_core, "device"), reason="this build of detloss has CUDA kernels")
def test_a_cpu_build_says_so():
    with pytest.raises(RuntimeError, match=r"expected a build of detloss with CUDA kernels, .*DETLOSS_CUDA=ON"):
        device.hard_negative_mask(np.zeros((1, 2), np.float32), np.zeros(1, np.float32))
