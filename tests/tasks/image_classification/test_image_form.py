"""Images in one form: nothing is lost, nothing appears, and the same image is always the same bytes."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.features.errors import FeatureError
from platform_assets.tasks.image_classification.featurizer import ImageFeaturizer
from platform_assets.tasks.image_classification.image_form import (
    brightness_and_contrast,
    formed,
    formed_rows,
    reduced,
)
from platform_assets.tasks.image_classification.model_spec import ImageFormSpec
from tests.tasks.image_classification.images import SMALL, disc, image_rows

WHOLE = {"window_low_percentile": 0.0, "window_high_percentile": 100.0}
FITS = st.sampled_from(["pad", "crop", "stretch"])


@st.composite
def images(draw):
    """Of any size up to 200 pixels a side, of noise of some size, light or dark."""
    height, width = draw(st.integers(1, 200)), draw(st.integers(1, 200))
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    top = draw(st.sampled_from([1, 255, 4095, 65535]))
    return random.integers(0, top + 1, (height, width)).astype(np.uint16)


@given(images(), FITS, st.sampled_from([64, 97, 128]))
@settings(max_examples=60)
def test_every_image_gets_the_form(image, fit, side):
    """Whatever its size, a square of 8 bits comes out; the same again, and mirrored and turned as the image is."""
    form = ImageFormSpec(image_size=side, fit=fit)
    pixels = formed(image, form)

    assert (pixels.shape, pixels.dtype, pixels.flags.c_contiguous) == ((side, side), np.uint8, True)
    assert np.array_equal(pixels, formed(np.asfortranarray(image), form))
    # Half a pixel of padding, or of what is cut off, may be on the other side.
    if fit == "stretch" or (image.shape[0] - image.shape[1]) % 2 == 0:
        turned = formed(image.T, form).astype(int)
        assert np.abs(turned - pixels.T).max() <= 1


@given(images(), FITS)
@settings(max_examples=60)
def test_only_order_and_proportion_matter(image, fit):
    """An image of more bits, or of more light all over, has the same form up to rounding."""
    form = ImageFormSpec(image_size=64, fit=fit)
    image = image // 4
    pixels = formed(image, form).astype(int)
    assert np.abs(formed(image * np.uint16(3) + np.uint16(1000), form).astype(int) - pixels).max() <= 1


@given(images())
@settings(max_examples=60)
def test_the_whole_window_uses_the_whole_range(image):
    """Without percentiles, the darkest value is 0 and the lightest 255; a plain image is dark."""
    pixels = formed(image, ImageFormSpec(image_size=64, fit="stretch", **WHOLE))
    assert pixels.min() == 0
    assert pixels.max() in {0, 255}
    if min(image.shape) >= 64 and image.std() > 0:
        assert pixels.max() == 255


@pytest.mark.parametrize("value", [0, 1, 4095, 65535])
def test_a_plain_image_is_dark(value):
    """Whatever its value: there is nothing to see in it."""
    plain = np.full((90, 70), value, np.uint16)
    assert not formed(plain, SMALL).any()


def test_a_square_of_that_size_only_gets_its_window():
    """Nothing is resized: values of 0 to 255 stay what they are."""
    image = np.random.default_rng(0).permutation(np.arange(64 * 64) % 256).reshape(64, 64).astype(np.uint16)
    assert np.array_equal(formed(image, ImageFormSpec(image_size=64, **WHOLE)), image)


def test_a_window_cuts_the_tails():
    """Pixels beyond the percentiles are 0 and 255, so that one bright marker does not darken all the rest."""
    image = np.arange(64 * 64).reshape(64, 64).astype(np.uint16)
    image[0, 0] = 65535
    form = ImageFormSpec(image_size=64, window_low_percentile=10.0, window_high_percentile=90.0)
    pixels = formed(image, form)
    assert (pixels == 0).mean() == pytest.approx(0.1, abs=0.005)
    assert (pixels == 255).mean() == pytest.approx(0.1, abs=0.005)
    assert int(pixels[32, 0]) == pytest.approx(127.5, abs=1)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(64, 200))
@settings(max_examples=60)
def test_reducing_takes_means_of_areas(height, width, side):
    """The mean of an image stays, its longest side becomes that long, and no value is outside those that there were."""
    image = (
        np.random.default_rng(height * 1000 + width).integers(100, 4096, (height, width)).astype(np.uint16)
    )
    small = reduced(image, side)

    assert small.dtype == np.uint16
    assert max(small.shape) == min(side, max(image.shape))
    assert image.min() <= small.min()
    assert small.max() <= image.max()
    assert small.mean() == pytest.approx(image.mean(), abs=0.51)
    if max(image.shape) <= side:
        assert small is image


def test_areas_are_weighed_by_how_much_of_them_is_covered():
    """Three rows that become two: the middle one counts half in each."""
    image = np.repeat(np.array([[0], [600], [1200]], np.uint16), 3, axis=1)
    assert reduced(image, 2).tolist() == [[200, 200], [1000, 1000]]


def test_reducing_twice_is_reducing_once():
    """A dataset keeps large images reduced; an image that was asked about comes whole, and looks the same."""
    image = disc(1, 3, shape=(700, 610))
    twice = formed(reduced(image, 256), SMALL).astype(int)
    assert np.abs(twice - formed(image, SMALL)).max() <= 4
    assert np.abs(twice - formed(image, SMALL)).mean() < 0.5


def test_fits_differ_in_what_is_not_square():
    """Padding adds dark edges, cropping cuts the ends off, stretching keeps all and distorts."""
    image = np.full((100, 200), 1000, np.uint16)
    image[:, :50] = 2000
    image[:, 150:] = 3000
    padded, cropped, stretched = (
        formed(image, ImageFormSpec(image_size=100, fit=fit, **WHOLE)) for fit in ("pad", "crop", "stretch")
    )
    assert padded[[0, 24, 75, 99]].max() == 0
    assert padded[50].tolist() == [128] * 25 + [0] * 50 + [255] * 25
    assert not cropped.any()
    assert stretched[0].tolist() == padded[50].tolist()


def test_enlarging_stays_between_neighbours():
    """Two pixels become a slope, and the ends keep their values."""
    image = np.array([[0, 255]], np.uint16)
    row = formed(image, ImageFormSpec(image_size=64, fit="stretch", **WHOLE))[0].astype(int)
    assert (row[0], row[-1]) == (0, 255)
    assert (np.diff(row) >= 0).all()
    assert np.diff(row).max() <= 9


def test_rows_are_formed_one_by_one():
    """Of a table in pieces, and of those rows that are chosen; each as by itself."""
    made = [disc(at % 2, at, shape=(64 + at, 80)) for at in range(9)]
    rows = image_rows(made)
    pieces = pa.concat_tables([rows.slice(0, 4), rows.slice(4)])
    expected = np.stack([formed(image, SMALL) for image in made])
    chosen = np.arange(9) % 3 == 1
    assert np.array_equal(formed_rows(pieces, SMALL), expected)
    assert np.array_equal(formed_rows(pieces, SMALL, chosen), expected[chosen])
    assert formed_rows(rows.slice(0, 0), SMALL).shape == (0, 64, 64)


@pytest.mark.parametrize(("column", "value"), [("stored_rows", 7), ("stored_columns", None), ("image", None)])
def test_an_image_of_another_size_than_its_row_says_is_an_error(column, value):
    """The row is named, and no value of it."""
    rows = image_rows([disc(0, 0), disc(1, 1)])
    at = rows.column_names.index(column)
    odd = pa.array([rows[column][0].as_py(), value], rows.schema.field(column).type)
    with pytest.raises(FeatureError, match="row 2 of the dataset: column image has"):
        formed_rows(rows.set_column(at, column, odd), SMALL)


def test_brightness_and_contrast_are_shares_of_the_range():
    """A dark image has neither; one of which half is light has half of each; they are those of the features."""
    pixels = np.zeros((3, 64, 64), np.uint8)
    pixels[1, :32] = 255
    pixels[2] = 255
    brightness, contrast = brightness_and_contrast(pixels)
    assert brightness.tolist() == [0, 0.5, 1]
    assert contrast.tolist() == [0, 0.5, 0]
    random = np.random.default_rng(0).integers(0, 256, (5, 64, 64)).astype(np.uint8)
    brightness, contrast = brightness_and_contrast(random)
    assert brightness == pytest.approx(random.mean(axis=(1, 2)) / 255)
    assert contrast == pytest.approx(random.std(axis=(1, 2)) / 255)


def test_features_are_those_of_the_used_splits():
    """The reserve is left out; columns say whose each image is, and what drift watches."""
    splits = ["train", "reserve", "validation", "test", "shift"]
    made = [disc(at % 2, at) for at in range(5)]
    features = ImageFeaturizer().apply(image_rows(made, splits=splits), SMALL, subject_column="patient")
    table = features.table
    assert table.column_names == [
        *("patient", "image_id", "label", "source", "split"),
        *("pixels", "brightness", "contrast"),
    ]
    assert table["split"].to_pylist() == ["train", "validation", "test", "shift"]
    assert table["pixels"][1].as_py() == formed(made[2], SMALL).tobytes()
    assert table["brightness"].to_pylist() == pytest.approx(
        [formed(made[at], SMALL).mean() / 255 for at in (0, 2, 3, 4)]
    )
    assert features.recipe == SMALL.model_dump()
    other = ImageFeaturizer().apply(
        image_rows(made), ImageFormSpec(image_size=64, fit="crop"), subject_column="patient"
    )
    assert other.sha256 != features.sha256


@pytest.mark.parametrize(("low", "high"), [(50.0, 50.0), (60.0, 40.0)])
def test_a_window_without_width_is_refused(low, high):
    """Before anything is made."""
    with pytest.raises(ValueError, match="window_low_percentile must be below window_high_percentile"):
        ImageFormSpec(window_low_percentile=low, window_high_percentile=high)
