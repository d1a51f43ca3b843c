"""`detloss.compat.ssd_keras`, the drop-in for pierluigiferrari/ssd_keras."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import execution
import ssd_training
from detloss.compat.ssd_keras import SSDLoss
from detloss.reference import original
from drop_in_checks import DropInChecks
from golden_cases import assert_golden_close, golden_cases


class TestSSDKeras(DropInChecks):
    layout = "ssd_keras"
    drop_in = SSDLoss()
    signature = "(neg_pos_ratio=3, n_neg_min=0, alpha=1.0)"
    replicas = "ssd_keras, weighted"

    def original(self, y_true, y_pred):
        return original.ssd_keras_loss(y_true, y_pred)


@pytest.mark.parametrize("mode", execution.MODES)
@pytest.mark.parametrize("case", golden_cases("ssd_keras"))
def test_golden_cases(case, mode):
    loss = SSDLoss(**case.params).compute_loss
    value, gradient = execution.value_and_gradient(mode, loss, case["y_true"], case["y_pred"])
    assert_golden_close(value, case["loss"])
    assert_golden_close(gradient, case["grad_y_pred"])


def test_later_options_count():
    loss = SSDLoss()
    loss.neg_pos_ratio, loss.n_neg_min, loss.alpha = np.float32(1), np.int64(4), 2
    assert loss.compute_loss.get_config() == {
        "neg_pos_ratio": 1.0,
        "n_neg_min": 4,
        "alpha": 2.0,
        "invalid_targets": "ignore",
    }


def test_terms_of_the_original():
    y_true, y_pred = tf.constant([[0.0, 1.0, 0.0]]), tf.constant([[0.2, 0.5, 0.0]])
    np.testing.assert_allclose(SSDLoss().log_loss(y_true, y_pred), [-np.log(0.5)], rtol=1e-6)
    offsets = tf.constant([[0.5, -3.0, 0.0, 1.0]])
    np.testing.assert_allclose(SSDLoss().smooth_L1_loss(tf.zeros((1, 4)), offsets), [0.125 + 2.5 + 0.5])


@pytest.mark.parametrize("term", ["smooth_L1_loss", "log_loss"])
def test_overridden_terms_are_refused(term):
    with pytest.raises(TypeError, match=f"Focal.{term}: expected no override"):
        type("Focal", (SSDLoss,), {term: lambda self, y_true, y_pred: 0})


def test_subclasses_keep_their_options():
    class Balanced(SSDLoss):
        def __init__(self):
            super().__init__(neg_pos_ratio=1)

    y_true, y_pred = ssd_training.labels(4), ssd_training.predictions(4)
    expected = original.ssd_keras_loss(y_true, y_pred, neg_pos_ratio=1)
    np.testing.assert_allclose(Balanced().compute_loss(y_true, y_pred), expected, rtol=1e-5)
