"""`detloss.check_targets` in `Dataset.map` and in functions: it runs when they do, and its text reaches the user."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import detloss
import execution
import ssd_cases
import yolov3_cases

CELL = yolov3_cases.OBJECT
RULE = "w and h must be above 0"


def labels(invalid_image: bool = False) -> np.ndarray:
    y_true = yolov3_cases.small_batch().y_true[0].astype(np.float32)
    if invalid_image:
        y_true[(*CELL, 3)] = 0
    return y_true


def dataset(bad: bool, batches: int = 5) -> tf.data.Dataset:
    """Batches of images and labels; with a bad one in the last."""
    y_true = np.stack([labels()] * (batches - 1) + [labels(bad)])
    return tf.data.Dataset.from_tensor_slices((np.zeros((batches, 2)), y_true))


def checked(images, y_true):
    detloss.check_targets(y_true, num_classes=yolov3_cases.CLASSES)
    return images, y_true


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("parallel", [None, 3, tf.data.AUTOTUNE])
def test_datasets(parallel, deterministic):
    options = dict(num_parallel_calls=parallel, deterministic=deterministic if parallel else None)
    assert len(list(dataset(bad=False).map(checked, **options))) == 5
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        list(dataset(bad=True).map(checked, **options))
    image, row, column, anchor = CELL
    text = (
        f"ValueError: y_true: expected valid labels, got 1 invalid cells:\n  image {image}, scale 0, cell (row {row}, "
        f"column {column}), anchor {anchor}: {RULE}, got x, y, w, h, objectness, classes = "
    )
    assert text in str(caught.value)


def test_several_scales_of_unknown_shape():
    def checked_scales(*y_true):
        detloss.check_targets(y_true)
        return y_true[0]

    def batches(bad):
        spec = tf.TensorSpec(None, tf.float32)
        generator = tf.data.Dataset.from_generator(
            lambda: iter([(labels(), labels()), (labels(), labels(bad))]), output_signature=(spec, spec)
        )
        return list(generator.map(checked_scales))

    assert len(batches(bad=False)) == 2
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"scale 1, cell .*{RULE}"):
        batches(bad=True)


def test_ssd_labels():
    y_true, _ = ssd_cases.ssd_batch(3, 10)
    y_true[1, 4, 0] = np.nan
    data = tf.data.Dataset.from_tensors(y_true)

    def check(y_true):
        detloss.check_targets(y_true, layout="ssd_keras", num_classes=5)
        return y_true

    with pytest.raises(tf.errors.InvalidArgumentError, match="got 1 invalid boxes:\n  image 1, box 4: class labels"):
        list(data.map(check))


@pytest.mark.parametrize("static", [True, False])
def test_functions(static):
    shape = labels().shape if static else None

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)])
    def step(y_true):
        detloss.check_targets(y_true)
        return tf.reduce_sum(y_true)

    assert step(labels()) > 0
    with pytest.raises(tf.errors.InvalidArgumentError, match=RULE):
        step(labels(True))
    assert step(labels()) > 0  # and on


def test_branches_loops_and_variables():
    variable = tf.Variable(labels(True))

    @tf.function
    def check(when):
        if when:
            detloss.check_targets(variable)
        for _ in tf.range(2):
            detloss.check_targets(tf.constant(labels()))
        return when

    check(False)
    with pytest.raises(tf.errors.InvalidArgumentError, match=RULE):
        check(True)


def test_eager_tensors():
    detloss.check_targets(tf.constant(labels()))
    for y_true in (tf.constant(labels(True)), tf.Variable(labels(True))):
        with pytest.raises(ValueError, match=RULE):
            detloss.check_targets(y_true)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float64])
def test_dtypes(dtype):
    check = execution.in_mode("graph", lambda y_true: detloss.check_targets(y_true))
    check(tf.cast(labels(), dtype))
    with pytest.raises(tf.errors.InvalidArgumentError, match=RULE):
        check(tf.cast(labels(True), dtype))


def test_what_is_known_when_the_graph_is_built():
    for shape, options, message in (
        ((None, 10, 17), {}, r"y_true: expected shape \[batch, rows, columns, anchors, 5 \+ C\].*got \[\?, 10, 17\]"),
        ((None, 10, 17), dict(layout="ssd_keras", num_classes=4), r"num_classes: expected rows of .* got 17 columns"),
        ((None, 3, 4, 2, 6), {}, "y_true: expected target_format or num_classes for 6 columns"),
        ((None, 3, 4, 2, 8), dict(target_format="corner"), "num_classes: expected"),
    ):
        function = execution.in_mode("graph", lambda y_true, options=options: detloss.check_targets(y_true, **options))
        with pytest.raises(ValueError, match=message):
            function.get_concrete_function(tf.TensorSpec(shape, tf.float32))


def test_shapes_known_at_run_time_only():
    function = execution.in_mode(
        "graph", lambda y_true: detloss.check_targets(y_true), input_signature=[tf.TensorSpec(None, tf.float32)]
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match=r'got \[2, 10, 17\].*[\s\S]*layout="ssd_keras"'):
        function(np.zeros((2, 10, 17), np.float32))


def test_xla_is_refused():
    with pytest.raises(NotImplementedError, match=r"check_targets: XLA .* Check labels in the data pipeline"):
        execution.run("xla", lambda y_true: [detloss.check_targets(y_true), y_true][1], labels())


def test_graphs_of_tensorflow_1_are_refused():
    with tf.Graph().as_default(), pytest.raises(NotImplementedError, match="TensorFlow 1"):
        detloss.check_targets(tf.compat.v1.placeholder(tf.float32, [2, 3, 4, 2, 8]))


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_ragged_and_sparse_labels(mode):
    y_true = labels()
    ragged = tf.RaggedTensor.from_tensor(y_true)
    sparse = tf.sparse.from_dense(y_true)
    for value, cure in ((ragged, r"\.to_tensor\(\)"), (sparse, r"tf\.sparse\.to_dense")):
        function = execution.in_mode(mode, lambda value: detloss.check_targets([y_true, value]))
        with pytest.raises(TypeError, match=rf"y_true\[1\]: expected a dense tensor, got .*{cure}"):
            function(value)
        with pytest.raises(TypeError, match=rf"y_true: expected a dense tensor, got .*{cure}"):
            execution.in_mode(mode, lambda value: detloss.check_targets(value, layout="ssd_keras"))(value)
