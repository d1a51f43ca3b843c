"""`detloss.YOLOv3LossLayer` for Keras 3."""

from __future__ import annotations

import keras

from detloss.keras_common.yolov3_loss_layer import YOLOv3LossLayerMixin


@keras.saving.register_keras_serializable("detloss")
class YOLOv3LossLayer(YOLOv3LossLayerMixin, keras.layers.Layer):
    """YOLOv3's loss of all scales as a layer of Keras 3, whose terms `fit` shows.

    `YOLOv3LossLayer(anchors, num_classes)([outputs, y_trues])` returns the outputs and adds the mean of the loss over
    the images with `add_loss`. In a model whose inputs are the images and the labels, compiled without a loss:

        outputs = YOLOv3LossLayer(anchors, num_classes)([body.outputs, y_trues])
        model = keras.Model([body.input, *y_trues], outputs)
        model.compile("adam")
        model.fit([images, *labels])

    `fit` then shows `xy_loss` and `wh_loss` (`box_loss` where the box loss is an overlap), `object_loss`,
    `no_object_loss` and `class_loss`, means over the images of the epoch. Predict and export with the body.

    Weights of the images are a third input, `layer([outputs, y_trues, weights])` with `weights = keras.Input(())`, and
    `model.fit([images, *labels, weights])` gives them. The loss is then the mean over the images of weight times loss,
    and the terms are weighted alike. `fit(sample_weight=...)` reaches no layer and is refused.

    The options are those of `detloss.yolov3_loss`. Each of `outputs` is `[B, H, W, A * (5 + C)]` or
    `[B, H, W, A, 5 + C]` of any height and width, each of `y_trues` `[B, H, W, A, 5 + C]` (`[B, H, W, A, 6]` for
    `"corner"`), the weights are `[B]`, `[B, 1]` or a scalar tensor. Half-precision outputs go to the op as they are,
    labels stay float32, and so do loss and metrics.

    Args:
      anchors: widths and heights `[S, A, 2]` of S scales in the order of the outputs; `[A, 2]` for a single one.
      num_classes: classes.
      strides: pixels per cell, one integer or one per scale. `"auto"`: 32, 16 and 8, as many as there are scales.
        `None` for anchors relative to the input.
      ignore_thresh: IoU with a true box from which a cell without an object is ignored.
      comparator: `"<"` or `"<="`.
      ignore_scope: `"scale"` or `"image"`.
      box_loss: `"classic"`, `"squared"`, `"iou"`, `"giou"`, `"diou"`, `"ciou"` or `"siou"`.
      class_loss: `"sigmoid"`, `"softmax"`, `"normalized_sigmoid"` or `"none"`.
      class_focal: whether the class loss is focal, over every cell.
      objectness_focal: whether the objectness loss is focal, in every cell and without ignoring.
      label_smoothing: s of `y * (1 - s) + s / 2`.
      grid_sense: s of `sigmoid(t) * s - (s - 1) / 2` in the decoded centre, one number or one per scale, or `None`.
      box_weight: factor of the box term.
      object_weight: factor of the object term.
      no_object_weight: factor of the no-object term.
      class_weight: factor of the class term.
      class_weights: factor of every class, or `None`.
      target_format: `"center"` or `"corner"`.
      invalid_targets: `"ignore"`, `"silent"`, `"error"` or `"class_error"`.
      name: name of the layer.
      **keras_options: other options of a Keras layer.
    """

    mean_metric = keras.metrics.Mean
