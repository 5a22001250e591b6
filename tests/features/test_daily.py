"""Which transformers have days: annotations that name them, and those that are refused."""

from datetime import date

import pytest
import yaml

from platform_assets.features.daily import DAILY_FROM, DAILY_UNTIL, DailyRange, history_days
from platform_assets.features.declared import load_transformers
from platform_assets.features.transformer_spec import TransformerSpec
from tests.features.day_factory import LAG, ZSCORE
from tests.features.shops import WOE, write_transformer


def declare(folder, spec, annotations, name="meter_use"):
    """The transformers of a file with these annotations."""
    path = write_transformer(folder, name, spec)
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["metadata"]["annotations"] = annotations
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_transformers([path])


def test_days_of_a_transformer(tmp_path):
    """From one day on, to another or without end; none without an annotation. Its identity is what it was."""
    first = {DAILY_FROM: "2026-01-01"}
    found = {
        given: declare(tmp_path, ZSCORE, annotations).sound["meter_use"]
        for given, annotations in (
            ("none", {}),
            ("open", first),
            ("both", first | {DAILY_UNTIL: "2026-01-03"}),
        )
    }
    assert found["none"].days is None
    assert found["none"].asset_names == ("meter_use",)
    assert found["open"].days == DailyRange(date(2026, 1, 1), None)
    assert found["both"].asset_names == ("meter_use", "meter_use_daily")
    assert found["both"].days.days(date(2026, 2, 1)) == [date(2026, 1, number) for number in (1, 2, 3)]
    assert found["open"].days.days(date(2026, 1, 2)) == [date(2026, 1, 1), date(2026, 1, 2)]
    assert found["open"].days.days(date(2025, 12, 31)) == []
    assert len({str(each.spec.normalised()) for each in found.values()}) == 1


@pytest.mark.parametrize(
    ("spec", "annotations", "told"),
    [
        (ZSCORE, {DAILY_FROM: "01.01.2026"}, "daily-from is no day"),
        (ZSCORE, {DAILY_FROM: "2026-01-01", DAILY_UNTIL: "tomorrow"}, "daily-until is no day"),
        (ZSCORE, {DAILY_UNTIL: "2026-01-01"}, "stands without platform-assets/daily-from"),
        (ZSCORE, {DAILY_FROM: "2026-01-02", DAILY_UNTIL: "2026-01-01"}, "is before"),
        (WOE, {DAILY_FROM: "2026-01-01"}, "woe does not look along a history"),
        (
            {**ZSCORE, "inputSource": "meters.parquet"},
            {DAILY_FROM: "2026-01-01"},
            "let inputSource be asset://",
        ),
        ({**LAG, "lag": {"days": 1}}, {DAILY_FROM: "2026-01-01"}, "state lag.tolerance"),
        ({**LAG, "lag": {"rows": 2}}, {DAILY_FROM: "2026-01-01"}, "state lag.tolerance"),
    ],
)
def test_what_has_no_days_is_broken(tmp_path, spec, annotations, told):
    """It is told with its file and takes down itself alone."""
    found = declare(tmp_path, spec, annotations)
    assert "meter_use" not in found.sound
    (broken,) = found.broken
    assert told in broken.problem
    assert broken.problem.startswith(str(tmp_path / "meter_use.yaml"))


@pytest.mark.parametrize("other", ["transformer", "line"])
def test_a_name_that_is_taken(tmp_path, other):
    """The asset of its days is called as nothing else is."""
    found = declare(tmp_path, ZSCORE, {DAILY_FROM: "2026-01-01"})
    if other == "transformer":
        path = write_transformer(tmp_path, "meter_use_daily", ZSCORE)
        found = load_transformers([tmp_path / "meter_use.yaml", path])
    chosen = found.among(None, {"meter_use_daily"} if other == "line" else ())
    assert "meter_use" not in chosen.sound
    assert any("its features by day would be meter_use_daily" in each.problem for each in chosen.broken)


@pytest.mark.parametrize(
    ("changes", "days"),
    [
        ({}, 7),
        ({"zscore": {"includeCurrent": True}}, 7),
        ({"transformerType": "lag", "zscore": None, "lag": {"days": 2, "tolerance": 3}}, 5),
        ({"transformerType": "lag", "zscore": None, "lag": {"rows": 2, "tolerance": 3}}, 3),
        ({"transformerType": "lag", "zscore": None, "lag": {"days": 2}}, None),
    ],
)
def test_how_many_days_a_row_looks_back(changes, days):
    """A window that begins within a day may have events of it."""
    assert history_days(TransformerSpec.model_validate({**ZSCORE, **changes})) == days
