"""`detloss.ssd_loss`: the fused SSD loss with hard negative mining, and its gradient."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from detloss.ops import arguments, derivatives, implementation, library
from detloss.option_checks import check_flag
from detloss.ssd_layout import SSDLayout, as_layout
from detloss.ssd_options import check_ssd_loss_options

COMPONENTS = ("positive", "negative", "localization", "n_pos", "n_kept", "num_invalid")

_GRADIENT_ATTRIBUTES = (
    "alpha",
    "normalizer",
    "from_logits",
    "num_classes",
    "class_column",
    "box_column",
    "has_positive_column",
    "positive_column",
    "exact_width",
)


def ssd_loss(
    y_true: Any,
    y_pred: Any,
    *,
    neg_pos_ratio: float = 3.0,
    n_neg_min: int = 0,
    alpha: float = 1.0,
    mining_scope: str = "batch",
    rank_by: str = "loss",
    normalizer: str = "batch",
    from_logits: bool = False,
    layout: SSDLayout | str = "ssd_keras",
    num_classes: int | None = None,
    invalid_targets: str = "ignore",
    return_components: bool = False,
    name: str | None = None,
) -> tf.Tensor | tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """SSD's multibox loss with hard negative mining, per image.

    With `cls` the cross-entropy of a box, `loc` the smooth L1 (beta 1) of its four offsets, `pos` its positive weight
    and `neg` its background label, the k largest `cls * neg` are kept as hard negatives, and
    `loss_b = (sum cls * pos + sum_kept cls + alpha * sum loc * pos) / max(1, n_pos) * B`. After Liu et al., "SSD:
    Single Shot MultiBox Detector" (arXiv:1512.02325), as pierluigiferrari/ssd_keras and rykov8/ssd_keras wrote it.

    A box whose class labels are all zero is neutral and takes no part. A box with a class label (or flag) that is not
    finite, below 0 or above 1e6, or a positive one with an offset that is not finite or beyond 1e6 in magnitude, is
    treated as neutral and counted. A NaN prediction that enters the cross-entropy of a positive or of a candidate makes
    its image's loss NaN, kept or not; with probabilities, entries whose label is zero are not read. Logits equal to an
    infinite largest one share the probability; what overflows is infinite. A term of weight 0 is not computed.

    Args:
      y_true: labels `[B, N, width]`, any numeric dtype; columns as `layout` says.
      y_pred: predictions `[B, N, width]`, float32, float16, bfloat16 or float64. Half precision computes in float32.
      neg_pos_ratio: hard negatives kept per positive.
      n_neg_min: hard negatives to keep at least (per batch or per image, as mined); with `"image_uniform"` the number
        per image when no image asks for any.
      alpha: weight of the localization loss.
      mining_scope: `"batch"`: the batch is mined as one (ssd_keras); `"image"`: every image by itself (Caffe,
        torchvision); `"image_uniform"`: every image keeps the smallest positive `min(ratio * n_pos, N - n_pos)` of all,
        out of all its boxes (rykov8).
      rank_by: `"loss"` or `"foreground"`, the largest foreground probability times `neg`.
      normalizer: `"batch"`: `B / max(1, n_pos of the batch)`; `"image"`: `1 / max(1, n_pos of the image)`;
        `"image_selected"`: confidence by `n_pos + n_kept` of the image, localization by its `n_pos`, or 1
        without any.
      from_logits: whether the class columns of `y_pred` are logits rather than softmax probabilities.
      layout: an `SSDLayout`, `"ssd_keras"`: `[C classes, 4 offsets, 8 unused]`, or `"ssd_keras_rykov8"`:
        `[4 offsets, C classes, positive flag, 7 unused]`.
      num_classes: classes with the background, compared with the width: rows of `"ssd_keras"` then are `C + 12` or
        `C + 4` columns wide, those without unused columns, other rows `C + 12`. `None`: whatever the width leaves. A
        layout that says its number of classes takes no other.
      invalid_targets: what happens to invalid labels. `"ignore"`: they are left out, and a CPU logs one warning per
        process that says how many there are and which is the first; a GPU logs nothing. It also warns of rows whose
        labels lie elsewhere than a layout without `num_classes` took them to. `"silent"`: neither is said. `"error"`:
        the first invalid label raises (CPU only).
      return_components: whether to return the components too.
      name: name of the op.

    Returns:
      The loss `[B]`, float32 (float64 for float64 predictions). With `return_components` a pair of it and a dict of
      `[B]` tensors without gradient: `positive`, `negative` and `localization`, which add up to the loss, `n_pos`,
      `n_kept`, and `num_invalid` (int32).

    Raises:
      TypeError: `y_pred` is not floating point, `y_true` not numeric, a tensor is ragged or sparse, or an option is
        of a wrong type: a tensor or variable, too.
      ValueError: an option or a static shape is wrong.
      tf.errors.InvalidArgumentError: a shape is wrong at run time, or a label is what `invalid_targets` refuses.
    """
    options: dict[str, Any] = dict(
        neg_pos_ratio=neg_pos_ratio,
        n_neg_min=n_neg_min,
        alpha=alpha,
        mining_scope=mining_scope,
        rank_by=rank_by,
        normalizer=normalizer,
        from_logits=from_logits,
        invalid_targets=invalid_targets,
    )
    if implementation.uses_reference():
        from detloss import reference

        return reference.ssd_loss(
            y_true,
            y_pred,
            layout=layout,
            num_classes=num_classes,
            return_components=return_components,
            name=name,
            **options,
        )
    options = check_ssd_loss_options(options)
    columns = as_layout(layout, num_classes)
    check_flag("return_components", return_components)
    predictions = arguments.as_predictions("y_pred", y_pred)
    labels = arguments.as_labels("y_true", y_true, predictions)
    implementation.check_xla_device("ssd_loss")
    outputs = library.ops().detloss_ssd_loss(
        y_true=labels, y_pred=predictions, name=name or "ssd_loss", **options, **_layout_attributes(columns)
    )
    if not return_components:
        return outputs.loss
    return outputs.loss, {key: tf.stop_gradient(getattr(outputs, key)) for key in COMPONENTS}


def _layout_attributes(layout: SSDLayout) -> dict[str, int | bool]:
    return dict(
        num_classes=layout.num_classes or 0,
        class_column=layout.class_column,
        box_column=layout.box_column,
        has_positive_column=layout.positive_column is not None,
        positive_column=layout.positive_column or 0,
        exact_width=layout.exact_width,
    )


@tf.RegisterGradient("Detloss>SsdLoss")
def _ssd_loss_gradient(op: tf.Operation, loss_gradient: tf.Tensor, *_: tf.Tensor) -> tuple[None, tf.Tensor]:
    *_, n_pos, n_kept, _, selection = op.outputs
    gradient = library.ops().detloss_ssd_loss_grad(
        loss_gradient=loss_gradient,
        y_true=op.inputs[0],
        y_pred=op.inputs[1],
        n_pos=n_pos,
        n_kept=n_kept,
        selection=selection,
        **{attribute: op.get_attr(attribute) for attribute in _GRADIENT_ATTRIBUTES},
    )
    return None, gradient


@tf.RegisterGradient("Detloss>SsdLossGrad")
def _no_second_derivative(op: tf.Operation, *_: tf.Tensor) -> None:
    raise derivatives.no_second_derivative("ssd_loss")
