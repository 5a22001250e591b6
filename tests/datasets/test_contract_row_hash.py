"""Row hashes: the same row has the same name, however it is stored, and no other row has it."""

import hashlib
import hmac
import io
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.datasets.row_hash import row_hashes

SALT = b"a salt for the tests"
CELLS = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=3))


def name_of(value: Any, *, column: str = "a") -> str:
    """The hash of a row with this one cell."""
    (name,) = row_hashes(pd.DataFrame({column: pd.Series([value], dtype=object)}), SALT)
    return name


def test_hash_can_be_computed_by_hand() -> None:
    """It is HMAC-SHA256 over the canonical JSON of columns and values, nulls as null."""
    frame = pd.DataFrame({"id": [7], "text": ["ä"], "label": [None]}, index=[99])
    canonical = '[["id",7],["text","ä"],["label",null]]'.encode()
    assert row_hashes(frame, SALT) == (hmac.new(SALT, canonical, hashlib.sha256).hexdigest(),)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=2, max_size=2))
def test_rows_share_a_hash_only_where_they_are_equal(rows: list[tuple[Any, Any]]) -> None:
    """Two rows have one hash exactly where all their cells are equal in value and type."""
    frame = pd.DataFrame({"a": pd.Series([row[0] for row in rows], dtype=object)})
    frame["b"] = pd.Series([row[1] for row in rows], dtype=object)
    first, second = row_hashes(frame, SALT)
    same = [(type(cell), cell) for cell in rows[0]] == [(type(cell), cell) for cell in rows[1]]
    assert (first == second) is same


@pytest.mark.parametrize(
    "values",
    [
        [1, np.int8(1), np.uint64(1), 1.0, np.float32(1)],
        [None, float("nan"), pd.NA, pd.NaT],
        [True, np.True_],
        [pd.Timestamp("2026-03-01T09:00Z"), pd.Timestamp("2026-03-01T10:00+01:00")],
        [[1, 2], (1, 2), np.array([1, 2])],
    ],
    ids=["one", "null", "true", "instant", "list"],
)
def test_storage_does_not_matter(values: list[Any]) -> None:
    """A value has one hash whatever type stores it."""
    assert len({name_of(value) for value in values}) == 1


@pytest.mark.parametrize(
    "value",
    [
        2**60,
        float("inf"),
        b"\xff",
        Decimal("1.10"),
        date(2026, 3, 1),
        time(9),
        datetime(2026, 3, 1, tzinfo=UTC),
        {"k": [1]},
        "\ud800",
        object(),
    ],
)
def test_unusual_values_have_a_hash(value: Any) -> None:
    """What JSON cannot hold has a hash too, and never stops a report."""
    assert len(name_of(value)) == 64
    assert name_of(value) == name_of(value)
    assert name_of(value) != name_of(None)


def test_hash_survives_a_round_trip_through_files() -> None:
    """Read back from Arrow or Parquet, with integers widened by nulls, a row keeps its hash."""
    frame = pd.DataFrame({"text": ["x", None], "label": pd.array([1, None], dtype="Int32")})
    names = row_hashes(frame, SALT)
    assert row_hashes(pa.Table.from_pandas(frame).to_pandas(), SALT) == names
    file = io.BytesIO()
    frame.astype({"label": "float64"}).to_parquet(file)
    assert row_hashes(pd.read_parquet(file), SALT) == names


def test_column_names_and_salt_are_part_of_it() -> None:
    """Another salt or another column name gives another hash; repeated names are no trouble."""
    frame = pd.DataFrame([[1, 2]], columns=["a", "a"])
    assert row_hashes(frame, SALT) != row_hashes(frame, b"another salt for it")
    assert name_of(1, column="a") != name_of(1, column="b")
    assert row_hashes(frame.iloc[:0], SALT) == ()
