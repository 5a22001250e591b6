"""Pictures of weights of evidence."""

import io
import warnings

import pyarrow as pa
import pytest
from PIL import Image

from platform_assets.features.woe import fit_woe
from platform_assets.features.woe_pictures import woe_picture
from tests.features.woe_factory import loans, woe_spec


def picture(rows: pa.Table, columns) -> Image.Image:
    """The picture of these columns."""
    return Image.open(io.BytesIO(woe_picture(fit_woe(woe_spec(columns), rows))))


@pytest.mark.parametrize(
    ("count", "size"),
    [
        (1, (420, 290)),
        (2, (840, 290)),
        (4, (1260, 580)),
        pytest.param(31, (1260, 3190), marks=pytest.mark.long),
    ],
)
def test_each_column_has_a_place(count, size):
    """Three across; more than thirty are told, not drawn."""
    income = loans()["income"]
    rows = pa.table({f"income {at}": income for at in range(count)} | {"bad": loans()["bad"]})

    assert picture(rows, [f"income {at}" for at in range(count)]).size == size


def test_names_are_drawn_as_they_are():
    """A dollar sign begins no formula, in a name or a category; letters that a font lacks and long names do no harm."""
    names = ["$", "a $x_1$ b", r"$\frac{1}$ " + "long " * 40, "line\nbreak"]
    rows = pa.table({"price $x^$": (names * 500), "bad": loans()["bad"]})

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = picture(rows, ["price $x^$"])

    assert drawn.size == (420, 290)


def test_weights_are_drawn():
    """Blue bars for weights above 0, red ones for those below, and grey ones for shares."""
    colours = {colour for _, colour in picture(loans(), ["income"]).convert("RGB").getcolors(1 << 20)}

    for wanted in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0xE5, 0xE5, 0xE5)):
        assert min(max(abs(a - b) for a, b in zip(wanted, found, strict=True)) for found in colours) <= 8


def test_the_same_weights_make_the_same_bytes():
    """A picture is as reproducible as what it shows."""
    woe = fit_woe(woe_spec(), loans())

    assert woe_picture(woe) == woe_picture(woe)
