"""Text among pixels is found where it is legible, and anatomy is none."""

import random
from pathlib import Path

import numpy as np
import pytest

from platform_assets.tasks.image_classification.dicom.burned_text import signs_on_a_line
from platform_assets.tasks.image_classification.dicom.pixel_rules import greys_of, stretched
from platform_assets.tasks.image_classification.dicom.pixels import Image
from tests.tasks.image_classification.dicom.builders import BITS, broken, chest, chest_file

TEXTS = (
    "DOE^JOHN 1970-03-04", "SMITH, ANNA  F 034Y", "MRN 84736251", "ST. MARY HOSPITAL", "12/11/2019 10:42",
    "PORTABLE AP ERECT", "Acc 55-1029",
)  # fmt: skip
FONTS = ("DejaVuSans.ttf", "DejaVuSansMono.ttf", "DejaVuSerif.ttf", "DejaVuSans-Bold.ttf", "STIXGeneral.ttf")
ENOUGH = 4


def _light(values):
    image = Image(values, BITS, was_inverted=False, hidden=0)
    return stretched(image, greys_of(image))


def _with_text(values, draw, *, opacity=1.0, value=4095, text=None, size=None):
    import matplotlib as mpl
    from PIL import Image as Picture
    from PIL import ImageDraw, ImageFont

    rows, columns = values.shape
    fonts = Path(mpl.get_data_path()) / "fonts" / "ttf"
    size = size or max(9, int(columns * draw.uniform(0.018, 0.045)))
    font = ImageFont.truetype(str(fonts / draw.choice(FONTS)), size)
    mask = Picture.new("L", (columns, rows), 0)
    pen, text = ImageDraw.Draw(mask), text or draw.choice(TEXTS)
    left = draw.randint(2, max(3, int(columns - pen.textlength(text, font=font) - 2)))
    pen.text((left, draw.randint(2, rows - size - 4)), text, fill=255, font=font)
    share = np.asarray(mask) / 255 * opacity
    return (values * (1 - share) + value * share).astype(np.uint16)


def _found(values):
    return signs_on_a_line(_light(values)) >= ENOUGH


@pytest.mark.parametrize(("opacity", "least"), [(1.0, 22), (0.45, 20)])
def test_text_is_found(opacity, least):
    """Of 24 images with a line of text of several fonts and sizes, anywhere, nearly all."""
    draw = random.Random(3)
    found = sum(_found(_with_text(chest(at, side=512), draw, opacity=opacity)) for at in range(24))

    assert found >= least


def test_dark_text_is_found():
    """As films have it."""
    draw = random.Random(4)
    found = sum(_found(_with_text(chest(at, side=512), draw, value=0, size=18)) for at in range(8))

    assert found >= 6


def test_anatomy_is_no_text():
    """Of images of several sizes without any."""
    assert [
        side for side in (128, 256, 512, 1200) for seed in range(5) if _found(chest(seed, side=side))
    ] == []


def test_leads_clips_and_a_marker_are_no_text():
    """Lines, rings, dots in a row that are not of one height, and one letter."""
    from PIL import Image as Picture
    from PIL import ImageDraw

    draw = random.Random(5)
    for seed in range(12):
        values = chest(seed, side=512)
        mask = Picture.new("L", values.shape[::-1], 0)
        pen = ImageDraw.Draw(mask)
        for _ in range(3):
            points = [(draw.randint(0, 511), draw.randint(0, 511)) for _ in range(4)]
            pen.line(points, fill=255, width=draw.randint(1, 4))
            x, y, radius = draw.randint(40, 470), draw.randint(40, 470), draw.randint(4, 14)
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=255, width=2)
        values = np.where(np.asarray(mask) > 0, 4095, values).astype(np.uint16)

        assert not _found(_with_text(values, draw, text="L", size=28))


def test_a_file_with_text_is_quarantined():
    """By the rule that is about it, whatever the header says."""
    values = _with_text(chest(2, side=512), random.Random(6), text="DOE^JOHN 1970", size=20)

    assert broken(chest_file(image=values)) == {"identity.burned_in_text": "quarantine"}


def test_an_image_of_noise_takes_no_long_time():
    """Where everything falls into pieces, nothing is text."""
    noise = np.random.default_rng(1).integers(0, 4096, (1024, 1024)).astype(np.uint16)

    assert not _found(noise)
