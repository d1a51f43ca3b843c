"""Canvases with handwritten digits: real images from scikit-learn, placed at random, so that every box is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import scipy.ndimage
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

IMAGE_SIZE = 96
CLASS_NAMES = tuple("0123456789")

_DIGIT_HEIGHT = (16, 48)
_DIGITS_PER_CANVAS = (2, 6)
_STRETCH = (0.85, 1.2)
_CONTRAST = (0.5, 1.0)
_NOISE = (0.02, 0.10)
_LARGEST_OVERLAP = 0.1
_INK = 0.2
_PLACEMENT_TRIES = 25


@dataclasses.dataclass(frozen=True)
class DigitImages:
    """Single handwritten digits, cropped to their ink.

    Attributes:
      images: one float array `[height, width]` with values in 0..1 per digit.
      labels: class of each image, 0 to 9.
    """

    images: list[np.ndarray]
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Canvas:
    """A picture with several digits.

    Attributes:
      image: float32 `[IMAGE_SIZE, IMAGE_SIZE, 1]`, values in 0..1.
      boxes: float32 `[digits, 4]`, centre x, centre y, width, height as fractions of the image.
      labels: int `[digits]`, classes 0 to 9.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


def load_digit_images(held_out: float = 0.25, seed: int = 0) -> tuple[DigitImages, DigitImages]:
    """Splits scikit-learn's 1797 handwritten digits into images to train on and images never trained on."""
    digits = load_digits()
    images = [_crop_to_ink(image / 16.0) for image in digits.images]
    train, test = train_test_split(
        np.arange(len(images)), test_size=held_out, random_state=seed, stratify=digits.target
    )
    return (
        DigitImages([images[i] for i in train], digits.target[train]),
        DigitImages([images[i] for i in test], digits.target[test]),
    )


def canvases(digits: DigitImages, seed: int) -> Iterator[Canvas]:
    """Endless canvases made of `digits`; the same seed gives the same canvases."""
    rng = np.random.default_rng(seed)
    while True:
        yield _draw_canvas(digits, rng)


def _draw_canvas(digits: DigitImages, rng: np.random.Generator) -> Canvas:
    image = _background(rng)
    corners: list[tuple[int, int, int, int]] = []
    labels: list[int] = []
    for _ in range(rng.integers(*_DIGITS_PER_CANVAS, endpoint=True)):
        index = rng.integers(len(digits.images))
        digit = _resize(digits.images[index], rng)
        place = _free_place(digit.shape, corners, rng)
        if place is None:
            continue
        left, top, right, bottom = place
        patch = image[top:bottom, left:right]
        # Ink covers what lies below it; the paper of the digit stays transparent.
        patch += digit * (rng.uniform(*_CONTRAST) - patch)
        corners.append(place)
        labels.append(int(digits.labels[index]))
    image += rng.normal(0.0, rng.uniform(*_NOISE), image.shape)
    return Canvas(
        np.clip(image, 0.0, 1.0).astype(np.float32)[..., np.newaxis],
        _corners_to_centres(np.array(corners)),
        np.array(labels),
    )


def _background(rng: np.random.Generator) -> np.ndarray:
    """Soft blotches, so that brightness alone does not tell a digit from the background."""
    blotches = rng.uniform(0.0, 0.35, (4, 4))
    return scipy.ndimage.zoom(blotches, IMAGE_SIZE / 4, order=1, mode="nearest", grid_mode=True)


def _crop_to_ink(image: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(image > _INK)
    return image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def _resize(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    # Uniform in the logarithm: as many digits between 16 and 24 pixels as between 32 and 48.
    height = np.exp(rng.uniform(*np.log(_DIGIT_HEIGHT)))
    zoom = height / image.shape[0]
    stretched = scipy.ndimage.zoom(image, (zoom, zoom * rng.uniform(*_STRETCH)), mode="nearest", grid_mode=True)
    return np.clip(stretched, 0.0, 1.0)


def _free_place(
    shape: tuple[int, ...], taken: list[tuple[int, int, int, int]], rng: np.random.Generator
) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of a place that hardly overlaps the ones taken, or None if none was found."""
    height, width = shape
    for _ in range(_PLACEMENT_TRIES):
        left, top = rng.integers(0, (IMAGE_SIZE - width, IMAGE_SIZE - height), endpoint=True)
        place = (int(left), int(top), int(left) + width, int(top) + height)
        if all(_overlap(place, other) <= _LARGEST_OVERLAP for other in taken):
            return place
    return None


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Intersection as a fraction of the smaller box, which tells a hidden small digit where IoU would not."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return max(width, 0) * max(height, 0) / smaller


def _corners_to_centres(corners: np.ndarray) -> np.ndarray:
    low, high = corners[:, :2], corners[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1).astype(np.float32) / IMAGE_SIZE
