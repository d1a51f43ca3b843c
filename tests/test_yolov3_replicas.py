"""YOLOv3 models under a distribution strategy."""

from __future__ import annotations

import numpy as np
import pytest

import child_process


@pytest.mark.parametrize("keras", ["keras", "tf_keras"])
def test_replicas_train_like_one_device(keras):
    pytest.importorskip(keras, reason=f"{keras} is not installed")
    for kind, (one, two) in child_process.run("train_yolov3_on_replicas.py", keras).items():
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-6, err_msg=kind)
        assert np.isfinite(one).all()
