"""What `YOLOv3Loss` and `YOLOv3LossLayer` have to show in Keras 3 and in tf_keras alike."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import json
import pickle
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import detloss
import yolov3_training
from yolov3_cases import OPTION_SETS, batch_for, to_corners
from yolov3_training import NUM_CLASSES, STRIDES

ANCHORS = yolov3_training.anchors_by_scale(2)

#: None of the defaults.
OPTIONS: dict[str, Any] = dict(
    ignore_thresh=0.7,
    comparator="<=",
    ignore_scope="image",
    box_loss="giou",
    class_loss="softmax",
    class_focal=True,
    objectness_focal=True,
    label_smoothing=0.1,
    grid_sense=1.1,
    box_weight=2.0,
    object_weight=3.0,
    no_object_weight=0.5,
    class_weight=0.25,
    class_weights=[1.0, 2.0, 0.5],
    target_format="corner",
    invalid_targets="error",
)
WRONG_OPTIONS = [
    ({"ignore_thresh": -1.0}, ValueError, "ignore_thresh: expected"),
    ({"box_loss": "l1"}, ValueError, "box_loss: expected"),
    ({"class_focal": True, "class_loss": "none"}, ValueError, "class_focal: expected"),
    ({"class_weights": [1.0, 2.0]}, ValueError, "class_weights: expected 3 weights"),
    ({"grid_sense": 0.5}, ValueError, "grid_sense: expected a finite number of at least 1"),
    ({"num_classes": 0}, ValueError, "num_classes: expected an integer of at least 1"),
    ({"num_classes": 3.5}, TypeError, "num_classes: expected an integer"),
    ({"anchors": [[10, 0]] * 3}, ValueError, "anchors: expected finite widths"),
    ({"ignore": 0.5}, (TypeError, ValueError), "ignore"),
]


@functools.cache
def training_with_the_reference(keras: Any) -> yolov3_training.Training:

    def loss(args, anchors, **_):
        per_image = detloss.reference.yolov3_loss(args[2:], args[:2], ANCHORS, stride=STRIDES[:2])
        return tf.reduce_mean(per_image)[tf.newaxis]

    return yolov3_training.fit_lambda_model(keras, yolov3_training.build_lambda_model(keras, loss))


def mean_square(_, y_pred):
    """A loss per image that is none of ours."""
    return tf.reduce_mean(y_pred**2, axis=[1, 2, 3])


class YOLOv3KerasChecks:
    """A subclass names the Keras and the module with its losses."""

    keras: Any
    losses: Any

    @pytest.fixture
    def seen_dtypes(self, monkeypatch):
        """The dtypes of labels and predictions at each call of `detloss.yolov3_loss`."""
        seen, yolov3_loss = set(), detloss.yolov3_loss

        def spy(y_true, y_pred, *args, **options):
            for labels, outputs in zip(tf.nest.flatten(y_true), tf.nest.flatten(y_pred), strict=True):
                seen.add((labels.dtype.name, outputs.dtype.name))
            return yolov3_loss(y_true, y_pred, *args, **options)

        monkeypatch.setattr(detloss, "yolov3_loss", spy)
        return seen

    def losses_by_scale(self, **options):
        return [
            self.losses.YOLOv3Loss(anchors, NUM_CLASSES, stride=stride, **options)
            for anchors, stride in zip(ANCHORS, STRIDES, strict=False)
        ]

    def layer(self, **options):
        return self.losses.YOLOv3LossLayer(ANCHORS, NUM_CLASSES, **options)

    def layer_model(self, mode="graph", scales=2, layer=None):
        model = yolov3_training.build_layer_model(self.keras, layer or self.layer(), scales)
        return yolov3_training.compile_model(self.keras, model, mode=mode)

    def fit_layer_model(self, model):
        """`loss` averaged over images: tf_keras averages added losses over batches, whatever their size."""
        training = yolov3_training.fit(model, [yolov3_training.images(6), *yolov3_training.labels(6)])
        terms = sum(curve for name, curve in training.curves.items() if name != "loss")
        if self.keras.__name__ == "keras":
            np.testing.assert_allclose(terms, training.loss, rtol=1e-5)
        return dataclasses.replace(training, curves={**training.curves, "loss": terms})

    # YOLOv3Loss

    @pytest.mark.parametrize("mode", yolov3_training.MODES)
    def test_loss_trains_like_the_reference(self, mode):
        body = yolov3_training.build_body(self.keras)
        model = yolov3_training.compile_model(self.keras, body, self.losses_by_scale(), mode)
        training = yolov3_training.fit(model, yolov3_training.images(6), yolov3_training.labels(6))
        # The curves of single outputs Keras 3 weights by batch size in eager mode only.
        training.assert_same(training_with_the_reference(self.keras), ["loss"])
        assert training.loss[1] < 0.98 * training.loss[0]

    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    def test_loss_trains_in_half_precision(self, policy, seen_dtypes):
        with yolov3_training.policy(self.keras, policy):
            body = yolov3_training.build_body(self.keras)
            model = yolov3_training.compile_model(self.keras, body, self.losses_by_scale(), "xla")
            training = yolov3_training.fit(model, yolov3_training.images(6), yolov3_training.labels(6))
        training.assert_same(training_with_the_reference(self.keras), ["loss"], rtol=2e-2)
        half = policy.removeprefix("mixed_")
        # tf_keras casts labels to the dtype of the predictions.
        assert seen_dtypes == {("float32" if self.keras.__name__ == "keras" else half, half)}

    @pytest.mark.parametrize("name", OPTION_SETS)
    def test_options_reach_the_loss(self, name):
        options = dict(OPTION_SETS[name])
        batch = batch_for(options, seed=3).scale(0)
        for option in ("stride", "grid_sense"):
            if isinstance(options.get(option), tuple):
                options[option] = options[option][0]
        loss = self.losses.YOLOv3Loss(batch.anchors[0], NUM_CLASSES, **options, reduction="none")
        expected = detloss.yolov3_loss(batch.y_true[0], batch.y_pred[0], batch.anchors[0], **options)
        np.testing.assert_array_equal(loss(batch.y_true[0], batch.y_pred[0]), expected)

    def test_options_and_defaults_are_those_of_the_function(self):
        expected = dict(inspect.signature(detloss.yolov3_loss).parameters)
        for name in ("y_true", "y_pred", "anchors", "return_components", "name"):
            del expected[name]
        for of, stride in ((self.losses.YOLOv3Loss, "stride"), (self.losses.YOLOv3LossLayer, "strides")):
            parameters = inspect.signature(of.__init__).parameters
            for name in expected.keys() - {"stride"}:
                assert parameters[name].default == expected[name].default
            added = {"self", "anchors", "num_classes", "name", "reduction", "keras_options", stride}
            assert parameters.keys() - added == expected.keys() - {"stride"}

    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "none"])
    def test_reduces_as_every_keras_loss(self, reduction, weighted):
        class PlainLoss(self.keras.losses.Loss):
            def call(self, y_true, y_pred):
                return detloss.yolov3_loss(y_true, y_pred, ANCHORS[0], stride=32)

        y_true = yolov3_training.labels(4)
        arguments = (y_true[0], yolov3_training.logits(y_true)[0])
        sample_weight = np.array([1.0, 2.0, 0.0, 4.0], np.float32) if weighted else None
        loss = self.losses.YOLOv3Loss(ANCHORS[0], NUM_CLASSES, stride=32, reduction=reduction)
        actual, expected = (each(*arguments, sample_weight) for each in (loss, PlainLoss(reduction=reduction)))
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual, expected, rtol=1e-6)

    def test_config_of_the_loss(self):
        loss = self.losses.YOLOv3Loss(ANCHORS[0], 3, stride=np.int64(32), **OPTIONS, reduction="sum", name="coarse")
        config = json.loads(json.dumps(loss.get_config()))
        assert type(loss).from_config(config).get_config() == loss.get_config()
        config.pop("dtype", None)
        named = dict(anchors=ANCHORS[0].tolist(), num_classes=3, stride=32, reduction="sum", name="coarse")
        assert config == {**named, **OPTIONS}

    def test_loss_serialises_under_its_registered_name(self):
        serialised = self.keras.losses.serialize(self.losses.YOLOv3Loss(ANCHORS[0], 3))
        assert serialised["registered_name"] == "detloss>YOLOv3Loss"
        restored = self.keras.losses.deserialize(serialised)
        assert type(restored) is self.losses.YOLOv3Loss
        assert restored.get_config() == serialised["config"]

    @pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))])
    def test_duplicates_of_the_loss(self, duplicate):
        loss = self.losses.YOLOv3Loss(ANCHORS[0], 3, **OPTIONS)
        assert duplicate(loss).get_config() == loss.get_config()

    @pytest.mark.parametrize("options, error, message", WRONG_OPTIONS)
    def test_wrong_options_fail_in_the_constructor(self, options, error, message):
        for of, anchors in ((self.losses.YOLOv3Loss, ANCHORS[0]), (self.losses.YOLOv3LossLayer, ANCHORS)):
            with pytest.raises(error, match=message):
                of(**{"anchors": anchors, "num_classes": NUM_CLASSES, **options})

    def test_stride_of_the_loss_is_one(self):
        for stride in (0, (32, 16)):
            with pytest.raises(ValueError, match="stride: expected"):
                self.losses.YOLOv3Loss(ANCHORS[0], NUM_CLASSES, stride=stride)

    def test_classes_that_do_not_fit(self):
        y_true = yolov3_training.labels(1)
        y_pred = yolov3_training.logits(y_true)
        with pytest.raises(ValueError, match="y_pred: expected 27 columns for num_classes=4 and 3 anchors, got shape"):
            self.losses.YOLOv3Loss(ANCHORS[0], 4)(y_true[0], y_pred[0])
        with pytest.raises(ValueError, match="y_true: expected 6 columns for num_classes=3 and 3 anchors, got shape"):
            self.losses.YOLOv3Loss(ANCHORS[0], 3, target_format="corner")(y_true[0], y_pred[0])

    def test_batches_of_any_size_train(self):
        """Multi-scale training: the batches' shapes are known at run time only."""

        def batches():
            for images, size in [(2, (64, 64)), (3, (96, 64)), (1, (64, 160))] * 2:
                yield yolov3_training.images(images, size), tuple(yolov3_training.labels(images, size=size))

        label = tf.TensorSpec((None, None, None, 3, 5 + NUM_CLASSES))
        dataset = tf.data.Dataset.from_generator(
            batches, output_signature=(tf.TensorSpec((None, None, None, 3)), (label, label))
        )
        body = yolov3_training.build_body(self.keras)
        model = yolov3_training.compile_model(self.keras, body, self.losses_by_scale())
        images, labels = next(batches())
        outputs = body(images)
        expected = detloss.yolov3_loss(labels, list(outputs), ANCHORS, stride=STRIDES[:2])
        first = model.test_on_batch(images, list(labels))
        np.testing.assert_allclose(np.ravel(first)[0], np.mean(expected), rtol=1e-5)
        history = model.fit(dataset, epochs=1, verbose=0).history
        assert np.isfinite(history["loss"]).all()

    def test_exported_models_need_no_detloss(self, tmp_path):
        body = yolov3_training.build_body(self.keras)
        model = yolov3_training.compile_model(self.keras, body, self.losses_by_scale())
        model.fit(yolov3_training.images(2), yolov3_training.labels(2), verbose=0)
        self.layer_model(layer=None).fit([yolov3_training.images(2), *yolov3_training.labels(2)], verbose=0)
        body.export(tmp_path / "exported")
        ops = yolov3_training.graph_ops(tmp_path / "exported")
        assert "Conv2D" in ops
        assert not any(op.startswith("Detloss") for op in ops)

    # YOLOv3LossLayer

    @pytest.mark.parametrize("mode", yolov3_training.MODES)
    def test_layer_trains_like_the_reference(self, mode):
        training = self.fit_layer_model(self.layer_model(mode))
        terms = {"xy_loss", "wh_loss", "object_loss", "no_object_loss", "class_loss"}
        assert training.curves.keys() == {"loss", *terms}
        training.assert_same(training_with_the_reference(self.keras), ["loss"])

    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    def test_layer_trains_in_half_precision(self, policy, seen_dtypes):
        with yolov3_training.policy(self.keras, policy):
            training = self.fit_layer_model(self.layer_model("xla"))
        assert seen_dtypes == {("float32", policy.removeprefix("mixed_"))}
        training.assert_same(training_with_the_reference(self.keras), ["loss"], rtol=2e-2)

    @pytest.mark.parametrize("box_loss", ["classic", "ciou"])
    def test_layer_shows_loss_and_terms(self, box_loss):
        model = self.layer_model(layer=self.layer(box_loss=box_loss, class_weight=0.5))
        x = [yolov3_training.images(4), *yolov3_training.labels(4)]
        shown = model.evaluate(x, batch_size=4, verbose=0, return_dict=True)
        loss, components = detloss.yolov3_loss(
            x[1:],
            list(model(x)),
            ANCHORS,
            stride=STRIDES[:2],
            box_loss=box_loss,
            class_weight=0.5,
            return_components=True,
        )
        terms = ("xy", "wh") if box_loss == "classic" else ("box",)
        expected = {f"{term}_loss": np.mean(components[term]) for term in (*terms, "object", "no_object", "class")}
        assert shown == pytest.approx({"loss": np.mean(loss), **expected}, rel=1e-5)

    @pytest.mark.parametrize("shape", [(), (1,)])
    @pytest.mark.parametrize("mode", yolov3_training.MODES)
    def test_layer_weighs_the_images(self, mode, shape):
        """Weights by input; the terms are weighted as the loss is, so that they add up to it."""
        body, y_true, weights = (
            yolov3_training.build_body(self.keras),
            yolov3_training.label_inputs(self.keras),
            self.keras.Input(shape),
        )
        model = self.keras.Model([body.input, *y_true, weights], self.layer()([body.outputs, y_true, weights]))
        yolov3_training.compile_model(self.keras, model, mode=mode)
        x, by_image = [yolov3_training.images(4), *yolov3_training.labels(4)], np.array([1, 2, 0, 5], np.float32)
        shown = model.evaluate([*x, by_image], batch_size=4, verbose=0, return_dict=True)
        loss, components = detloss.yolov3_loss(
            x[1:], list(body(x[0])), ANCHORS, stride=STRIDES[:2], return_components=True
        )
        expected = {
            f"{term}_loss": np.mean(by_image * components[term])
            for term in ("xy", "wh", "object", "no_object", "class")
        }
        assert shown == pytest.approx({"loss": np.mean(by_image * loss), **expected}, rel=1e-5)
        assert sum(expected.values()) == pytest.approx(shown["loss"], rel=1e-5)
        assert np.isfinite(model.fit([*x, by_image], batch_size=3, verbose=0).history["loss"]).all()

    def test_weights_of_ones_change_nothing(self):
        x = [yolov3_training.images(4), *yolov3_training.labels(4)]
        weighted = yolov3_training.build_layer_model(self.keras, self.layer(), weighted=True)
        yolov3_training.compile_model(self.keras, weighted)
        yolov3_training.fit(weighted, [*x, np.ones(4, np.float32)]).assert_same(
            yolov3_training.fit(self.layer_model(), x), rtol=1e-6
        )

    def test_weights_of_the_layer_in_an_own_training_loop(self):
        layer, y_true = self.layer(), yolov3_training.labels(3)
        y_pred, weights = yolov3_training.logits(y_true), np.array([1, 0, 3], np.float32)
        loss = detloss.yolov3_loss(y_true, y_pred, ANCHORS, stride=STRIDES[:2]).numpy()
        for given in (weights, weights[:, None], np.float32(2)):
            layer([y_pred, y_true, given])
            np.testing.assert_allclose(layer.losses[-1], np.mean(np.ravel(given) * loss), rtol=1e-6)
        with pytest.raises(ValueError, match=r"sample_weight: expected shape .*, got \(1, 3\) for a batch of 3"):
            layer([y_pred, y_true, weights[None]])
        outputs = yolov3_training.build_body(self.keras).outputs
        inputs = [outputs, yolov3_training.label_inputs(self.keras), self.keras.Input((5,))]
        with pytest.raises(ValueError, match=r"sample_weight: expected shape .*, got \(None, 5\)"):
            layer(inputs)

    @pytest.mark.parametrize("targets", [None, np.zeros(4)])
    @pytest.mark.parametrize(
        "call, mode",
        [("fit", "eager"), ("fit", "graph"), ("fit", "xla"), ("evaluate", "graph"), ("train_on_batch", "graph")],
    )
    def test_weights_that_reach_no_layer_are_refused(self, call, mode, targets):
        x = [yolov3_training.images(4), *yolov3_training.labels(4)]
        with pytest.raises(ValueError, match=r"sample_weight: expected as the third input of YOLOv3LossLayer"):
            getattr(self.layer_model(mode), call)(x, targets, sample_weight=np.ones(4))

    def test_weights_of_another_loss_of_the_model_are_its_own(self):
        model = yolov3_training.build_layer_model(self.keras, self.layer())
        yolov3_training.compile_model(self.keras, model, [mean_square, mean_square])
        x = [yolov3_training.images(4), *yolov3_training.labels(4)]
        history = model.fit(x, [np.zeros((4, 2, 3, 24)), np.zeros((4, 4, 6, 24))], sample_weight=np.ones(4), verbose=0)
        assert np.isfinite(history.history["loss"]).all()

    def test_weights_of_an_outer_model_do_not_matter(self):
        layer_model, x = self.layer_model(), [yolov3_training.images(2), *yolov3_training.labels(2)]

        class Callback(self.keras.callbacks.Callback):
            def on_epoch_end(self, *_):
                layer_model.evaluate(x, verbose=0)

        outer = yolov3_training.compile_model(self.keras, yolov3_training.build_body(self.keras), mean_square)
        targets = [np.zeros((2, 2, 3, 24)), np.zeros((2, 4, 6, 24))]
        outer.fit(x[0], targets, sample_weight=np.ones(2), callbacks=[Callback()], verbose=0)

    def test_weights_in_a_training_step_of_ones_own(self):
        class Model(self.keras.Model):
            def train_step(self, data):
                x, _, weights = data
                self(x, training=True)
                return {"own": tf.reduce_mean(tf.cast(weights, tf.float32)) * sum(self.losses)}

        model = self.layer_model()
        own = Model(model.inputs, model.outputs)
        own.compile("sgd")
        x, weights = [yolov3_training.images(4), *yolov3_training.labels(4)], np.array([1, 2, 0, 5.0])
        history = own.fit(x, np.zeros(4), sample_weight=weights, verbose=0).history
        assert history["own"] == pytest.approx([2 * model.evaluate(x, batch_size=4, verbose=0)[0]], rel=1e-5)

    def test_loss_weights(self):
        body = yolov3_training.build_body(self.keras)
        body.compile("sgd", loss=self.losses_by_scale(), loss_weights=[0.25, 2.0])
        images, labels, weights = yolov3_training.images(4), yolov3_training.labels(4), np.array([1, 2, 0, 5.0])
        shown = body.evaluate(images, labels, sample_weight=weights, batch_size=4, verbose=0, return_dict=True)["loss"]
        by_scale = [
            detloss.yolov3_loss(y_true, y_pred, anchors, stride=stride)
            for y_true, y_pred, anchors, stride in zip(labels, body(images), ANCHORS, STRIDES, strict=False)
        ]
        assert shown == pytest.approx(np.mean(weights * (0.25 * by_scale[0] + 2 * by_scale[1])), rel=1e-5)

    def test_layer_returns_the_outputs(self):
        model = self.layer_model()
        x = [yolov3_training.images(2), *yolov3_training.labels(2)]
        outputs = self.keras.Model(model.inputs[0], [model.get_layer(f"stride_{s}").output for s in (32, 16)])(x[0])
        for actual, expected in zip(model(x), outputs, strict=True):
            np.testing.assert_array_equal(actual, expected)

    def test_layer_in_an_own_training_loop(self):
        layer = self.layer(invalid_targets="error")
        y_true = yolov3_training.labels(3)
        y_pred = [tf.constant(each) for each in yolov3_training.logits(y_true)]
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            layer([y_pred, y_true])
            (loss,) = layer.losses
        expected, gradients = yolov3_training.value_and_gradients(
            "eager", lambda *arrays: detloss.yolov3_loss(*arrays, ANCHORS, stride=STRIDES[:2]), y_true, y_pred
        )
        np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-6)
        for actual, gradient in zip(tape.gradient(loss, y_pred), gradients, strict=True):
            np.testing.assert_allclose(actual, gradient / 3, rtol=1e-5, atol=1e-7)

    def test_layer_without_images(self):
        layer = self.layer()
        y_true = [labels[:0] for labels in yolov3_training.labels(1)]
        layer([yolov3_training.logits(y_true), y_true])
        assert float(layer.losses[0]) == 0

    def test_layer_with_one_scale(self):
        """One tensor each, anchors `[A, 2]` relative to the input, corner labels."""
        anchors = ANCHORS[0] / np.array(yolov3_training.SIZE[::-1])
        layer = self.losses.YOLOv3LossLayer(anchors, NUM_CLASSES, strides=None, target_format="corner")
        y_true = yolov3_training.labels(2)
        y_pred = tf.constant(yolov3_training.logits(y_true)[0])
        outputs = layer([y_pred, tf.constant(to_corners(y_true[0]), tf.float32)])
        np.testing.assert_array_equal(outputs, y_pred)
        expected = detloss.yolov3_loss(y_true[0], y_pred, ANCHORS[0], stride=32)
        np.testing.assert_allclose(layer.losses[0], np.mean(expected), rtol=1e-5)

    def test_strides_of_the_layer(self):
        anchors = np.ones((4, 3, 2))
        for scales in (1, 2, 3):
            config = self.losses.YOLOv3LossLayer(anchors[:scales], 3).get_config()
            assert config["strides"] == list(STRIDES[:scales])
        with pytest.raises(ValueError, match=r"strides: expected 'auto' .* got 'auto' for 4 scale"):
            self.losses.YOLOv3LossLayer(anchors, 3)
        with pytest.raises(ValueError, match="stride: expected one integer or 4, one per scale"):
            self.losses.YOLOv3LossLayer(anchors, 3, strides=(32, 16, 8))
        assert self.losses.YOLOv3LossLayer(anchors, 3, strides=(64, 32, 16, 8)).get_config()["strides"] == [
            64,
            32,
            16,
            8,
        ]
        assert self.losses.YOLOv3LossLayer(anchors, 3, strides=None).get_config()["strides"] is None

    def test_layer_trains_on_batches_of_any_size(self):
        model = self.layer_model()
        for images, size in [(2, (64, 64)), (3, (96, 64)), (2, (64, 64))]:
            x = [yolov3_training.images(images, size), *yolov3_training.labels(images, size=size)]
            expected = detloss.yolov3_loss(x[1:], list(model(x)), ANCHORS, stride=STRIDES[:2])
            model.reset_metrics()
            loss = model.train_on_batch(x, return_dict=True)["loss"]
            np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-5)

    def test_config_of_the_layer(self):
        options = {**OPTIONS, "grid_sense": [1.1, 1.2]}
        layer = self.layer(strides=np.array([32, 16]), **options, name="loss")
        config = json.loads(json.dumps({key: value for key, value in layer.get_config().items() if key != "dtype"}))
        restored = type(layer).from_config(config)
        assert restored.get_config() == layer.get_config()
        named = dict(anchors=ANCHORS.tolist(), num_classes=3, strides=[32, 16], name="loss", trainable=True)
        assert config == {**named, **options}

    def test_clones_train_alike(self):
        x = [yolov3_training.images(4), *yolov3_training.labels(4)]
        model = self.layer_model()
        clone = self.keras.models.clone_model(model)
        clone.set_weights(model.get_weights())
        yolov3_training.compile_model(self.keras, clone)
        yolov3_training.fit(clone, x).assert_same(yolov3_training.fit(model, x))

    @pytest.mark.parametrize(
        "inputs, message",
        [
            (
                lambda outputs, labels: [outputs],
                r"inputs: expected \[outputs, y_trues\] or \[outputs, y_trues, sample_weight\]",
            ),
            (lambda outputs, labels: [outputs[:1], labels], r"outputs: expected 2 scale\(s\), got 1"),
            (lambda outputs, labels: [outputs, labels[:1]], r"y_trues: expected 2 scale\(s\), got 1"),
            (lambda outputs, labels: [labels, outputs], r"y_true\[0\]: expected rank 5, got shape"),
            (lambda outputs, labels: [outputs[::-1], labels], "y_true.*: expected"),
        ],
    )
    def test_wrong_inputs_of_the_layer(self, inputs, message):
        labels = yolov3_training.labels(2)
        outputs = yolov3_training.logits(labels)
        with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=message):
            self.layer()(inputs(outputs, labels))

    def test_wrong_classes_fail_when_the_model_is_built(self):
        message = r"y_pred\[0\]: expected 27 columns for num_classes=4 and 3 anchors, got shape"
        with pytest.raises(ValueError, match=message):
            yolov3_training.build_layer_model(self.keras, self.losses.YOLOv3LossLayer(ANCHORS, 4))
