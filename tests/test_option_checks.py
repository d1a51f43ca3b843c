"""Every option of both losses is checked when the loss is made, by type and range, as the kernels would."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import detloss
import detloss.tf_keras
import ssd_cases
import yolov3_cases
from detloss import _core, reference
from detloss.compat import keras_yolo3, keras_yolov3_model_set, ssd_keras, ssd_keras_rykov8, yolov3_tf2

MAX_FLOAT32 = float(np.finfo(np.float32).max)
MAX_INT64 = 2**63 - 1

NUMBERS = {"ssd": ("neg_pos_ratio", "alpha"), "yolov3": ("ignore_thresh", "label_smoothing", "grid_sense")}
WEIGHTS = ("box_weight", "object_weight", "no_object_weight", "class_weight")
FLAGS = {"ssd": ("from_logits",), "yolov3": ("class_focal", "objectness_focal")}
CHOICES = {
    "ssd": ("mining_scope", "rank_by", "normalizer", "invalid_targets"),
    "yolov3": ("comparator", "ignore_scope", "box_loss", "class_loss", "target_format", "invalid_targets"),
}
#: Numbers at and beyond the edges of every range.
EDGES = [
    -1.0, -1e-30, -0.0, 0.0, 1e-40, 0.5, 0.99999994, 0.99999999, 1.0, 1.0000001, 7.0, 1e30, MAX_FLOAT32, 3.4028235e38,
    3.5e38, 1e300, np.inf, -np.inf, np.nan,
]  # fmt: skip


def ssd_loss(**options: Any) -> Any:
    return detloss.SSDLoss(**options)


def yolov3_loss(**options: Any) -> Any:
    return detloss.YOLOv3Loss([[10, 13], [16, 30]], 3, **options)


def yolov3_layer(**options: Any) -> Any:
    return detloss.YOLOv3LossLayer([[[10, 13], [16, 30]]] * 2, 3, **options)


def core_ssd_loss(**options: Any) -> Any:
    labels, predictions = ssd_cases.ssd_batch(1, 4)
    return _core.ssd_loss_forward(labels, predictions, **options)


def core_yolov3_loss(anchors: Any = None, strides: Any = (0,), **options: Any) -> Any:
    batch = yolov3_cases.small_batch(options.get("target_format", "center"))
    anchors = batch.anchors[:1] if anchors is None else anchors
    labels = [scale.astype(np.float32) for scale in batch.y_true]
    return _core.yolov3_loss_forward(labels, batch.y_pred, anchors, list(strides), **options)


def outcome(function: Callable[..., Any], **options: Any) -> type[Exception] | None:
    try:
        function(**options)
    except (TypeError, ValueError) as error:
        if not str(error).startswith((f"{next(iter(options))}: expected ", "strides: expected ")):
            raise
        return type(error)
    return None


@pytest.mark.parametrize("value", EDGES)
@pytest.mark.parametrize("option", NUMBERS["ssd"])
def test_ranges_of_the_ssd_loss_are_those_of_the_kernels(option, value):
    assert outcome(ssd_loss, **{option: value}) is outcome(core_ssd_loss, **{option: value})


@pytest.mark.parametrize("value", EDGES)
@pytest.mark.parametrize("option", [*NUMBERS["yolov3"], *WEIGHTS])
def test_ranges_of_the_yolov3_loss_are_those_of_the_kernels(option, value):
    of_core = [value] if option == "grid_sense" else value
    assert outcome(yolov3_loss, **{option: value}) is outcome(core_yolov3_loss, **{option: of_core})


@pytest.mark.parametrize("value", EDGES)
def test_ranges_of_sequences_are_those_of_the_kernels(value):
    weights = [1.0, value, 1.0]
    assert outcome(yolov3_loss, class_weights=weights) is outcome(core_yolov3_loss, class_weights=weights)
    anchors = np.array([[[1.0, 1.4], [value, 1.3]]])
    assert outcome(lambda anchors: detloss.YOLOv3Loss(anchors, 3), anchors=anchors[0]) is outcome(
        core_yolov3_loss, anchors=anchors
    )


@pytest.mark.parametrize("value", [-(2**63), -1, 0, 1, 2**31, 2**53 + 1, MAX_INT64])
def test_ranges_of_counts_are_those_of_the_kernels(value):
    assert outcome(ssd_loss, n_neg_min=value) is outcome(core_ssd_loss, n_neg_min=value)


@pytest.mark.parametrize("value", [-1, 1, 32, 2**20, 2**20 + 1, MAX_INT64])
def test_ranges_of_strides_are_those_of_the_kernels(value):
    assert outcome(yolov3_loss, stride=value) is outcome(core_yolov3_loss, strides=[value])


@pytest.mark.parametrize("loss, options", [(ssd_loss, CHOICES["ssd"]), (yolov3_loss, CHOICES["yolov3"])])
def test_names_are_those_of_the_kernels(loss, options):
    core = core_ssd_loss if loss is ssd_loss else core_yolov3_loss
    for option in options:
        for value in ("", "Batch", "none", "ignore", "error", "image", "<", "corner"):
            given = {option: value}
            assert outcome(loss, **given) is outcome(core, **given), given
        with pytest.raises(TypeError, match=rf"{option}: expected one of .*, got 1 of type int"):
            loss(**{option: 1})


# Types

NOT_NUMBERS = ["1", None, True, np.True_, [1.0], 1j, np.array(1.0), object()]
NOT_FLAGS = ["yes", None, 0, 1, 1.0, np.int64(1), np.array(True)]


def tensors(value: Any) -> list[Any]:
    return [tf.Variable(value), tf.constant(value), keras.Variable(value)]


def every_loss() -> dict[str, tuple[Callable[..., Any], tuple[str, ...]]]:
    """What makes each loss, and its options that are single numbers."""
    ssd, yolov3 = NUMBERS["ssd"], (*NUMBERS["yolov3"], *WEIGHTS)
    return {
        "SSDLoss": (ssd_loss, ssd),
        "tf_keras.SSDLoss": (detloss.tf_keras.SSDLoss, ssd),
        "YOLOv3Loss": (yolov3_loss, yolov3),
        "YOLOv3LossLayer": (yolov3_layer, yolov3),
        "ssd_keras": (ssd_keras.SSDLoss, (*ssd, "n_neg_min")),
        "rykov8": (lambda **options: ssd_keras_rykov8.MultiboxLoss(5, **options), (*ssd, "negatives_for_hard")),
        "yolov3_tf2": (lambda **options: yolov3_tf2.YoloLoss([[0.1, 0.2]], 3, **options), ("ignore_thresh",)),
        "ssd_loss": (call_ssd_loss, ssd),
        "reference.ssd_loss": (lambda **options: call_ssd_loss(reference.ssd_loss, **options), ssd),
        "yolov3_loss": (call_yolov3_loss, yolov3),
        "reference.yolov3_loss": (lambda **options: call_yolov3_loss(reference.yolov3_loss, **options), yolov3),
        "yolo_loss": (call_yolo_loss, ("ignore_thresh",)),
        "yolo3_loss": (
            lambda **options: call_yolo_loss(keras_yolov3_model_set.yolo3_loss, **options),
            ("ignore_thresh", "label_smoothing"),
        ),
    }


def call_ssd_loss(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    return (function or detloss.ssd_loss)(*ssd_cases.ssd_batch(1, 4), **options)


def call_yolov3_loss(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    batch = yolov3_cases.small_batch()
    return (function or detloss.yolov3_loss)(batch.y_true[0], batch.y_pred[0], batch.anchors[0], **options)


def call_yolo_loss(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    labels = [np.zeros((1, size, size, 3, 7), np.float32) for size in (2, 4)]
    given = dict(anchors=np.ones((6, 2)), num_classes=2)
    return (function or keras_yolo3.yolo_loss)([*labels, *labels], **{**given, **options})


@pytest.mark.parametrize("name", every_loss())
def test_tensors_and_variables_are_refused(name):
    make, options = every_loss()[name]
    for option in options:
        for value in tensors(1.0):
            with pytest.raises(TypeError, match=rf"{option}: expected .* tensors and variables are not followed"):
                make(**{option: value})


@pytest.mark.parametrize("name", every_loss())
def test_numbers_are_numbers(name):
    make, options = every_loss()[name]
    for option in options:
        for value in NOT_NUMBERS:
            if option == "grid_sense" and (value is None or isinstance(value, list)):
                continue
            with pytest.raises((TypeError, ValueError), match=rf"{option}: expected .*, got "):
                make(**{option: value})
        with pytest.raises((TypeError, ValueError), match=rf"{option}: expected .*, got 1e\+300"):
            make(**{option: 1e300})


@pytest.mark.parametrize(
    "make, flags",
    [
        (ssd_loss, FLAGS["ssd"]),
        (yolov3_loss, FLAGS["yolov3"]),
        (yolov3_layer, FLAGS["yolov3"]),
        (call_ssd_loss, (*FLAGS["ssd"], "return_components")),
        (every_loss()["reference.ssd_loss"][0], (*FLAGS["ssd"], "return_components")),
        (call_yolov3_loss, (*FLAGS["yolov3"], "return_components")),
        (every_loss()["reference.yolov3_loss"][0], (*FLAGS["yolov3"], "return_components")),
        (call_yolo_loss, ("print_loss",)),
        (
            every_loss()["yolo3_loss"][0],
            ("elim_grid_sense", "use_focal_loss", "use_focal_obj_loss", "use_softmax_loss"),
        ),
    ],
)
def test_flags_are_booleans(make, flags):
    for flag in flags:
        make(**{flag: np.False_})
        for value in [*NOT_FLAGS, tf.constant(True)]:
            with pytest.raises(TypeError, match=f"{flag}: expected True or False, got "):
                make(**{flag: value})


@pytest.mark.parametrize("value", [1.0, "3", None, True, tf.constant(1), 2**63, -1])
def test_counts_are_integers(value):
    for make in (ssd_loss, ssd_keras.SSDLoss, call_ssd_loss):
        with pytest.raises((TypeError, ValueError), match=r"n_neg_min: expected an integer of at least 0.*, got "):
            make(n_neg_min=value)


@pytest.mark.parametrize("value", [3.0, "3", None, True, 0, -1, tf.Variable(3)])
def test_numbers_of_classes_are_integers(value):
    anchors = [[10, 13], [16, 30], [33, 23]]
    for make in (
        lambda: detloss.YOLOv3Loss(anchors, value),
        lambda: detloss.YOLOv3LossLayer(anchors, value),
        lambda: yolov3_tf2.YoloLoss(anchors, value),
        lambda: ssd_keras_rykov8.MultiboxLoss(value),
        lambda: call_yolo_loss(num_classes=value),
        lambda: call_yolo_loss(keras_yolov3_model_set.yolo3_loss, num_classes=value),
    ):
        with pytest.raises((TypeError, ValueError), match=r"classes: expected an integer of at least [12].*, got "):
            make()


@pytest.mark.parametrize(
    "anchors",
    [tf.Variable([[1.0, 2.0]]), [[tf.Variable(1.0), 2.0]], [["1", "2"]], None, "anchors",
     [[1.0, None]], [[True, 2.0]], np.array([["1", "2"]]), [[1.0, 2.0], [3.0]]],
)  # fmt: skip
def test_anchors_are_numbers(anchors):
    for make in (
        lambda: detloss.YOLOv3Loss(anchors, 3),
        lambda: detloss.YOLOv3LossLayer(anchors, 3),
        lambda: yolov3_tf2.YoloLoss(anchors, 3),
        lambda: call_yolo_loss(anchors=anchors),
    ):
        with pytest.raises((TypeError, ValueError), match=r"anchors: expected .*, got "):
            make()


@pytest.mark.parametrize(
    "value", [tf.constant([1.0, 1.0, 1.0]), tf.Variable([1.0, 1.0, 1.0]), "123", 1.0, {1.0}, [[1, 1, 1]]]
)
def test_class_weights_are_a_list(value):
    for make in (yolov3_loss, yolov3_layer, call_yolov3_loss):
        with pytest.raises((TypeError, ValueError), match=r"class_weights: expected .*, got "):
            make(class_weights=value)


@pytest.mark.parametrize("value", ["32", tf.constant(32), tf.Variable(32), 32.0, True, [32.0], np.array(32)])
def test_strides_are_integers(value):
    for make in (yolov3_loss, call_yolov3_loss):
        with pytest.raises((TypeError, ValueError), match=r"stride: expected .*, got "):
            make(stride=value)


def test_numpy_scalars_are_allowed_and_configurations_plain():
    loss = detloss.SSDLoss(
        neg_pos_ratio=np.float32(2),
        n_neg_min=np.int64(3),
        alpha=np.float64(0.5),
        from_logits=np.True_,
        num_classes=np.int32(5),
    )
    config = loss.get_config()
    assert [type(config[key]) for key in ("neg_pos_ratio", "n_neg_min", "alpha", "from_logits", "num_classes")] == [
        float, int, float, bool, int,
    ]  # fmt: skip
    of_yolov3 = detloss.YOLOv3Loss(
        np.float32([[10, 13]]), np.int64(3), stride=np.int32(32), ignore_thresh=np.float16(0.5),
        grid_sense=np.float64(1.5),
        class_weights=np.float32([1, 2, 3]), class_focal=np.False_,
    ).get_config()  # fmt: skip
    kinds = {
        key: type(of_yolov3[key]) for key in ("num_classes", "stride", "ignore_thresh", "grid_sense", "class_focal")
    }
    assert kinds == dict(num_classes=int, stride=int, ignore_thresh=float, grid_sense=float, class_focal=bool)
    assert of_yolov3["class_weights"] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "option, value", [("n_neg_min", 2**64), ("from_logits", "yes"), ("alpha", np.nan), ("layout", {"box_column": 1.5})]
)
def test_configurations_are_checked(option, value):
    for loss_class in (detloss.SSDLoss, detloss.tf_keras.SSDLoss):
        config = {**loss_class().get_config(), option: value}
        with pytest.raises((TypeError, ValueError), match=r": expected .*, got "):
            loss_class.from_config(config)
    for keras_of in (keras, tf_keras):
        callable_of = ssd_keras.SSDKerasLossCallable
        if option in ("n_neg_min", "alpha"):
            serialised = keras_of.losses.serialize(callable_of())
            serialised["config"][option] = value
            with pytest.raises((TypeError, ValueError), match=f"{option}"):
                keras_of.losses.deserialize(serialised)


def test_options_set_later_are_checked():
    loss = ssd_keras_rykov8.MultiboxLoss(5)
    loss.alpha = tf.Variable(2.0)
    with pytest.raises(TypeError, match=r"alpha: expected .* tensors and variables are not followed"):
        loss.compute_loss  # noqa: B018
