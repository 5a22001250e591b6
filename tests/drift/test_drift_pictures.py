"""The pictures of a day: they say what the table says, and stand gaps, releases and windows of every kind."""

import io
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest
from PIL import Image

from platform_assets.drift.pictures import days_picture, drift_picture

DAY = date(2026, 11, 22)
ALARM_PINK, LINE_BLUE = (246, 222, 204), (0, 114, 178)


def rows(*minutes, column="score", window="count", version=1, in_alarm=False, threshold=0.2, psi=None):
    """Rows of the drift table at these minutes of the day."""
    return [
        {
            "minute": datetime(2026, 11, 22, tzinfo=UTC) + timedelta(minutes=minute),
            "model_version": version,
            "column": column,
            "window": window,
            "in_alarm": in_alarm,
            "ks": 0.3,
            "ks_lower": 0.25,
            "ks_upper": 0.35,
            "threshold": threshold,
            "psi": psi,
            "psi_by_chance": None if psi is None else 0.08,
        }
        for minute in minutes
    ]


def picture(*parts):
    """The picture of these rows."""
    table = pa.Table.from_pylist([row for part in parts for row in part])
    return Image.open(io.BytesIO(drift_picture(table, DAY))).convert("RGB")


def pixels(image, colour, *, within=12):
    """How many pixels have about this colour."""
    return sum(
        count
        for count, found in image.getcolors(maxcolors=1 << 24)
        if all(abs(one - other) <= within for one, other in zip(found, colour, strict=True))
    )


def test_an_alarm_is_shaded():
    """As long as it lasts, and not at all without one."""
    calm = picture(rows(*range(60)))
    short = picture(rows(*range(50)), rows(*range(50, 60), in_alarm=True))
    long = picture(rows(*range(30)), rows(*range(30, 60), in_alarm=True))
    assert pixels(calm, ALARM_PINK) == 0
    assert 2 < pixels(long, ALARM_PINK) / pixels(short, ALARM_PINK) < 4


def test_a_panel_for_each_column():
    """A third one makes the picture higher."""
    heights = [
        picture(*(rows(0, 1, 2, column=str(number)) for number in range(count))).height for count in (2, 3)
    ]
    assert heights[1] == pytest.approx(heights[0] * 1.5, rel=0.01)


def test_the_score_has_a_panel_of_its_psi():
    """Below the distances; of no other column, and not where it was never measured."""
    plain = picture(rows(0, 1, 2), rows(0, 1, 2, column="Income", psi=0.3))
    measured = picture(rows(0, 1, 2, psi=0.3), rows(0, 1, 2, column="Income", psi=0.3))
    assert measured.height == pytest.approx(plain.height * 1.5, rel=0.01)


def test_no_line_goes_across_a_gap():
    """Where nothing was watched, nothing is drawn."""
    whole = picture(rows(*range(600)))
    gap = picture(rows(*range(100)), rows(*range(500, 600)))
    assert pixels(gap, LINE_BLUE) < 0.5 * pixels(whole, LINE_BLUE)


def test_days_are_drawn_as_minutes_are():
    """A line from day to day, a gap where there was none, and an alarm shaded as long as it lasts."""

    def days(*numbers, **told):
        return rows(*(1440 * number for number in numbers), **told)

    def drawn(*parts):
        table = pa.Table.from_pylist([row for part in parts for row in part])
        return Image.open(io.BytesIO(days_picture(table))).convert("RGB")

    whole, gap = drawn(days(*range(60))), drawn(days(*range(10)), days(*range(50, 60)))
    alarmed = drawn(days(*range(30)), days(*range(30, 60), in_alarm=True))
    assert pixels(gap, LINE_BLUE) < 0.5 * pixels(whole, LINE_BLUE)
    assert pixels(alarmed, ALARM_PINK) > 1000 > pixels(whole, ALARM_PINK) == 0


@pytest.mark.parametrize(
    "parts",
    [
        [rows(5)],
        [rows(5, threshold=None)],
        [rows(5, window="l1"), rows(5, window="l2")],
        [rows(1, 2, 3), rows(3, 4, 5, version=2)],
        [rows(0, 1439, in_alarm=True)],
    ],
    ids=["one minute", "no threshold", "no count window", "two releases", "a whole day"],
)
def test_any_day_has_a_picture(parts):
    """Whatever little there is to show."""
    assert picture(*parts).width == 640
