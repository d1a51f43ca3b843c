"""The golden cases of the three YOLOv3 repositories, as arguments of `detloss.yolov3_loss` and what it has to give."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import golden_cases
from golden_cases import GoldenCase, assert_golden_close

DROP_INS = ("keras_yolo3", "yolov3_tf2", "keras_yolov3_model_set")

_STRIDES = (32, 16, 8)
_ANCHOR_ROWS = ((6, 7, 8), (3, 4, 5), (0, 1, 2))
_TINY_ANCHOR_ROWS = {"keras_yolo3": ((3, 4, 5), (1, 2, 3)), "keras_yolov3_model_set": ((3, 4, 5), (0, 1, 2))}
_GRID_SENSE = {3: (1.05, 1.1, 1.2), 2: (1.05, 1.05)}


@dataclasses.dataclass(frozen=True)
class GoldenYOLOv3Case:
    """One file; the arrays load on access."""

    drop_in: str
    case: GoldenCase

    @property
    def n_scales(self) -> int:
        return 1 if self.drop_in == "yolov3_tf2" else len(self.case["anchors"]) // 3

    @property
    def y_true(self) -> Any:
        return self._scales("y_true")

    @property
    def y_pred(self) -> Any:
        return self._scales("y_pred")

    @property
    def anchors(self) -> np.ndarray:
        """`[A, 2]` relative to the input for yolov3_tf2, else `[S, A, 2]` in pixels."""
        anchors = self.case["anchors"]
        if self.drop_in == "yolov3_tf2":
            return anchors
        rows = _ANCHOR_ROWS if self.n_scales == 3 else _TINY_ANCHOR_ROWS[self.drop_in]
        return anchors[np.array(rows)]

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of `detloss.yolov3_loss`."""
        params = self.case.params
        options = {"ignore_thresh": params.get("ignore_thresh", 0.5)}
        if self.drop_in == "yolov3_tf2":
            return dict(options, box_loss="squared", class_loss="normalized_sigmoid", target_format="corner")
        options["stride"] = _STRIDES[: self.n_scales]
        if self.drop_in == "keras_yolo3":
            return options
        has_classes = params["num_classes"] > 1
        kind = "softmax" if params.get("use_softmax_loss", False) else "sigmoid"
        return dict(
            options,
            box_loss=params.get("iou_loss_type", "ciou") or "classic",
            class_loss=kind if has_classes else "none",
            class_focal=has_classes and params.get("use_focal_loss", False),
            objectness_focal=params.get("use_focal_obj_loss", False),
            label_smoothing=params.get("label_smoothing", 0),
            grid_sense=_GRID_SENSE[self.n_scales] if params.get("elim_grid_sense", False) else None,
        )

    @property
    def loss_gradient(self) -> np.ndarray:
        """Gradient of the original's loss by the loss of every image, float32 `[B]`."""
        images = len(self.y_pred if self.n_scales == 1 else self.y_pred[0])
        return np.full(images, 1 if self.drop_in == "yolov3_tf2" else 1 / images, np.float32)

    def check(self, loss: Any, components: dict[str, Any] | None, gradient: Any) -> None:
        """Compares losses and components `[B]`, and the gradient that `loss_gradient` gives, with the original's."""
        if self.drop_in == "yolov3_tf2":
            assert_golden_close(loss, self.case["loss"])
            assert_golden_close(gradient, self.case["grad_y_pred"])
            return
        assert_golden_close(np.mean(loss), self.case["loss"].reshape(()))
        for scale, actual in enumerate(gradient):
            assert_golden_close(actual, self.case[f"grad_y_pred_{scale}"])
        if self.drop_in == "keras_yolov3_model_set" and components is not None:
            mean = {name: np.mean(component) for name, component in components.items()}
            assert_golden_close(mean["box"], self.case["location_loss"])
            assert_golden_close(mean["object"] + mean["no_object"], self.case["confidence_loss"])
            assert_golden_close(mean["class"], self.case["class_loss"])

    def _scales(self, array: str) -> Any:
        if self.drop_in == "yolov3_tf2":
            return self.case[array]
        return [self.case[f"{array}_{scale}"] for scale in range(self.n_scales)]


def golden_yolov3_cases(drop_in: str, only: tuple[str, ...] = ()) -> list[Any]:
    """The cases of a drop-in module, or those of the given names, as pytest parameters named after their files."""
    cases = golden_cases.golden_cases(drop_in)
    assert set(only) <= {case.id for case in cases}
    return [
        pytest.param(GoldenYOLOv3Case(drop_in, *case.values), id=f"{drop_in}-{case.id}")
        for case in cases
        if not only or case.id in only
    ]


def all_golden_yolov3_cases() -> list[Any]:
    return [case for drop_in in DROP_INS for case in golden_yolov3_cases(drop_in)]
