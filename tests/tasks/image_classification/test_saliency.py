"""What an answer rests on: squares are covered, and the answer is asked for again."""

import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from platform_assets.tasks.image_classification.image_form import formed
from platform_assets.tasks.image_classification.saliency import (
    Occlusion,
    asking,
    formed_boxes,
    peak,
    pixels_of,
    pointing,
)
from platform_assets.tasks.image_classification.saliency_tile import tile
from tests.tasks.image_classification.judged import BlobScorer, make_features, make_rows, make_spec


def plain_map(image, side, stride, score):
    """The same, square by square."""
    log_odds = lambda s: np.log(s / (1 - s))  # noqa: E731
    starts = sorted({*range(0, len(image) - side, stride), len(image) - side})
    total, count = np.zeros(image.shape), np.zeros(image.shape)
    for top in starts:
        for left in starts:
            around = image[
                max(0, top - side // 2) : top + side * 3 // 2, max(0, left - side // 2) : left + side * 3 // 2
            ]
            covered = image.copy()
            covered[top : top + side, left : left + side] = int(around.astype(int).sum()) // around.size
            drop = log_odds(score(image[None])[0]) - log_odds(score(covered[None])[0])
            total[top : top + side, left : left + side] += drop
            count[top : top + side, left : left + side] += 1
    return total / count


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**31), st.integers(2, 12), st.integers(1, 12), st.integers(12, 30))
def test_maps_are_those_of_a_plain_search(seed, side, stride, image_side):
    """Whatever square and distance, every pixel is covered by one at least."""
    image = np.random.default_rng(seed).integers(0, 256, (image_side, image_side)).astype(np.uint8)
    weights = np.random.default_rng(seed + 1).normal(size=image.size) / image.size

    def score(images):
        return 1 / (1 + np.exp(-(images.reshape(len(images), -1) @ weights) / 40))

    stride = min(stride, side)
    found = Occlusion(side, stride).map(image, score)
    assert np.isfinite(found).all()
    assert found == pytest.approx(plain_map(image, side, stride, score), abs=1e-9)


def test_a_large_image_is_not_copied_for_all_squares_at_once():
    """841 squares of an image of 512 pixels a side would be 220 MB, and several times that on their way to a scorer."""
    image = np.random.default_rng(0).integers(0, 256, (512, 512)).astype(np.uint8)
    asked = []

    def score(images):
        asked.append(images.nbytes)
        return 1 / (1 + np.exp(-images[:, ::64, ::64].reshape(len(images), -1).mean(axis=1) / 40))

    whole, many = Occlusion(64, 16), Occlusion(64, 16).corners(512)
    found = whole.map(image, score)
    assert (len(many), sum(asked)) == (841, 842 * image.size)
    assert max(asked) <= 32 << 20
    drops = np.log(score(image[None]) / (1 - score(image[None]))) - np.log(
        score(whole.covered(image, many[-1:])) / (1 - score(whole.covered(image, many[-1:])))
    )
    assert found[-1, -1] == pytest.approx(drops[0], abs=1e-9)


def test_the_map_of_a_plain_image_says_nothing():
    """Covering a square with its surroundings changes nothing, so no edge of ours is taken for a finding."""
    image = np.full((40, 40), 90, np.uint8)
    found = Occlusion(16, 8).map(image, lambda images: 1 / (1 + images.std(axis=(1, 2))) / 2)
    assert np.abs(found).max() == 0


def test_the_maximum_lies_on_what_the_answer_rests_on():
    """A scorer that sees blobs points at them; the pixels of all other columns stay what they are."""
    spec = make_spec()
    rows = make_rows(12)
    features = make_features(rows, spec)
    boxes = formed_boxes(rows, spec)
    chosen = np.flatnonzero(np.isfinite(boxes[:, 0])).tolist()
    maps = np.array(
        [
            Occlusion(16, 8).map(pixels_of(features)[row], asking(BlobScorer(), features.slice(row, 1)))
            for row in chosen
        ]
    )
    found = pointing(maps, boxes[chosen])
    assert found.asked == 12
    assert found.hits >= 10
    assert found.chance == pytest.approx((14 / 64) ** 2)
    assert found.rate.low > found.chance


def test_chance_is_what_points_anywhere_reach():
    """Over maps of noise the rate is about the share that boxes cover."""
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(1500, 24, 24))
    corners = rng.integers(0, 12, (1500, 2))
    boxes = np.concatenate([corners, corners + rng.integers(4, 12, (1500, 2))], axis=1).astype(float)
    found = pointing(maps, boxes)
    assert found.rate.low <= found.chance <= found.rate.high


def test_without_maps_nobody_knows():
    """No finding was found, or none has a box."""
    assert pointing(np.empty((0, 8, 8)), np.empty((0, 4))) is None


def test_the_peak_of_a_square_is_its_middle():
    """Maps have steps of one stride; equally high places elsewhere are others."""
    found = np.zeros((64, 64))
    found[8:16, 24:32] = 1
    found[48:56, 48:56] = 1
    assert peak(found) == (11.5, 27.5)
    found[8:16, 40:48] = 1
    assert peak(found) == (11.5, 27.5)


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
@pytest.mark.parametrize(("height", "width"), [(200, 120), (96, 160), (64, 64)])
def test_boxes_go_where_their_pixels_go(fit, height, width):
    """Each box, brought into the form, covers the pixels that the form made of what it covered; 60 boxes of each shape."""
    spec = make_spec(fit=fit)
    rng = np.random.default_rng(1)
    for _ in range(60):
        top, left = int(rng.integers(0, height - 30)), int(rng.integers(0, width - 30))
        bottom, right = top + int(rng.integers(12, 30)), left + int(rng.integers(12, 30))
        image = np.zeros((height, width), np.uint16)
        image[top:bottom, left:right] = 1000
        names = ("box_top", "box_left", "box_bottom", "box_right", "image_rows", "image_columns")
        row = pa.table(
            {
                name: [value]
                for name, value in zip(names, (top, left, bottom, right, height, width), strict=True)
            }
        )
        (box,) = formed_boxes(row, spec)
        lit = np.argwhere(formed(image, spec) > 127)
        if np.isnan(box).any():
            assert len(lit) == 0
        elif len(lit):
            expected = [*lit.min(axis=0), *(lit.max(axis=0) + 1)]
            assert box == pytest.approx(expected, abs=1.0)


def test_rows_without_a_box_have_none():
    """Null, in pixels of the original image."""
    rows = make_rows(2)
    assert np.isnan(formed_boxes(rows, make_spec())).all(axis=1).tolist() == [True, False, True, False]


def test_a_tile_shows_image_map_maximum_and_box():
    """A PNG of 256 pixels a side: warm where the map is high, a green box, a white ring, grey elsewhere."""
    image, found = np.full((64, 64), 100, np.uint8), np.zeros((64, 64))
    found[10:20, 10:20] = 2.0
    found[40:50, 40:50] = -5.0
    picture = Image.open(io.BytesIO(tile(image, found, (14.5, 14.5), np.array([30.0, 30.0, 45.0, 50.0]))))
    pixels = np.asarray(picture)
    assert pixels.shape == (256, 256, 3)
    assert pixels[50, 50, 0] > pixels[50, 50, 2] + 30
    assert tuple(pixels[180, 180]) == (100, 100, 100)
    assert tuple(pixels[120, 150]) == (0, 158, 115)
    assert (255, 255, 255) in {tuple(each) for each in pixels[40:80, 40:80].reshape(-1, 3).tolist()}
    assert tile(image, np.zeros((64, 64)), (0.0, 0.0), None).startswith(b"\x89PNG")
