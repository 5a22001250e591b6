"""What one column tells about a target, and which columns say the same."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.scaffold.association import separation, twins

ROWS = 2000
RNG = np.random.default_rng(3)
LABEL = (RNG.random(ROWS) < 0.3).astype(np.int64)


def coded(values):
    """Codes by first appearance, and numbers where the values are some."""
    values = pd.Series(values)
    codes = pd.factorize(values)[0].astype(np.int64)
    return codes, values.to_numpy(dtype=float) if values.dtype.kind in "if" else None


@pytest.mark.parametrize(
    "values",
    [
        LABEL,
        1 - LABEL,
        np.where(LABEL, "left", "stayed"),
        LABEL * 100 + RNG.normal(size=ROWS),
        np.abs(RNG.normal(size=ROWS)) * np.where(LABEL, 0, 1) + np.where(LABEL, 50, 0) - 25,
        np.where(LABEL == 1, RNG.integers(0, 2, ROWS) * 20 - 10, 0) + RNG.normal(size=ROWS),
        pd.Series(np.where(LABEL, "2026-01-01", None)),
        RNG.integers(0, 10, ROWS) * 2 + LABEL,
    ],
    ids=["label", "opposite", "text", "shifted", "falling", "u-shaped", "missing tells", "odd and even"],
)
def test_a_column_that_tells_the_target_is_seen(values):
    """Whatever the direction and the shape, a column that gives the target away has an AUC near 1."""
    assert separation(*coded(values), LABEL) >= 0.98


@pytest.mark.parametrize(
    "values",
    [
        RNG.normal(size=ROWS),
        RNG.integers(0, 5, ROWS),
        [f"name {number}" for number in range(ROWS)],
        [f"name {number // 3}" for number in range(ROWS)],
        np.arange(ROWS),
        np.full(ROWS, 3.0),
        np.full(ROWS, np.nan),
    ],
    ids=["noise", "few categories", "unique text", "many categories", "counter", "constant", "empty"],
)
def test_a_column_that_tells_nothing_seems_to_tell_nothing(values):
    """Columns of chance stay near 0.5, also those of so many values that memory would tell every row."""
    assert separation(*coded(values), LABEL) < 0.56


def test_a_number_known_of_few_rows_is_worth_little():
    """A column that tells the target in a tenth of the rows and is missing at random in the rest is no leak."""
    values = np.where(np.arange(ROWS) % 10 == 0, LABEL.astype(float), np.nan)
    assert 0.5 < separation(*coded(values), LABEL) < 0.7


@given(
    values=st.lists(st.one_of(st.none(), st.integers(-3, 3)), min_size=10, max_size=40),
    flips=st.lists(st.booleans(), min_size=10, max_size=40),
)
def test_it_is_always_a_share(values, flips):
    """Whatever the column, the AUC lies between 0.5 and 1."""
    rows = min(len(values), len(flips))
    label = np.array(flips[:rows], dtype=np.int64)
    label[:2] = 0, 1
    column = pd.Series(values[:rows], dtype=float)
    assert 0.5 <= separation(*coded(column), label) <= 1


def test_twins_are_found_across_kinds_and_names():
    """Columns that map to each other value for value, and numbers that rise together, are the same; others are not."""
    sex = RNG.choice(["m", "f"], ROWS)
    minutes = RNG.gamma(2, 50, ROWS)
    columns = {
        "sex": sex,
        "minutes": minutes,
        "noise": RNG.normal(size=ROWS),
        "sex_code": np.where(sex == "m", 1, 2),
        "charge": (minutes * 0.17).round(2),
        "debt": -3 * minutes,
        "constant": np.full(ROWS, 1.0),
    }
    found = dict(zip(columns, twins([coded(values) for values in columns.values()]), strict=True))
    assert found == {
        "sex": (), "minutes": (), "noise": (), "sex_code": (0,), "charge": (1,), "debt": (1, 4), "constant": ()
    }  # fmt: skip


def test_unique_columns_are_no_twins():
    """Two columns in which every row has a value of its own say nothing about each other."""
    columns = [coded([f"a{row}" for row in range(ROWS)]), coded([f"b{-row}" for row in range(ROWS)])]
    assert twins(columns) == ((), ())
