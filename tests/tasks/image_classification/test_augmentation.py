"""Training images are changed by no more than was asked, each by itself, and as torch's seed says."""

import numpy as np
import pytest

from platform_assets.tasks.image_classification.model_spec import ResNetParameters
from tests.tasks.image_classification.images import disc

STILL = {
    "augment_rotation_degrees": 0.0,
    "augment_scale": 0.0,
    "augment_shift": 0.0,
    "augment_flip": False,
    "augment_contrast": 0.0,
    "augment_brightness": 0.0,
}
SIDE = 65


@pytest.fixture(scope="module")
def augmented():
    """Augments images as a step does; numpy in, numpy out, shape (B, S, S)."""
    import torch

    from platform_assets.tasks.image_classification.augmentation import augmented

    def augment(pixels, seed=0, **changed):
        torch.manual_seed(seed)
        tensor = torch.from_numpy(np.ascontiguousarray(pixels))[:, None]
        return augmented(tensor, ResNetParameters(**(STILL | changed)))[:, 0].numpy()

    return augment


def points(count: int, row: int, column: int, *, size: int = 2) -> np.ndarray:
    """Dark images with a light square around a point."""
    pixels = np.zeros((count, SIDE, SIDE), np.uint8)
    pixels[:, row - size : row + size + 1, column - size : column + size + 1] = 255
    return pixels


def centres(values: np.ndarray) -> np.ndarray:
    """Row and column of the centre of light of each image, shape (B, 2), from the middle of the image."""
    at = np.arange(SIDE) - SIDE // 2
    light = values.sum(axis=(1, 2))
    return (
        np.stack([(values.sum(axis=2) * at).sum(axis=1), (values.sum(axis=1) * at).sum(axis=1)], axis=1)
        / (light[:, None])
    )


def test_nothing_asked_is_nothing_done(augmented):
    """With every amount 0, values are the bytes as shares of 255."""
    pixels = np.stack([disc(1, seed) // 16 for seed in range(3)]).astype(np.uint8)
    assert np.array_equal(augmented(pixels), pixels.astype(np.float32) / np.float32(255))


def test_images_draw_for_themselves_as_the_seed_says(augmented):
    """The same seed gives the same values; two equal images of a batch become different ones."""
    pixels = points(2, 20, 40)
    usual = ResNetParameters().model_dump()
    asked = {name: usual[name] for name in STILL}
    first = augmented(pixels, seed=5, **asked)
    assert np.array_equal(first, augmented(pixels, seed=5, **asked))
    assert not np.array_equal(first, augmented(pixels, seed=6, **asked))
    assert not np.array_equal(first[0], first[1])
    assert first.min() >= 0
    assert first.max() <= 1


def test_turns_are_within_bounds(augmented):
    """A point 20 pixels above the middle stays at that distance, and its angles fill the range that was asked for."""
    moved = centres(augmented(points(400, SIDE // 2 - 20, SIDE // 2), augment_rotation_degrees=30.0))
    assert np.hypot(*moved.T) == pytest.approx(np.full(400, 20.0), abs=0.3)
    angles = np.degrees(np.arctan2(moved[:, 1], -moved[:, 0]))
    assert angles.max() == pytest.approx(30, abs=1.5)
    assert angles.min() == pytest.approx(-30, abs=1.5)


def test_shifts_are_within_bounds(augmented):
    """In both directions by up to the share of a side."""
    moved = centres(augmented(points(400, SIDE // 2, SIDE // 2), augment_shift=0.2))
    assert moved.max(axis=0) == pytest.approx([0.2 * SIDE] * 2, abs=0.5)
    assert moved.min(axis=0) == pytest.approx([-0.2 * SIDE] * 2, abs=0.5)


def test_sizes_are_within_bounds(augmented):
    """A point's distance from the middle changes by up to the share, either way."""
    moved = centres(augmented(points(400, SIDE // 2, SIDE // 2 + 20), augment_scale=0.2))[:, 1]
    assert moved.min() == pytest.approx(20 / 1.2, abs=0.3)
    assert moved.max() == pytest.approx(20 / 0.8, abs=0.3)


def test_every_other_image_is_mirrored(augmented):
    """Left and right change places, up and down do not, and nothing is blurred."""
    pixels = points(400, 20, 50)
    values = augmented(pixels, augment_flip=True)
    mirrored = centres(values)[:, 1] < 0
    assert 0.4 < mirrored.mean() < 0.6
    assert values[mirrored] == pytest.approx(pixels[mirrored][:, :, ::-1] / 255, abs=1e-4)
    assert values[~mirrored] == pytest.approx(pixels[~mirrored] / 255, abs=1e-4)


def test_light_and_contrast_are_within_bounds(augmented):
    """The mean moves by up to the share of the whole range; the spread changes by up to the share of itself."""
    pixels = np.full((400, 64, 64), 128, np.uint8)
    pixels[:, :32] = 100
    means = augmented(pixels, augment_brightness=0.2).mean(axis=(1, 2)) - pixels[0].mean() / 255
    assert (means.min(), means.max()) == pytest.approx((-0.2, 0.2), abs=0.01)
    spreads = augmented(pixels, augment_contrast=0.2).std(axis=(1, 2)) / (14 / 255)
    assert (spreads.min(), spreads.max()) == pytest.approx((0.8, 1.2), abs=0.01)
