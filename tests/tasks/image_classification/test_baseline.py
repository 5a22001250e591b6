"""The baseline of images: gradients and coarse brightness, by one formula."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.tasks.image_classification.baseline import (
    classical_scores,
    described,
    histograms_of_gradients,
)
from platform_assets.validation.errors import ValidationError
from platform_assets.validation.metrics import roc_auc


def plain_histograms(image):
    """The same, pixel by pixel."""
    side = len(image)
    step = side // 8
    down, right = np.gradient(image)
    cells = np.zeros((8, 8, 9))
    for row in range(8 * step):
        for column in range(8 * step):
            strength = np.hypot(down[row, column], right[row, column])
            turn = (np.arctan2(down[row, column], right[row, column]) % np.pi) / np.pi * 9
            first, part = int(turn), turn - int(turn)
            cells[row // step, column // step, first % 9] += strength * (1 - part) / step**2
            cells[row // step, column // step, (first + 1) % 9] += strength * part / step**2
    blocks = []
    for row in range(7):
        for column in range(7):
            block = np.concatenate([cells[row + a, column + b] for a in (0, 1) for b in (0, 1)])
            blocks.append(block / (np.sqrt((block**2).sum()) + 1e-6))
    return np.concatenate(blocks)


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**31), st.sampled_from([16, 19, 24]))
def test_histograms_are_those_of_a_plain_count(seed, side):
    """Cell by cell and block by block, whatever the side."""
    images = np.random.default_rng(seed).normal(size=(2, side, side)).astype(np.float32)
    expected = np.stack([plain_histograms(each.astype(np.float64)) for each in images])
    assert histograms_of_gradients(images) == pytest.approx(expected, abs=1e-4)


def test_brighter_or_stronger_images_are_described_alike():
    """Exposure says nothing about a finding."""
    image = np.random.default_rng(0).integers(20, 100, (1, 32, 32)).astype(np.uint8)
    assert described(image * 2 + 10) == pytest.approx(described(image), abs=1e-4)


def test_it_finds_what_is_plain_and_nothing_where_there_is_nothing():
    """Blobs in noise; and labels that say nothing."""
    rng = np.random.default_rng(0)
    images = rng.integers(80, 120, (240, 32, 32)).astype(np.uint8)
    labels = np.arange(240) % 2
    for at in np.flatnonzero(labels):
        top, left = rng.integers(2, 20, 2)
        images[at, top : top + 10, left : left + 10] += 60
    scores = classical_scores(images[:160], labels[:160], images[160:])
    assert ((scores >= 0) & (scores <= 1)).all()
    assert roc_auc(labels[160:], scores) > 0.9
    assert roc_auc(rng.permutation(labels[160:]), scores) < 0.75


@pytest.mark.parametrize(
    ("images", "labels", "problem"),
    [((4, 32, 32), [1, 1, 1, 1], "all 4 training labels are"), ((2, 12, 12), [0, 1], "12 pixels a side")],
)
def test_what_cannot_be_fitted_is_refused(images, labels, problem):
    """One label only, or images without room for cells."""
    given = np.zeros(images, np.uint8)
    with pytest.raises(ValidationError, match=problem):
        classical_scores(given, np.array(labels), given)
