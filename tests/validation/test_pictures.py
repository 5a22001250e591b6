"""The pictures of a report: small, whole PNG files."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from platform_assets.pictures import as_markdown_image
from platform_assets.validation.errors import ValidationError
from platform_assets.validation.pictures import (
    calibration_picture,
    roc_picture,
    score_distribution_picture,
)

BLUE, VERMILLION = (0, 114, 178), (213, 94, 0)


def rows(seed, n=2000):
    """Labels, and the probabilities of a fair but overconfident model."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    return labels, 1 / (1 + np.exp(-rng.normal(4 * labels - 2, 2.5)))


@pytest.fixture(scope="module")
def pictures():
    """Each picture with two curves."""
    return draw()


def draw():
    """Each picture with two curves."""
    (labels, scores), (other_labels, other_scores) = rows(0), rows(1)
    labels_by_name = {"model": labels, "baseline": other_labels}
    scores_by_name = {"model": scores, "baseline": other_scores}
    return {
        "roc": roc_picture(labels_by_name, scores_by_name),
        "calibration": calibration_picture(labels_by_name, scores_by_name),
        "distribution": score_distribution_picture(scores_by_name),
    }


def near(picture, colour):
    """How many pixels have nearly that colour."""
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
    return np.count_nonzero(np.abs(pixels - colour).max(axis=-1) < 12)


@pytest.mark.parametrize("name", ["roc", "calibration", "distribution"])
def test_picture_is_a_small_png_with_both_curves(pictures, name):
    """It is 640 × 420 on white, below 60 kB, and shows each curve in its colour."""
    picture = pictures[name]
    image = Image.open(io.BytesIO(picture))
    assert (image.format, image.size) == ("PNG", (640, 420))
    assert len(picture) < 60_000
    assert image.convert("RGB").getpixel((1, 1)) == (255, 255, 255)
    assert near(picture, BLUE) > 300
    assert near(picture, VERMILLION) > 300


def test_equal_rows_give_equal_bytes(pictures):
    """A picture is a pure function of its rows, so that a stored report can be hashed."""
    assert draw() == pictures


def test_rows_that_cannot_be_measured_give_no_picture():
    """A picture of nothing is an error, not an empty frame."""
    labels, scores = rows(0, n=10)
    with pytest.raises(ValidationError):
        roc_picture({"model": labels * 0}, {"model": scores})
    with pytest.raises(ValidationError):
        score_distribution_picture({"validation": scores, "test": scores[:0]})


def test_markdown_carries_the_bytes_themselves():
    """The image needs no file and no server: its bytes can be read back from the text."""
    markdown = as_markdown_image(b"\x89PNG", "ROC curves")
    head, data = markdown.removesuffix(")").split("base64,")
    assert head == "![ROC curves](data:image/png;"
    assert base64.b64decode(data) == b"\x89PNG"
