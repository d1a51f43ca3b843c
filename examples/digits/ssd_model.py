"""The detector: a few convolutions and, on three of their feature maps, heads that score and shift prior boxes."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from digits.canvases import IMAGE_SIZE
from digits.convolution import convolution
from digits.ssd_boxes import VARIANCES, AnchorGrid, prior_boxes

# A median digit, cropped to its ink, is 0.75 times as wide as high; narrow ones pull the best prior below that.
_WIDTH_TO_HEIGHT = 0.7
#: Cells of 4, 8 and 16 pixels, with priors 17 to 50 pixels high.
ANCHOR_GRIDS = tuple(
    AnchorGrid(cells, tuple((_WIDTH_TO_HEIGHT * height / IMAGE_SIZE, height / IMAGE_SIZE) for height in heights))
    for cells, heights in ((24, (17, 22)), (12, (27, 34)), (6, (41, 50)))
)


@keras.saving.register_keras_serializable("digits")
class PriorBoxes(layers.Layer):
    """Appends the prior boxes and their variances, which are the same for every image, to the predictions.

    A decoder then needs nothing but `y_pred`, and `y_pred` gets the width of `y_true`.

    Args:
      priors: `[priors, 4]`.
    """

    def __init__(self, priors: Sequence[Sequence[float]], **kwargs) -> None:
        super().__init__(**kwargs)
        self.priors = np.asarray(priors, np.float32)
        self._constants = np.concatenate([self.priors, np.broadcast_to(np.float32(VARIANCES), self.priors.shape)], 1)

    def call(self, predictions):
        """`[batch, priors, columns]` to `[batch, priors, columns + 8]`."""
        constants = keras.ops.cast(self._constants, predictions.dtype)
        shape = (keras.ops.shape(predictions)[0], *self._constants.shape)
        return keras.ops.concatenate([predictions, keras.ops.broadcast_to(constants, shape)], axis=-1)

    def get_config(self):
        """The layer's arguments."""
        return {**super().get_config(), "priors": self.priors.tolist()}


def build_detector(num_classes: int, image_size: int, grids: Sequence[AnchorGrid] = ANCHOR_GRIDS) -> keras.Model:
    """An SSD for grey images `[image_size, image_size, 1]` whose output is `[batch, priors, num_classes + 12]`.

    Args:
      num_classes: classes with the background.
      image_size: height and width, 4 times the cells of the finest grid.
      grids: the prior boxes of three feature maps, each half as fine as the one before.
    """
    image = keras.Input((image_size, image_size, 1), name="image")
    x = convolution(image, 16, strides=2)
    x = convolution(x, 32, strides=2)
    fine = convolution(x, 48)
    middle = convolution(convolution(fine, 64, strides=2), 64)
    coarse = convolution(convolution(middle, 64, strides=2), 64)

    heads = [_head(features, grid, num_classes) for features, grid in zip((fine, middle, coarse), grids, strict=True)]
    scores, offsets = (layers.Concatenate(axis=1)(outputs) for outputs in zip(*heads, strict=True))
    # Whatever the policy of the layers, probabilities and offsets leave in float32.
    probabilities = layers.Softmax(dtype="float32", name="probabilities")(scores)
    predictions = layers.Concatenate(dtype="float32")([probabilities, offsets])
    return keras.Model(image, PriorBoxes(prior_boxes(grids), dtype="float32", name="priors")(predictions), name="ssd")


def _head(features, grid: AnchorGrid, num_classes: int):
    """Class scores `[batch, priors of the grid, num_classes]` and offsets `[batch, priors of the grid, 4]`."""
    sizes = len(grid.sizes)
    scores = layers.Conv2D(sizes * num_classes, 3, padding="same")(features)
    offsets = layers.Conv2D(sizes * 4, 3, padding="same")(features)
    return layers.Reshape((-1, num_classes))(scores), layers.Reshape((-1, 4))(offsets)
