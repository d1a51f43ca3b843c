"""Detectors whose loss is worth measuring, by name.

Loads no TensorFlow, so that `--help` and wrong arguments are answered at once.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detloss.benchmark.case import Case


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


PRESETS = {
    preset.name: preset
    for preset in (
        SSDPreset("ssd300-voc", boxes=8732, classes=21),
        SSDPreset("ssd300-coco", boxes=8732, classes=81),
        SSDPreset("ssd512-coco", boxes=24564, classes=81),
    )
}
