"""`detloss.hard_negative_mask`: which negatives a detector's loss keeps."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from detloss.ops import arguments, implementation, library
from detloss.ssd_options import check_mining_options


def hard_negative_mask(
    negative_loss: Any,
    n_positive: Any,
    *,
    neg_pos_ratio: float = 3.0,
    n_neg_min: int = 0,
    mining_scope: str = "batch",
    name: str | None = None,
) -> tf.Tensor:
    """Marks the hardest negatives: of every scope the k boxes with the largest `negative_loss`, lowest index first.

    `k = min(max(floor(ratio * floor(n_positive)), n_neg_min), candidates)`, candidates being the boxes whose
    `negative_loss` is not zero. NaN ranks first.

    Args:
      negative_loss: `[B, N]`, float32, float16, bfloat16 or float64: the loss of every negative box, zero for boxes
        that are no candidates.
      n_positive: `[B]`, the positives of every image; on a GPU it is not checked.
      neg_pos_ratio: hard negatives kept per positive.
      n_neg_min: hard negatives to keep at least per scope; with `"image_uniform"` the number when no image asks for
        any.
      mining_scope: `"batch"`, `"image"` or `"image_uniform"`, as in `detloss.ssd_loss`.
      name: name of the op.

    Returns:
      bool `[B, N]`, True where the box is kept. It has no gradient.

    Raises:
      TypeError: a dtype is wrong.
      ValueError: an option or a static shape is wrong.
      tf.errors.InvalidArgumentError: a shape is wrong at run time.
    """
    options: dict[str, Any] = dict(neg_pos_ratio=neg_pos_ratio, n_neg_min=n_neg_min, mining_scope=mining_scope)
    if implementation.uses_reference():
        from detloss import reference

        return reference.hard_negative_mask(negative_loss, n_positive, name=name, **options)
    options = check_mining_options(neg_pos_ratio, n_neg_min, mining_scope)
    keys = tf.stop_gradient(arguments.as_predictions("negative_loss", negative_loss))
    counts = arguments.as_labels("n_positive", n_positive, keys)
    implementation.check_xla_device("hard_negative_mask")
    return library.ops().detloss_hard_negative_mining(
        negative_loss=keys, n_positive=counts, name=name or "hard_negative_mask", **options
    )


tf.no_gradient("Detloss>HardNegativeMining")
