"""The parts of the digits examples: canvases, box coding, models and the metric; and both programs with a few steps."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import detloss

pytest.importorskip("matplotlib", reason="the examples need the extra `examples`")
pytest.importorskip("sklearn", reason="the examples need the extra `examples`")

from digits import ssd_boxes, ssd_model, yolov3_boxes, yolov3_model
from digits.boxes import Detections, iou, non_max_suppression
from digits.canvases import CLASS_NAMES, IMAGE_SIZE, Canvas, canvases, load_digit_images
from digits.mean_average_precision import average_precision, mean_average_precision
from digits.pictures import save_detections, save_loss_curves
from digits.ssd_boxes import VARIANCES

#: With the background, which YOLOv3 does not have.
SSD_CLASSES = 1 + len(CLASS_NAMES)
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.fixture(scope="module")
def digit_images():
    return load_digit_images(seed=0)


@pytest.fixture(scope="module")
def drawn(digit_images):
    return list(itertools.islice(canvases(digit_images[0], seed=3), 60))


class TestCanvases:
    def test_no_image_is_in_both_splits(self, digit_images):
        train, test = ({image.tobytes() for image in split.images} for split in digit_images)
        assert len(digit_images[0].images) + len(digit_images[1].images) == 1797
        assert not train & test

    def test_every_class_is_in_both_splits(self, digit_images):
        for split in digit_images:
            assert set(split.labels) == set(range(10))

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

    def test_suppression_is_per_class_and_keeps_the_best(self):
        boxes = np.full((1, 3, 4), [0.5, 0.5, 0.4, 0.4], np.float32)
        scores = np.array([[[0.6, 0.3], [0.8, 0.1], [0.004, 0.001]]], np.float32)
        (found,) = non_max_suppression(boxes, scores)
        assert found.labels.tolist() == [0, 1]
        np.testing.assert_allclose(found.scores, [0.8, 0.3])
        np.testing.assert_allclose(found.boxes, boxes[0, :2], atol=1e-6)

    def test_above(self):
        found = Detections(np.eye(2, 4, dtype=np.float32), np.array([1, 2]), np.array([0.9, 0.2], np.float32))
        assert found.above(0.5).labels.tolist() == [1]


def check_finds_the_truth(found, canvas):
    """The detections of encoded labels are the boxes that were encoded."""
    assert len(found.boxes) == len(canvas.boxes)
    nearest = iou(found.boxes, canvas.boxes).argmax(axis=1)
    assert set(nearest) == set(range(len(canvas.boxes)))
    np.testing.assert_allclose(found.boxes, canvas.boxes[nearest], atol=1e-5)
    np.testing.assert_array_equal(found.labels, canvas.labels[nearest])
    np.testing.assert_allclose(found.scores, 1, atol=1e-5)


class TestSSDBoxes:
    @pytest.fixture(scope="class")
    def encoder(self):
        return ssd_boxes.BoxEncoder(ssd_boxes.prior_boxes(ssd_model.ANCHOR_GRIDS), SSD_CLASSES)

    def test_priors_are_ordered_by_row_column_and_size(self):
        priors = ssd_boxes.AnchorGrid(2, ((0.1, 0.2), (0.3, 0.4))).priors()
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
        np.testing.assert_allclose(ssd_boxes.encode_offsets(box, prior), expected, rtol=1e-6)

    def test_positive_rows_decode_to_their_true_box(self, drawn, encoder):
        for canvas in drawn:
            rows = encoder(canvas.boxes, canvas.labels)
            positive = rows[:, 1:SSD_CLASSES].any(axis=1)
            decoded = ssd_boxes.decode_offsets(rows[positive])
            nearest = iou(decoded, canvas.boxes).argmax(axis=1)
            np.testing.assert_allclose(decoded, canvas.boxes[nearest], atol=1e-5)
            np.testing.assert_array_equal(rows[positive, 1:SSD_CLASSES].argmax(axis=1), canvas.labels[nearest])

    def test_every_true_box_has_a_prior(self, drawn, encoder):
        for canvas in drawn:
            rows = encoder(canvas.boxes, canvas.labels)
            decoded = ssd_boxes.decode_offsets(rows[rows[:, 1:SSD_CLASSES].any(axis=1)])
            assert set(iou(decoded, canvas.boxes).argmax(axis=1)) == set(range(len(canvas.boxes)))

    def test_rows_by_overlap(self, drawn, encoder):
        for canvas in drawn:
            classes = encoder(canvas.boxes, canvas.labels)[:, :SSD_CLASSES]
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
        assert not rows[:, 1 : SSD_CLASSES + 4].any()

    def test_boxes_with_the_same_best_prior_get_one_each(self):
        encode = ssd_boxes.BoxEncoder(ssd_boxes.AnchorGrid(2, ((0.5, 0.5),)).priors(), num_classes=3)
        boxes = np.array([[0.25, 0.25, 0.5, 0.5], [0.3, 0.25, 0.4, 0.4]], np.float32)
        classes = encode(boxes, np.array([0, 1]))[:, :3]
        assert classes[0].tolist() == [0, 1, 0]
        # Its own best prior is taken, so the second box gets the next one, however little they overlap.
        assert classes[1].tolist() == [0, 0, 1]

    def test_encoded_truth_decodes_to_the_truth(self, drawn, encoder):
        rows = np.stack([encoder(canvas.boxes, canvas.labels) for canvas in drawn])
        for canvas, found in zip(drawn, ssd_boxes.decode(rows), strict=True):
            check_finds_the_truth(found, canvas)


class TestYOLOv3Boxes:
    #: Squares, so that overlaps are known; two cells of 32 pixels a side, four of 16.
    ANCHORS = np.array([(4, 4), (8, 8), (12, 12), (20, 20), (32, 32), (48, 48)], np.float32)

    @pytest.fixture(scope="class")
    def encode(self):
        return yolov3_boxes.BoxEncoder(self.ANCHORS, num_classes=3, image_size=64)

    @staticmethod
    def encoded(encode, *objects):
        """Encodes squares given as (x, y, size, label), in pixels."""
        boxes = np.array([(x, y, size, size) for x, y, size, _ in objects], np.float32).reshape(-1, 4) / 64
        return encode(boxes, np.array([label for *_, label in objects], int))

    @staticmethod
    def places(labels):
        """Row, column and anchor of the rows with an object."""
        return [tuple(place) for place in np.argwhere(labels[..., 4]).tolist()]

    def test_shapes(self, encode):
        coarse, fine = self.encoded(encode)
        assert coarse.shape == (2, 2, 3, 8)
        assert fine.shape == (4, 4, 3, 8)
        assert coarse.dtype == fine.dtype == np.float32
        assert not coarse.any()
        assert not fine.any()

    def test_box_of_the_fine_scale(self, encode):
        coarse, fine = self.encoded(encode, (40, 20, 11, 2))
        assert not coarse.any()
        # x in the third of four columns, y in the second of four rows, the second anchor of the scale.
        assert self.places(fine) == [(1, 2, 1)]
        np.testing.assert_allclose(fine[1, 2, 1], [40 / 64, 20 / 64, 11 / 64, 11 / 64, 1, 0, 0, 1])

    def test_box_of_the_coarse_scale(self, encode):
        coarse, fine = self.encoded(encode, (40, 20, 44, 0))
        assert not fine.any()
        assert self.places(coarse) == [(0, 1, 2)]
        np.testing.assert_allclose(coarse[0, 1, 2], [40 / 64, 20 / 64, 44 / 64, 44 / 64, 1, 1, 0, 0])

    def test_anchor_of_both_scales(self, encode):
        coarse, fine = self.encoded(encode, (40, 20, 20, 1))
        assert self.places(coarse) == [(0, 1, 0)]
        assert self.places(fine) == [(1, 2, 2)]
        np.testing.assert_array_equal(coarse[0, 1, 0], fine[1, 2, 2])

    def test_anchor_of_no_scale_is_passed_over(self, encode):
        _, fine = self.encoded(encode, (40, 20, 4, 1))
        assert self.places(fine) == [(1, 2, 0)]

    def test_second_box_of_a_place_gets_the_next_best_anchor(self, encode):
        """13 pixels are 0.85 of 12's anchor, 0.42 of 20's, which has places in both scales, and 0.38 of 8's."""
        coarse, fine = self.encoded(encode, (40, 20, 12, 1), (41, 21, 13, 2))
        assert self.places(fine) == [(1, 2, 1), (1, 2, 2)]
        assert self.places(coarse) == [(0, 1, 0)]
        assert fine[1, 2, 1, 5:].tolist() == [0, 1, 0]
        assert fine[1, 2, 2, 5:].tolist() == coarse[0, 1, 0, 5:].tolist() == [0, 0, 1]

    def test_boxes_beyond_the_places_of_a_cell_are_left_out(self, encode):
        coarse, fine = self.encoded(encode, *[(40, 20, 12, i % 3) for i in range(9)])
        assert self.places(fine) == [(1, 2, 0), (1, 2, 1), (1, 2, 2)]
        assert self.places(coarse) == [(0, 1, 0), (0, 1, 1), (0, 1, 2)]
        assert coarse[..., 5:].sum(axis=-1).max() == fine[..., 5:].sum(axis=-1).max() == 1

    def test_outputs_decode_by_hand(self):
        coarse, fine = np.full((1, 2, 2, 24), -50.0, np.float32), np.full((1, 4, 4, 24), -50.0, np.float32)
        # Row 1, column 0, the second anchor of the coarse scale: sigmoid(0) is the middle of the cell.
        coarse[0, 1, 0, 8:16] = [0, 0, np.log(0.5), 0, np.log(3), -50, 50, 0]
        (found,) = yolov3_boxes.BoxDecoder(self.ANCHORS)([coarse, fine])
        np.testing.assert_allclose(found.boxes, [[0.25, 0.75, 0.25, 0.5]] * 2, atol=1e-6)
        assert found.labels.tolist() == [1, 2]
        np.testing.assert_allclose(found.scores, [0.75, 0.375], atol=1e-6)

    def test_encoded_truth_decodes_to_the_truth(self, drawn):
        anchors = yolov3_model.ANCHORS
        encode = yolov3_boxes.BoxEncoder(anchors, len(CLASS_NAMES), IMAGE_SIZE)
        encoded = [encode(canvas.boxes, canvas.labels) for canvas in drawn]
        y_true = [np.stack(scale) for scale in zip(*encoded, strict=True)]
        outputs = [
            self.logits(*scale) for scale in zip(y_true, anchors[np.array(yolov3_boxes.ANCHOR_MASKS)], strict=True)
        ]
        for canvas, found in zip(drawn, yolov3_boxes.BoxDecoder(anchors)(outputs), strict=True):
            check_finds_the_truth(found, canvas)

    @staticmethod
    def logits(y_true, anchors):
        """What a model would have to put out for `y_true` of one scale."""
        cells = y_true.shape[1]
        is_object = y_true[..., 4:5] > 0
        y, x = np.meshgrid(np.arange(cells), np.arange(cells), indexing="ij")
        offset = np.where(is_object, y_true[..., :2] * cells - np.stack([x, y], axis=-1)[:, :, np.newaxis], 0.5)
        size = np.where(is_object, y_true[..., 2:4] * IMAGE_SIZE / anchors, 1.0)
        # A centre on the edge of its cell would be at minus infinity.
        offset = np.clip(offset, 1e-6, 1 - 1e-6)
        columns = [np.log(offset / (1 - offset)), np.log(size), 40 * y_true[..., 4:] - 20]
        return np.concatenate(columns, axis=-1).reshape(*y_true.shape[:3], -1)

    def test_labels_are_valid(self, drawn):
        encode = yolov3_boxes.BoxEncoder(yolov3_model.ANCHORS, len(CLASS_NAMES), IMAGE_SIZE)
        encoded = [encode(canvas.boxes, canvas.labels) for canvas in drawn]
        detloss.check_targets([np.stack(scale) for scale in zip(*encoded, strict=True)])


@pytest.fixture(scope="module")
def spot():
    """A blank image and one with a spot at the right, near the top."""
    blank, spot = np.zeros((2, 1, IMAGE_SIZE, IMAGE_SIZE, 1), np.float32)
    spot[0, 18:22, 70:74] = 1
    return blank, spot


class TestSSDModel:
    @pytest.fixture(scope="class")
    def model(self):
        keras.utils.set_random_seed(0)
        return ssd_model.build_detector(SSD_CLASSES, IMAGE_SIZE)

    def test_output_has_the_layout_of_the_encoder(self, model):
        priors = ssd_boxes.prior_boxes(ssd_model.ANCHOR_GRIDS)
        rows = ssd_boxes.BoxEncoder(priors, SSD_CLASSES)(np.zeros((0, 4)), np.zeros(0, int))
        output = model(np.zeros((2, IMAGE_SIZE, IMAGE_SIZE, 1), np.float32)).numpy()
        assert model.output_shape == (None, len(priors), SSD_CLASSES + 12)
        assert output.shape == (2, *rows.shape)
        np.testing.assert_allclose(output[..., :SSD_CLASSES].sum(axis=-1), 1, atol=1e-5)
        np.testing.assert_array_equal(output[0, :, -8:-4], priors)
        np.testing.assert_array_equal(output[1, :, -4:], np.broadcast_to(np.float32(VARIANCES), priors.shape))

    def test_output_rows_look_where_their_priors_are(self, model, spot):
        """A spot in the image changes the predictions most near the spot."""
        priors = ssd_boxes.prior_boxes(ssd_model.ANCHOR_GRIDS)
        without, with_spot = (model(image).numpy() for image in spot)
        change = np.abs(with_spot - without).sum(axis=(0, 2))
        for first, count in ((0, 24 * 24 * 2), (24 * 24 * 2, 12 * 12 * 2), (24 * 24 * 2 + 12 * 12 * 2, 6 * 6 * 2)):
            most = first + change[first : first + count].argmax()
            assert np.abs(priors[most, :2] - [72 / 96, 20 / 96]).max() < 0.25

    def test_saves_and_loads(self, model, tmp_path):
        image = np.random.default_rng(0).random((1, IMAGE_SIZE, IMAGE_SIZE, 1), np.float32)
        model.save(tmp_path / "ssd.keras")
        loaded = keras.models.load_model(tmp_path / "ssd.keras")
        np.testing.assert_array_equal(loaded(image), model(image))


class TestYOLOv3Model:
    @pytest.fixture(scope="class")
    def model(self):
        keras.utils.set_random_seed(0)
        return yolov3_model.build_detector(len(CLASS_NAMES), IMAGE_SIZE)

    def test_outputs_have_the_layout_of_the_encoder(self, model):
        encode = yolov3_boxes.BoxEncoder(yolov3_model.ANCHORS, len(CLASS_NAMES), IMAGE_SIZE)
        labels = encode(np.zeros((0, 4)), np.zeros(0, int))
        outputs = model(np.zeros((2, IMAGE_SIZE, IMAGE_SIZE, 1), np.float32))
        for output, of_scale in zip(outputs, labels, strict=True):
            assert output.shape == (2, *of_scale.shape[:2], of_scale.shape[2] * of_scale.shape[3])

    def test_outputs_look_where_their_cells_are(self, model, spot):
        """A spot at the right, near the top, changes the predictions of that corner more than of the others."""
        for without, with_spot in zip(*(model(image) for image in spot), strict=True):
            change = np.abs(with_spot - without).sum(axis=(0, 3))
            assert change[0, -1] > max(change[0, 0], change[-1, 0], change[-1, -1])


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


class TestPrograms:
    """The programs that `make demo` runs, with a few steps."""

    @staticmethod
    def run(program, output, *arguments):
        options = ["--epochs", "1", "--steps-per-epoch", "4", "--batch-size", "4", "--held-out", "8"]
        return subprocess.run(
            [sys.executable, str(EXAMPLES / program), "--output", str(output), *options, *arguments],
            capture_output=True,
            text=True,
            timeout=300,
        )

    @pytest.mark.parametrize("program", ["train_ssd_digits.py", "train_yolov3_digits.py"])
    def test_both_losses_train_alike(self, program, tmp_path):
        done = self.run(program, tmp_path, "--require-map", "0")
        assert done.returncode == 0, done.stderr[-4000:]
        assert "Largest difference between the loss curves" in done.stdout
        for picture in ("loss_curves.png", "detections.png"):
            assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
        runs = json.loads((tmp_path / "report.json").read_text())["runs"]
        assert len(runs["fused"]["losses"]) == 4
        # A gradient that is wrong anywhere shows from the second step on.
        np.testing.assert_allclose(runs["fused"]["losses"], runs["reference"]["losses"], rtol=3e-5)

    def test_too_few_digits_found(self, tmp_path):
        done = self.run("train_yolov3_digits.py", tmp_path, "--require-map", "0.99")
        assert done.returncode == 1
        assert "mAP@0.5 of the fused run: expected at least 0.99" in done.stderr
