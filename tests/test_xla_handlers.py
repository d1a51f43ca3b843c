"""What lies between the ops and the kernels under XLA: attributes as text, and errors."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops

import detloss
import execution
import raw_ops
from detloss.ops import library

ATTRIBUTES = 'neg_pos_ratio = 1.0 : f32, n_neg_min = 0 : i64, mining_scope = "batch"'
#: The call that the lowering of `Detloss>HardNegativeMining` makes. The workspace is ample.
MODULE = """
module {
  func.func public @main(%losses: tensor<1x3xf32>, %counts: tensor<1xf32>) -> tensor<1x3xi1> {
    %0:2 = stablehlo.custom_call @detloss_hard_negative_mining(%losses, %counts)
      {api_version = 4 : i32, backend_config = {ATTRIBUTES}}
      : (tensor<1x3xf32>, tensor<1xf32>) -> (tensor<1x3xi1>, tensor<100000xui8>)
    return %0#0 : tensor<1x3xi1>
  }
}
"""


def call_handler(attributes: str, count: float = 1.0) -> list[Any]:
    """The mask that the handler gives for three losses, when the call has these attributes."""
    library.ops()

    def call(losses: tf.Tensor, counts: tf.Tensor) -> Any:
        module = MODULE.replace("ATTRIBUTES", attributes)
        outputs = dict(Sout=[tf.TensorShape([1, 3])], Tout=[tf.bool])
        return gen_xla_ops.xla_call_module(
            args=[losses, counts], version=9, module=module, platforms=["CPU"], **outputs
        )

    (mask,) = execution.run("xla", call, np.float32([[1, 3, 2]]), np.float32([count]))
    return mask.tolist()


def test_the_handler_runs():
    assert call_handler(ATTRIBUTES) == [[False, True, False]]
    assert call_handler(ATTRIBUTES.replace("1.0", "0x40000000")) == [[False, True, True]]


@pytest.mark.parametrize(
    "given, text",
    [
        (dict(attributes=ATTRIBUTES.replace("1.0", "0x7FC00000")), "neg_pos_ratio: expected .* got nan"),
        (dict(attributes=ATTRIBUTES.replace('"batch"', '"all"')), "mining_scope: expected one of .* got 'all'"),
        (dict(attributes=ATTRIBUTES, count=-1.0), "n_positive: expected finite counts of at least 0, got -1"),
    ],
)
def test_mistakes_of_the_caller_are_invalid_arguments(given, text):
    with pytest.raises(tf.errors.InvalidArgumentError, match=text):
        call_handler(**given)


@pytest.mark.parametrize(
    "attributes", [ATTRIBUTES.replace(", mining_scope", ", scope"), ATTRIBUTES.replace("0 : i64", "0 : i32"), ""]
)
def test_other_errors_are_internal(attributes):
    """As those of a device are, which come the same way."""
    with pytest.raises(tf.errors.InternalError):
        call_handler(attributes)


def attributes_of(op: str, **attributes: Any) -> str:
    """Those of the op's call, as its lowering writes them."""
    call, shapes = raw_ops.OPS[op]
    arguments = [tf.zeros(shape) for shape in shapes]
    function = execution.in_mode("xla", lambda *tensors: call(*tensors, **attributes))
    text = function.experimental_get_compiler_ir(*arguments)(stage="hlo")
    return re.search(r"backend_config=\{(.*)\}", text)[1]


def bits(value: float) -> str:
    return f"0x{np.float32(value).view(np.uint32):08X}"


@pytest.mark.parametrize("value", [0.0, 3.0, 0.1, 1e-40, 1e-45, 3.4028234663852886e38, 2.0**-126])
def test_floats_are_written_with_all_their_bits(value):
    assert f"neg_pos_ratio = {bits(value)} : f32" in attributes_of("hard_negative_mining", neg_pos_ratio=value)
    weights = attributes_of("yolov3_loss", class_weights=[value, 1.0])
    assert f"class_weights = array<f32: {bits(value)}, 0x3F800000>" in weights


def test_lists_may_be_empty():
    assert "class_weights = array<f32>" in attributes_of("yolov3_loss", class_weights=[])


def test_bounded_dynamic_shapes_are_refused():
    """XLA's, where a tensor holds fewer rows than its shape says."""

    def loss(boxes: tf.Tensor) -> tf.Tensor:
        some = tf.boolean_mask(boxes, boxes[:, 0, 0] > 0)
        return detloss.ssd_loss(some, some)

    with pytest.raises(tf.errors.InvalidArgumentError, match="expected a static shape for input 0 under XLA, got"):
        execution.run("xla", loss, np.ones((2, 3, 15), np.float32))
