"""Detectors whose loss is worth measuring, by name.

Loads no TensorFlow, so that `--help` and wrong arguments are answered at once.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detloss.benchmark.case import Case

Anchors = tuple[tuple[int, int], ...]
"""Widths and heights in pixels."""

AnchorRows = tuple[tuple[int, ...], ...]
"""Which anchors every scale has, the coarsest scale first."""

# The clusters of COCO's boxes of Redmon and Farhadi (arXiv:1804.02767), and those of the tiny model.
_COCO_ANCHORS: Anchors = (
    (10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326),
)  # fmt: skip
_TINY_COCO_ANCHORS: Anchors = ((10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319))
_ANCHOR_ROWS: AnchorRows = ((6, 7, 8), (3, 4, 5), (0, 1, 2))
# As keras-yolo3 has them, and darknet had when it published the weights: the smallest anchor has no scale.
_TINY_ANCHOR_ROWS: AnchorRows = ((3, 4, 5), (1, 2, 3))
_STRIDES = (32, 16, 8)
COARSEST_STRIDE = _STRIDES[0]


@dataclasses.dataclass(frozen=True)
class SSDPreset:
    """The head of an SSD in the layout of ssd_keras.

    Attributes:
      name: as on the command line.
      boxes: anchor boxes of an image.
      classes: classes with the background.
    """

    name: str
    boxes: int
    classes: int

    def case(self, batch: int, dtype: str, from_logits: bool) -> Case:
        """This head's loss on batches of `batch` images."""
        from detloss.benchmark.ssd_case import SSDCase

        return SSDCase(self.name, batch, dtype, boxes=self.boxes, classes=self.classes, from_logits=from_logits)


@dataclasses.dataclass(frozen=True)
class YOLOv3Preset:
    """The heads of a YOLOv3 in the layout of keras-yolo3, on square images.

    Attributes:
      name: as on the command line.
      image_size: height and width of an image in pixels, a multiple of 32.
      classes: classes.
      anchors: of all scales, the smallest first.
      anchor_rows: of every scale; the stride of the coarsest is 32, and each next one has half of it.
    """

    name: str
    image_size: int
    classes: int
    anchors: Anchors = _COCO_ANCHORS
    anchor_rows: AnchorRows = _ANCHOR_ROWS

    def case(self, batch: int, dtype: str, boxes_per_image: int, class_focal: bool) -> Case:
        """These heads' loss on batches of `batch` images."""
        from detloss.benchmark.yolov3_case import YOLOv3Case

        return YOLOv3Case(
            self.name,
            batch,
            dtype,
            image_size=self.image_size,
            classes=self.classes,
            boxes_per_image=boxes_per_image,
            class_focal=class_focal,
            anchors=self.anchors,
            anchor_rows=self.anchor_rows,
            strides=_STRIDES[: len(self.anchor_rows)],
        )


Preset = SSDPreset | YOLOv3Preset

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        SSDPreset("ssd300-voc", boxes=8732, classes=21),
        SSDPreset("ssd300-coco", boxes=8732, classes=81),
        SSDPreset("ssd512-coco", boxes=24564, classes=81),
        YOLOv3Preset("yolov3-416-coco", image_size=416, classes=80),
        YOLOv3Preset("yolov3-608-coco", image_size=608, classes=80),
        YOLOv3Preset("yolov3-416-voc", image_size=416, classes=20),
        YOLOv3Preset("yolov3-tiny-416-coco", 416, 80, anchors=_TINY_COCO_ANCHORS, anchor_rows=_TINY_ANCHOR_ROWS),
    )
}
