"""The CUDA kernels of the YOLOv3 loss and of its ignore mask, on tensors of PyTorch: what the CPU kernels give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import device_checks
import yolov3_cases
from detloss import _core, device
from device_checks import check_yolov3, to_device, to_host, yolov3_on_device
from device_comparison import DTYPES, assert_equal, assert_same_bits
from golden_yolov3 import all_golden_yolov3_cases
from yolov3_cases import AWKWARD, OPTION_SETS, batch_for, yolov3_batch

pytestmark = pytest.mark.gpu
poisoned_memory = pytest.fixture(autouse=True)(device_checks.poisoned_memory)

HEADS_416 = ((13, 13), (26, 26), (52, 52))


@pytest.mark.parametrize("golden", all_golden_yolov3_cases())
def test_golden(golden):
    one = not isinstance(golden.y_true, list)
    y_true, y_pred = ([arrays] if one else arrays for arrays in (golden.y_true, golden.y_pred))
    tensors = ([to_device(scale) for scale in scales] for scales in (y_true, y_pred))
    outputs, gradient = map(
        to_host, yolov3_on_device(*tensors, to_device(golden.loss_gradient), golden.anchors, **golden.options)
    )
    components = {name: outputs[name] for name in ("box", "object", "no_object", "class")}
    golden.check(outputs["loss"], components, gradient[0] if one else gradient)


@pytest.mark.parametrize("fractional", [False, True], ids=["whole", "fractional"])
@pytest.mark.parametrize("name", OPTION_SETS)
def test_option_sets(name, fractional):
    check_yolov3(batch_for(OPTION_SETS[name], fractional=fractional, boxes=6, seed=20), **OPTION_SETS[name])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTION_SETS)
def test_dtypes(name, dtype):
    batch = batch_for(
        OPTION_SETS[name], images=3, grids=((13, 17), (26, 34)), boxes=9, fractional=True, dtype=dtype, seed=22
    )
    check_yolov3(batch, **OPTION_SETS[name])


@pytest.mark.parametrize("case", AWKWARD)
@pytest.mark.parametrize("name", ["keras_yolo3", "giou", "siou", "focal", "focal, softmax", "diou"])
def test_awkward(name, case):
    # Relative anchors, and classes of any number, as the cases have them.
    options = {key: value for key, value in OPTION_SETS[name].items() if key not in ("stride", "class_weights")}
    check_yolov3(AWKWARD[case](), **options)


@pytest.mark.parametrize("classes", [1, 2, 20, 31, 32, 33, 80])
@pytest.mark.parametrize("class_loss", ["sigmoid", "softmax", "normalized_sigmoid"])
def test_numbers_of_classes(class_loss, classes):
    options = dict(class_loss=class_loss, label_smoothing=0.125)
    check_yolov3(batch_for(options, classes=classes, boxes=9, seed=classes), **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["keras_yolo3", "model_set", "focal", "siou"])
def test_yolov3_416(name, dtype):
    options = dict(OPTION_SETS[name])
    if "stride" in options:
        options["stride"] = (32, 16, 8)
    if name == "model_set":
        options["grid_sense"] = (1.0625, 1.125, 1.25)
    batch = yolov3_batch(4, HEADS_416, 80, boxes=12, stride=options.get("stride"), dtype=dtype, seed=23)
    check_yolov3(batch, **options)


@pytest.mark.parametrize("scope", ["scale", "image"])
def test_thousands_of_true_boxes(scope):
    check_yolov3(yolov3_batch(2, ((30, 40), (60, 80)), boxes=(2500, 50), seed=50), ignore_scope=scope)


@pytest.mark.parametrize("scope", ["scale", "image"])
@pytest.mark.parametrize("comparator", ["<", "<="])
def test_iou_at_the_threshold(comparator, scope):
    outputs = check_yolov3(yolov3_cases.iou_of_one_half(), comparator=comparator, ignore_scope=scope)
    assert (outputs["selection"][0] & 2).any() == (comparator == "<")


@pytest.mark.parametrize("value", [1e4, -1e4, 100.0, -100.0, 25.0, -25.0])
@pytest.mark.parametrize("name", OPTION_SETS)
def test_large_logits(name, value):
    batch = batch_for(OPTION_SETS[name], fractional=True, seed=30)
    for logits in batch.y_pred:
        signs = np.where(np.random.default_rng(31).random(logits.shape) < 0.7, 1, -1)
        logits[:] = value * signs
    outputs = check_yolov3(batch, **OPTION_SETS[name])
    assert np.isfinite(outputs["loss"]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", OPTION_SETS)
def test_any_value_in_logits(name, value):
    batch = batch_for(OPTION_SETS[name], images=4, grids=((6, 8), (12, 16)), boxes=9, seed=32)
    rng = np.random.default_rng(32)
    for logits in batch.y_pred:
        logits[rng.random(logits.shape) < 0.002] = value
    check_yolov3(batch, **OPTION_SETS[name])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0, 1.5, 0.0])
@pytest.mark.parametrize("name", OPTION_SETS)
def test_any_value_in_labels(name, value):
    batch = batch_for(OPTION_SETS[name], images=4, grids=((6, 8), (12, 16)), boxes=30, seed=33)
    rng = np.random.default_rng(33)
    for labels in batch.y_true:
        labels[rng.random(labels.shape) < 0.01] = value
    check_yolov3(batch, **OPTION_SETS[name])


def test_flat_logits_and_one_scale():
    batch = yolov3_batch(2, ((6, 8),), seed=34)
    y_true, y_pred, upstream = device_checks.yolov3_tensors(batch)
    expected = to_host(yolov3_on_device(y_true, y_pred, upstream, batch.anchors))
    flat = y_pred[0].reshape(2, 6, 8, -1)
    outputs = device.yolov3_loss_forward(y_true[0], flat, batch.anchors[0])
    residuals = outputs["objectness_gradient"], outputs["selection"]
    gradient = device.yolov3_loss_backward(upstream, y_true[0], flat, *residuals, batch.anchors[0])
    assert gradient.shape == flat.shape
    assert_same_bits(to_host(outputs), expected[0])
    assert_same_bits(to_host(gradient).reshape(expected[1][0].shape), expected[1][0])


def test_tensors_that_start_anywhere():
    batch = yolov3_batch(2, seed=35)
    y_true, y_pred, upstream = device_checks.yolov3_tensors(batch)
    expected = to_host(yolov3_on_device(y_true, y_pred, upstream, batch.anchors))

    def shifted(tensor):
        memory = torch.full((tensor.numel() + 1,), 7, dtype=tensor.dtype, device=tensor.device)
        memory[1:] = tensor.flatten()
        return memory[1:].view(tensor.shape)

    y_true, y_pred = ([shifted(scale) for scale in scales] for scales in (y_true, y_pred))
    actual = to_host(yolov3_on_device(y_true, y_pred, shifted(upstream), batch.anchors))
    assert_same_bits(actual, expected)


def test_errors():
    batch = yolov3_batch(2)
    y_true, y_pred, _ = device_checks.yolov3_tensors(batch)
    with pytest.raises(ValueError, match=r"invalid_targets: expected .* on a GPU, got .*check_targets"):
        device.yolov3_loss_forward(y_true, y_pred, batch.anchors, invalid_targets="error")
    with pytest.raises(ValueError, match="y_true: expected 2 scales"):
        device.yolov3_loss_forward(y_true[:1], y_pred, batch.anchors)


# The mask alone


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("comparator", ["<", "<="])
@pytest.mark.parametrize("shape, true_boxes", [((2, 30), 6), ((3, 1000), 300), ((0, 5), 2), ((2, 0), 2), ((2, 9), 0)])
def test_ignore_mask(shape, true_boxes, comparator, dtype):
    rng = np.random.default_rng(36)

    def boxes(*shape: int) -> np.ndarray:
        return np.concatenate([rng.uniform(0, 1, (*shape, 2)), rng.uniform(0.1, 0.6, (*shape, 2))], axis=-1)

    predicted, truths = boxes(*shape).astype(dtype), boxes(shape[0], true_boxes)
    truths[:, 3:4, 2] = 0
    truths[:, 4:5, 0] = np.nan
    truths = truths.astype(np.float64 if dtype == np.float64 else np.float32)
    options = dict(ignore_thresh=0.3, comparator=comparator)
    expected = _core.yolo_ignore_mask(predicted, truths, **options)
    mask = device.yolo_ignore_mask(to_device(predicted), to_device(truths), **options)
    assert_equal(to_host(mask), expected)
