"""`detloss.yolo_ignore_mask`: which boxes overlap a true box so well that they are no negatives."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from detloss.ops import arguments, implementation, library
from detloss.yolov3_options import check_ignore_options


def yolo_ignore_mask(
    boxes: Any,
    true_boxes: Any,
    *,
    ignore_thresh: float = 0.5,
    comparator: str = "<",
    name: str | None = None,
) -> tf.Tensor:
    """Whether a box overlaps a true box of its image too well to count as a negative. Has no gradient.

    The originals' mask is the opposite: theirs is 1 where a box counts.

    Args:
      boxes: predicted boxes `[B, ..., 4]`: x, y, w, h with the centre at x, y, in any unit; float32, float16, bfloat16
        or float64.
      true_boxes: `[B, M, 4]` in the same unit, any numeric dtype. A box with a width or height of 0 or less, or with a
        value that is not finite, is padding.
      ignore_thresh: IoU from which a box is ignored.
      comparator: a box counts when its best IoU is `"<"` or `"<="` the threshold.
      name: name of the op.

    Returns:
      `[B, ...]`, bool: True where the box is ignored. False where the image has no true box, and for a box with NaN.

    Raises:
      TypeError: `boxes` is not floating point, `true_boxes` not numeric.
      ValueError: an option or a static shape is wrong.
      tf.errors.InvalidArgumentError: a shape is wrong at run time.
    """
    if implementation.uses_reference():
        from detloss import reference

        return reference.yolo_ignore_mask(
            boxes, true_boxes, ignore_thresh=ignore_thresh, comparator=comparator, name=name
        )
    options = check_ignore_options(ignore_thresh, comparator)
    predictions = arguments.as_predictions("boxes", boxes)
    truths = arguments.as_labels("true_boxes", true_boxes, predictions)
    implementation.check_xla_device("yolo_ignore_mask")
    return library.ops().detloss_yolo_ignore_mask(
        boxes=tf.stop_gradient(predictions),
        true_boxes=truths,
        name=name or "yolo_ignore_mask",
        **options,
    )


tf.no_gradient("Detloss>YoloIgnoreMask")
