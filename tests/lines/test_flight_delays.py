"""`flight_delays` is nothing but YAML; a sample of its real rows goes through all of it but the training."""

from dataclasses import replace
from pathlib import Path

import pytest

import platform_assets.models
from platform_assets.datasets.contract_run import run_contract
from platform_assets.datasets.ingestion import read_sources
from platform_assets.features.declared import load_transformers
from platform_assets.features.fit_input import rows_to_fit
from platform_assets.features.transformer import fit
from platform_assets.lines.line import load_line

SPEC = Path(platform_assets.models.__file__).parent / "flight_delays" / "training-spec.yaml"
TRANSFORMERS = ("flight_delay_zscore", "flight_delay_lag", "flight_woe")
EACH = 25
"""Every so many rows of the year: of each month as much as of any other."""


@pytest.fixture(scope="module")
def line():
    """The shipped line with its transformers."""
    return load_line(SPEC).using(load_transformers())


@pytest.fixture(scope="module")
def prepared(line):
    """What becomes of a sample of its rows."""
    sources = [
        replace(each, rows=each.frame.iloc[::EACH].reset_index(drop=True)) for each in read_sources(line.spec)
    ]
    return line.task.ingestion.prepare(line.spec, sources, is_erased=lambda ids: [False] * len(ids))


def test_the_shipped_line_is_sound(line):
    """Spec, contract, gates, demands and transformers fit together, and its drift can be watched."""
    assert (line.name, line.task.name) == ("flight_delays", "tabular-classification")
    assert set(line.transformers) == set(TRANSFORMERS)
    assert set(line.spec.drift.columns) <= set(line.task.watchable(line.spec))


def test_flights_that_never_arrived_are_left_out_and_counted(prepared):
    """Nobody knows whether a cancelled flight would have been late."""
    left_out = prepared.left_out["without_target_removed"]
    assert 0 < left_out < 0.05 * prepared.raw_rows
    assert prepared.rows.num_rows + left_out == prepared.raw_rows


def test_a_year_is_split_where_months_begin(prepared):
    """Training ends with September and validation is October, to a few flights of a sample, by the hour in New York."""
    rows = prepared.rows.read().select(["scheduled", "split"]).to_pandas()
    months = rows["scheduled"].dt.tz_convert("America/New_York").dt.month
    counts = rows.groupby(["split", months]).size()
    found = set(counts[counts > 20].index)
    assert found == {
        *(("train", month) for month in range(1, 10)),
        ("validation", 10),
        ("test", 11),
        ("test", 12),
    }


def test_the_sample_keeps_the_contract(line, prepared):
    """Every domain, on derived columns as on raw ones."""
    report = run_contract(line.contract, prepared.rows.read().to_pandas(), run_name="sample")
    assert [domain.outcome for domain in report.domains] == ["pass"] * len(report.domains)


def test_features_look_back_along_the_route(line, prepared):
    """Weights take the place of their columns; a z-score and a lag stand beside the delay, and most rows have them."""
    fitted = {
        name: fit(each.spec, rows_to_fit(each.spec, prepared.rows.read()).rows)
        for name, each in line.transformers.items()
    }
    made = line.task.featurizer.apply(
        prepared.rows.read(), line.spec, subject_column="rownames", transformers=fitted
    ).table
    assert set(made.column_names) - {"rownames", "label", "source", "split"} == {
        "dep_delay",
        "distance",
        "dep_delay_zscore",
        "dep_delay_lag",
        "carrier_woe",
        "origin_woe",
        "dest_woe",
        "hour_woe",
    }
    for name in ("dep_delay_zscore", "dep_delay_lag"):
        assert 0 < made[name].null_count < 0.2 * made.num_rows


def test_a_feature_is_said_to_be_made_of_what_decides_it(line):
    """A weight of its column, whatever times say which rows it was fitted on; a look back of its column and of those by which it looks."""
    specs = {name: each.spec.made_from for name, each in line.transformers.items()}
    assert specs["flight_woe"] == {
        f"{column}_woe": (column,) for column in ("carrier", "origin", "dest", "hour")
    }
    looked_back = ("dep_delay", "route", "scheduled", "departed")
    assert specs["flight_delay_zscore"] == {"dep_delay_zscore": looked_back}
    assert specs["flight_delay_lag"] == {"dep_delay_lag": looked_back}
