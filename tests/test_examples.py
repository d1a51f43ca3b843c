"""The parts of the digits example: canvases, box coding, model layout and the metric. Nothing is trained."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the examples need the extra `examples`")
pytest.importorskip("sklearn", reason="the examples need the extra `examples`")

from ssd_digits.boxes import (
    VARIANCES,
    AnchorGrid,
    BoxDecoder,
    BoxEncoder,
    Detections,
    decode_offsets,
    encode_offsets,
    iou,
    prior_boxes,
)
from ssd_digits.digits import CLASS_NAMES, IMAGE_SIZE, Canvas, canvases, load_digit_images
from ssd_digits.mean_average_precision import average_precision, mean_average_precision
from ssd_digits.model import ANCHOR_GRIDS, build_detector
from ssd_digits.pictures import save_detections, save_loss_curves

NUM_CLASSES = len(CLASS_NAMES)


@pytest.fixture(scope="module")
def digit_images():
    return load_digit_images(seed=0)


@pytest.fixture(scope="module")
def drawn(digit_images):
    return list(itertools.islice(canvases(digit_images[0], seed=3), 60))


@pytest.fixture(scope="module")
def encoder():
    return BoxEncoder(prior_boxes(ANCHOR_GRIDS), NUM_CLASSES)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return build_detector(NUM_CLASSES, IMAGE_SIZE)


class TestDigits:
    def test_no_image_is_in_both_splits(self, digit_images):
        train, test = ({image.tobytes() for image in split.images} for split in digit_images)
        assert len(digit_images[0].images) + len(digit_images[1].images) == 1797
        assert not train & test

    def test_every_class_is_in_both_splits(self, digit_images):
        for split in digit_images:
            assert set(split.labels) == set(range(1, 11))

    def test_canvas(self, drawn):
        for canvas in drawn:
            assert canvas.image.shape == (IMAGE_SIZE, IMAGE_SIZE, 1)
            assert canvas.image.dtype == canvas.boxes.dtype == np.float32
            assert canvas.image.min() >= 0
            assert canvas.image.max() <= 1
            assert canvas.boxes.shape == (len(canvas.labels), 4)
            assert 1 <= len(canvas.labels) <= 6
            low, high = canvas.boxes[:, :2] - canvas.boxes[:, 2:] / 2, canvas.boxes[:, :2] + canvas.boxes[:, 2:] / 2
            assert low.min() >= -1e-6
            assert high.max() <= 1 + 1e-6

    def test_digits_hardly_overlap(self, drawn):
        for canvas in drawn:
            overlaps = iou(canvas.boxes, canvas.boxes)
            np.fill_diagonal(overlaps, 0)
            assert overlaps.max() <= 0.1

    def test_digits_are_brighter_than_their_surroundings(self, drawn):
        inside, outside = [], []
        for canvas in drawn:
            covered = np.zeros((IMAGE_SIZE, IMAGE_SIZE), bool)
            for x, y, width, height in np.rint(canvas.boxes * IMAGE_SIZE * 2).astype(int) // 2:
                covered[y - height // 2 : y + height // 2, x - width // 2 : x + width // 2] = True
            inside.append(canvas.image[covered].mean())
            outside.append(canvas.image[~covered].mean())
        assert np.mean(inside) > np.mean(outside) + 0.1

    def test_seed_decides_the_canvases(self, digit_images, drawn):
        again, other = (next(canvases(digit_images[0], seed)) for seed in (3, 4))
        np.testing.assert_array_equal(again.image, drawn[0].image)
        np.testing.assert_array_equal(again.boxes, drawn[0].boxes)
        assert not np.array_equal(other.image, drawn[0].image)


class TestBoxes:
    def test_iou(self):
        a = np.array([[0.5, 0.5, 0.4, 0.4], [0.1, 0.1, 0.2, 0.2]], np.float32)
        b = np.array([[0.5, 0.5, 0.4, 0.4], [0.7, 0.5, 0.4, 0.4], [0.5, 0.5, 0.2, 0.4]], np.float32)
        np.testing.assert_allclose(iou(a, b), [[1, 1 / 3, 1 / 2], [0, 0, 0]], atol=1e-6)

    def test_priors_are_ordered_by_row_column_and_size(self):
        priors = AnchorGrid(2, ((0.1, 0.2), (0.3, 0.4))).priors()
        np.testing.assert_allclose(
            priors[:5],
            [
                [0.25, 0.25, 0.1, 0.2],
                [0.25, 0.25, 0.3, 0.4],
                [0.75, 0.25, 0.1, 0.2],
                [0.75, 0.25, 0.3, 0.4],
                [0.25, 0.75, 0.1, 0.2],
            ],
        )

    def test_offsets_by_hand(self):
        box, prior = np.array([[0.6, 0.4, 0.4, 0.2]]), np.array([[0.5, 0.5, 0.2, 0.4]])
        expected = np.array([[0.5, -0.25, np.log(2), np.log(0.5)]]) / VARIANCES
        np.testing.assert_allclose(encode_offsets(box, prior), expected, rtol=1e-6)


class TestEncoder:
    def test_positive_rows_decode_to_their_true_box(self, drawn, encoder):
        for canvas in drawn:
            rows = encoder(canvas.boxes, canvas.labels)
            positive = rows[:, 1:NUM_CLASSES].any(axis=1)
            decoded = decode_offsets(rows[positive])
            nearest = iou(decoded, canvas.boxes).argmax(axis=1)
            np.testing.assert_allclose(decoded, canvas.boxes[nearest], atol=1e-5)
            np.testing.assert_array_equal(rows[positive, :NUM_CLASSES].argmax(axis=1), canvas.labels[nearest])

    def test_every_true_box_has_a_prior(self, drawn, encoder):
        for canvas in drawn:
            rows = encoder(canvas.boxes, canvas.labels)
            decoded = decode_offsets(rows[rows[:, 1:NUM_CLASSES].any(axis=1)])
            assert set(iou(decoded, canvas.boxes).argmax(axis=1)) == set(range(len(canvas.boxes)))

    def test_rows_by_overlap(self, drawn, encoder):
        for canvas in drawn:
            classes = encoder(canvas.boxes, canvas.labels)[:, :NUM_CLASSES]
            best = iou(canvas.boxes, encoder.priors).max(axis=0)
            positive, background, neutral = classes[:, 1:].any(axis=1), classes[:, 0] == 1, ~classes.any(axis=1)
            assert np.all(classes.sum(axis=1) == np.where(neutral, 0, 1))
            assert positive[best >= 0.5].all()
            assert np.all(best[background] <= 0.4)
            assert np.all((best[neutral] > 0.4) & (best[neutral] < 0.5))
        assert neutral.any()

    def test_priors_and_variances_are_appended(self, encoder):
        rows = encoder(np.zeros((0, 4), np.float32), np.zeros(0, int))
        np.testing.assert_array_equal(rows[:, -8:-4], encoder.priors)
        np.testing.assert_array_equal(rows[:, -4:], np.broadcast_to(np.float32(VARIANCES), (len(rows), 4)))

    def test_image_without_objects_is_background(self, encoder):
        rows = encoder(np.zeros((0, 4), np.float32), np.zeros(0, int))
        assert rows.dtype == np.float32
        assert np.all(rows[:, 0] == 1)
        assert not rows[:, 1 : NUM_CLASSES + 4].any()

    def test_boxes_with_the_same_best_prior_get_one_each(self):
        encode = BoxEncoder(AnchorGrid(2, ((0.5, 0.5),)).priors(), num_classes=3)
        boxes = np.array([[0.25, 0.25, 0.5, 0.5], [0.3, 0.25, 0.4, 0.4]], np.float32)
        classes = encode(boxes, np.array([1, 2]))[:, :3]
        assert classes[0].tolist() == [0, 1, 0]
        # Its own best prior is taken, so the second box gets the next one, however little they overlap.
        assert classes[1].tolist() == [0, 0, 1]


class TestDecoder:
    def test_encoded_truth_decodes_to_the_truth(self, drawn, encoder):
        rows = np.stack([encoder(canvas.boxes, canvas.labels) for canvas in drawn])
        for canvas, found in zip(drawn, BoxDecoder()(rows), strict=True):
            order = np.lexsort(np.round(canvas.boxes, 4).T)
            found_order = np.lexsort(np.round(found.boxes, 4).T)
            np.testing.assert_allclose(found.boxes[found_order], canvas.boxes[order], atol=1e-5)
            np.testing.assert_array_equal(found.labels[found_order], canvas.labels[order])
            assert np.all(found.scores == 1)

    def test_suppression_is_per_class_and_keeps_the_best(self):
        prior, still = [0.5, 0.5, 0.4, 0.4, *VARIANCES], [0.0] * 4
        rows = np.array(
            [
                [0.1, 0.6, 0.3, *still, *prior],
                [0.1, 0.8, 0.1, *still, *prior],
                [0.995, 0.004, 0.001, *still, *prior],
            ],
            np.float32,
        )
        (found,) = BoxDecoder()(rows[np.newaxis])
        assert found.labels.tolist() == [1, 2]
        np.testing.assert_allclose(found.scores, [0.8, 0.3])
        np.testing.assert_allclose(found.boxes, [[0.5, 0.5, 0.4, 0.4]] * 2, atol=1e-6)

    def test_above(self):
        found = Detections(np.eye(2, 4, dtype=np.float32), np.array([1, 2]), np.array([0.9, 0.2], np.float32))
        assert found.above(0.5).labels.tolist() == [1]


class TestModel:
    def test_output_has_the_layout_of_the_encoder(self, model, encoder):
        output = model(np.zeros((2, IMAGE_SIZE, IMAGE_SIZE, 1), np.float32)).numpy()
        assert model.output_shape == (None, len(encoder.priors), NUM_CLASSES + 12)
        assert output.shape == (2, *encoder(np.zeros((0, 4)), np.zeros(0, int)).shape)
        np.testing.assert_allclose(output[..., :NUM_CLASSES].sum(axis=-1), 1, atol=1e-5)
        np.testing.assert_array_equal(output[0, :, -8:-4], encoder.priors)
        np.testing.assert_array_equal(output[1, :, -4:], np.broadcast_to(np.float32(VARIANCES), encoder.priors.shape))

    def test_output_rows_look_where_their_priors_are(self, model, encoder):
        """A spot in the image changes the predictions most near the spot."""
        blank, spot = np.zeros((2, 1, IMAGE_SIZE, IMAGE_SIZE, 1), np.float32)
        spot[0, 18:22, 70:74] = 1
        change = np.abs(model(spot).numpy() - model(blank).numpy()).sum(axis=(0, 2))
        for first, count in ((0, 24 * 24 * 2), (24 * 24 * 2, 12 * 12 * 2), (24 * 24 * 2 + 12 * 12 * 2, 6 * 6 * 2)):
            most = first + change[first : first + count].argmax()
            assert np.abs(encoder.priors[most, :2] - [72 / 96, 20 / 96]).max() < 0.25

    def test_saves_and_loads(self, model, tmp_path):
        image = np.random.default_rng(0).random((1, IMAGE_SIZE, IMAGE_SIZE, 1), np.float32)
        model.save(tmp_path / "ssd.keras")
        loaded = keras.models.load_model(tmp_path / "ssd.keras")
        np.testing.assert_array_equal(loaded(image), model(image))


class TestMeanAveragePrecision:
    LEFT, RIGHT, NOWHERE = [0.2, 0.5, 0.2, 0.2], [0.8, 0.5, 0.2, 0.2], [0.5, 0.1, 0.1, 0.1]

    @staticmethod
    def truth(*objects):
        boxes = np.array([box for _, box in objects], np.float32).reshape(-1, 4)
        return Canvas(np.zeros((1, 1, 1)), boxes, np.array([label for label, _ in objects], int))

    @staticmethod
    def found(*detections):
        boxes = np.array([box for _, _, box in detections], np.float32).reshape(-1, 4)
        labels = np.array([label for label, _, _ in detections], int)
        return Detections(boxes, labels, np.array([score for _, score, _ in detections], np.float32))

    def test_everything_found(self):
        truth = [self.truth((1, self.LEFT), (2, self.RIGHT))]
        assert mean_average_precision([self.found((2, 0.6, self.RIGHT), (1, 0.9, self.LEFT))], truth) == 1

    def test_nothing_found(self):
        assert mean_average_precision([self.found()], [self.truth((1, self.LEFT))]) == 0

    def test_wrong_before_right(self):
        """Precision is 0/1, 1/2, 2/3; the envelope lifts both recall steps to 2/3."""
        truth = [self.truth((1, self.LEFT), (1, self.RIGHT))]
        found = [self.found((1, 0.9, self.NOWHERE), (1, 0.8, self.LEFT), (1, 0.7, self.RIGHT))]
        assert average_precision(found, truth, label=1) == pytest.approx(2 / 3)

    def test_right_wrong_right(self):
        """Half the recall at precision 1, the other half at 2/3."""
        truth = [self.truth((1, self.LEFT), (1, self.RIGHT))]
        found = [self.found((1, 0.9, self.LEFT), (1, 0.8, self.NOWHERE), (1, 0.7, self.RIGHT))]
        assert average_precision(found, truth, label=1) == pytest.approx(0.5 + 0.5 * 2 / 3)

    def test_second_detection_of_an_object_is_wrong(self):
        truth = [self.truth((1, self.LEFT), (1, self.RIGHT))]
        found = [self.found((1, 0.9, self.LEFT), (1, 0.8, self.LEFT), (1, 0.7, self.RIGHT))]
        assert average_precision(found, truth, label=1) == pytest.approx(0.5 + 0.5 * 2 / 3)

    def test_scores_rank_across_images(self):
        """The wrong box of the second image has the best score of all."""
        truth = [self.truth((1, self.LEFT)), self.truth((1, self.LEFT))]
        found = [self.found((1, 0.8, self.LEFT)), self.found((1, 0.9, self.NOWHERE))]
        assert average_precision(found, truth, label=1) == pytest.approx(0.5 * 0.5)

    def test_threshold_on_iou(self):
        """The boxes share a third of their union."""
        truth = [self.truth((1, [0.5, 0.5, 0.4, 0.4]))]
        found = [self.found((1, 0.9, [0.7, 0.5, 0.4, 0.4]))]
        assert average_precision(found, truth, label=1, min_iou=0.3) == 1
        assert average_precision(found, truth, label=1, min_iou=0.5) == 0

    def test_classes_count_equally_and_absent_ones_not(self):
        truth = [self.truth((1, self.LEFT), (1, self.RIGHT)), self.truth((2, self.LEFT))]
        found = [
            self.found((1, 0.9, self.LEFT), (1, 0.8, self.RIGHT), (3, 0.9, self.NOWHERE)),
            self.found((1, 0.1, self.LEFT)),
        ]
        assert mean_average_precision(found, truth) == pytest.approx((1 + 0) / 2)


class TestPictures:
    def test_loss_curves_that_agree_and_that_do_not(self, tmp_path):
        losses = np.linspace(5, 1, 20)
        for name, other in (("same", losses), ("different", losses * 1.001)):
            save_loss_curves(tmp_path / f"{name}.png", losses, other)
            assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")

    def test_detections_with_an_incomplete_row_and_an_empty_canvas(self, drawn, tmp_path):
        nothing = Detections(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
        truth = [Detections(canvas.boxes, canvas.labels, np.ones(len(canvas.labels))) for canvas in drawn[:4]]
        save_detections(tmp_path / "detections.png", drawn[:5], [*truth, nothing], "title")
        assert (tmp_path / "detections.png").read_bytes().startswith(b"\x89PNG")
