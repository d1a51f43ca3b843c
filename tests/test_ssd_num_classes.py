"""`num_classes` of the Keras losses for SSD."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import detloss
import detloss.tf_keras
from test_ssd_layout import new_model_batch

LOSSES = [(keras, detloss.SSDLoss), (tf_keras, detloss.tf_keras.SSDLoss)]
BY_KERAS = pytest.mark.parametrize("of_keras, loss_class", LOSSES, ids=["keras", "tf_keras"])


@BY_KERAS
def test_reaches_the_loss_and_survives_saving(of_keras, loss_class):
    y_true, y_pred = new_model_batch()
    expected = detloss.ssd_loss(y_true, y_pred, num_classes=21, from_logits=True).numpy().mean()
    loss = loss_class(num_classes=21, from_logits=True)
    restored = of_keras.losses.deserialize(of_keras.losses.serialize(loss))
    assert restored.get_config() == loss.get_config()
    for each in (loss, restored, loss_class.from_config(loss.get_config())):
        np.testing.assert_allclose(each(y_true, y_pred), expected, rtol=1e-6)
    rows = np.concatenate([y_true, np.zeros((2, 200, 8), np.float32)], axis=-1)
    assert np.isfinite(restored(rows, rows))


@BY_KERAS
def test_configurations_without_it_load(of_keras, loss_class):
    config = loss_class().get_config()
    del config["num_classes"], config["layout"]["exact_width"]
    assert loss_class.from_config(config).get_config() == loss_class().get_config()


@BY_KERAS
def test_another_width_is_refused(of_keras, loss_class):
    y_true, y_pred = new_model_batch()
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=r"num_classes: expected rows of .* got 25 "):
        loss_class(num_classes=20)(y_true, y_pred)
    inputs = of_keras.Input((8, 25))
    model = of_keras.Model(inputs, of_keras.layers.Dense(25)(inputs))
    model.compile("sgd", loss_class(num_classes=20, from_logits=True))
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=r"num_classes: expected rows of .* got 25 "):
        model.fit(np.zeros((2, 8, 25), np.float32), np.zeros((2, 8, 25), np.float32), verbose=0)


@BY_KERAS
def test_it_agrees_with_the_layout(of_keras, loss_class):
    with pytest.raises(ValueError, match="num_classes: expected 5, which the layout says, got 4"):
        loss_class(num_classes=4, layout=detloss.SSDLayout(num_classes=5))
    with pytest.raises(TypeError, match="num_classes: expected an integer"):
        loss_class(num_classes=4.5)
