"""`detloss.reference.ssd_loss` and the originals' graphs against the golden cases and the definition in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import execution
import golden_cases
from detloss import reference
from ssd_loss_checks import SSDLossChecks


class TestReferenceSSDLoss(SSDLossChecks):
    ssd_loss = staticmethod(reference.ssd_loss)

    def test_xla_drops_the_assertion_on_labels(self):
        y_true, y_pred = self.small_batch()
        y_true[1, 0, 0] = np.nan
        _, components, _ = self.differentiate(y_true, y_pred, "xla", invalid_targets="error")
        assert components["num_invalid"].tolist() == [0, 1]


@pytest.mark.parametrize("mode", execution.MODES)
@pytest.mark.parametrize("case", golden_cases.golden_cases("ssd_keras"))
def test_golden_original_ssd_keras(case, mode):
    loss, gradient = execution.value_and_gradient(
        mode,
        lambda y_true, y_pred: reference.original.ssd_keras_loss(y_true, y_pred, **case.params),
        case["y_true"],
        case["y_pred"],
    )
    golden_cases.assert_golden_close(loss, case["loss"])
    golden_cases.assert_golden_close(gradient, case["grad_y_pred"])


# Not under XLA: the shape that the indices are tiled to depends on the data.
@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("case", golden_cases.golden_cases("ssd_keras_rykov8"))
def test_golden_original_ssd_keras_rykov8(case, mode):
    loss, gradient = execution.value_and_gradient(
        mode,
        lambda y_true, y_pred: reference.original.ssd_keras_rykov8_loss(y_true, y_pred, **case.params),
        case["y_true"],
        case["y_pred"],
    )
    golden_cases.assert_golden_close(loss, case["loss"])
    golden_cases.assert_golden_close(gradient, case["grad_y_pred"])
