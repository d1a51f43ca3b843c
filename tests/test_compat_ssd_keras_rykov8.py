"""`detloss.compat.ssd_keras_rykov8`, the drop-in for rykov8/ssd_keras."""

from __future__ import annotations

import pytest
import tensorflow as tf

import execution
import ssd_training
from detloss.compat.ssd_keras_rykov8 import MultiboxLoss
from detloss.reference import original
from drop_in_checks import DropInChecks
from golden_cases import assert_golden_close, golden_cases


class TestSSDKerasRykov8(DropInChecks):
    layout = "ssd_keras_rykov8"
    drop_in = MultiboxLoss(ssd_training.NUM_CLASSES)
    signature = "(num_classes, alpha=1.0, neg_pos_ratio=3.0, background_label_id=0, negatives_for_hard=100.0)"
    replicas = "rykov8"

    def original(self, y_true, y_pred):
        return original.ssd_keras_rykov8_loss(y_true, y_pred, ssd_training.NUM_CLASSES)


@pytest.mark.parametrize("mode", execution.MODES)
@pytest.mark.parametrize("case", golden_cases("ssd_keras_rykov8"))
def test_golden_cases(case, mode):
    loss = MultiboxLoss(**case.params).compute_loss
    value, gradient = execution.value_and_gradient(mode, loss, case["y_true"], case["y_pred"])
    assert_golden_close(value, case["loss"])
    assert_golden_close(gradient, case["grad_y_pred"])


def test_only_class_0_is_background():
    with pytest.raises(Exception, match="background_label_id: expected 0"):
        MultiboxLoss(4, background_label_id=1)


def test_negatives_for_hard_is_truncated():
    assert MultiboxLoss(4, negatives_for_hard=25.9).compute_loss.negatives_for_hard == 25


def test_num_classes_must_fit_the_rows():
    y_true, y_pred = ssd_training.labels(2, "ssd_keras_rykov8"), ssd_training.predictions(2, "ssd_keras_rykov8")
    loss = MultiboxLoss(3).compute_loss
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"num_classes \+ 12 = 15 columns .* got 16"):
        loss(y_true, y_pred)
    static, unknown = tf.TensorSpec([None, None, 16]), tf.TensorSpec([None, None, None])
    with pytest.raises(ValueError, match=r"num_classes \+ 12 = 15 columns .* got 16"):
        tf.function(loss).get_concrete_function(static, static)
    # Drop-ins knew only static widths.
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"num_classes \+ 12 = 15 columns .* got 16"):
        tf.function(loss, input_signature=[unknown, unknown])(y_true, y_pred)


@pytest.mark.parametrize("term", ["_l1_smooth_loss", "_softmax_loss"])
def test_overridden_terms_are_refused(term):
    with pytest.raises(TypeError, match=f"Focal.{term}: expected no override"):
        type("Focal", (MultiboxLoss,), {term: lambda self, y_true, y_pred: 0})
