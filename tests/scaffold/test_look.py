"""A look at a table tells what each column holds."""

from datetime import date
from decimal import Decimal

import pandas as pd
import pytest

from platform_assets.scaffold.errors import ScaffoldError
from platform_assets.scaffold.look import MOST_CATEGORIES, look_at
from tests.scaffold.tables import customers, looked


def column(*values, suffix=".csv"):
    """The look of one column of these values."""
    (found,) = look_at(pd.DataFrame({"a": list(values)}), suffix=suffix)
    return found


@pytest.mark.parametrize(
    ("values", "kind", "raw_type"),
    [
        (["1", "2", None], "integer", "integer"),
        (["1", "2.5"], "number", "number"),
        (["true", "False"], "boolean", "boolean"),
        (["2026-01-31", "2026-02-01T10:00:00Z"], "time", "timestamp"),
        (["a", "1"], "string", "string"),
        (["007", "123"], "string", "string"),
        (["9" * 30, "-5"], "integer", "integer"),
        (["0001-01-01", "9999-12-31T10:00:00Z"], "time", "timestamp"),
        ([None, None], "empty", "string"),
    ],
)
def test_text_is_told_by_what_it_reads_as(values, kind, raw_type):
    """Columns of a csv file are text; their type is the narrowest that all values read as, and codes stay text."""
    found = column(*values)
    assert (found.kind, found.raw_type) == (kind, raw_type)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2], "integer"),
        (pd.array([2**64 - 1, None], "UInt64"), "integer"),
        ([Decimal("1.50"), None], "number"),
        (pd.array([True, None], "boolean"), "boolean"),
        (pd.array([date(1, 1, 1), date(9999, 12, 31)], "datetime64[us]"), "time"),
        ([1.5, None], "number"),
        ([True, False], "boolean"),
        (["1", "2"], "string"),
        (pd.to_datetime(["2026-01-01", "2026-01-02"]), "time"),
        (pd.Categorical(["a", "b"]), "string"),
    ],
)
def test_typed_columns_keep_their_type(values, kind):
    """Columns of a Parquet file are what they are stored as."""
    (found,) = look_at(pd.DataFrame({"a": values}), suffix=".parquet")
    assert found.kind == kind


@pytest.mark.parametrize("values", [[[1], [2]], [{"b": 1}, None], [1, "a"]])
def test_what_no_contract_can_state_is_refused(values):
    """Lists, objects and mixed types are one error that names the column."""
    with pytest.raises(ScaffoldError, match="column 'a': holds lists, objects, or values of several types"):
        column(*values, suffix=".jsonl")


def test_counts_and_range():
    """Missing, distinct, range, median and the most frequent values are those of the column."""
    found = column("3", "1", None, "3", "10")
    assert (found.rows, found.missing, found.distinct) == (5, 1, 3)
    assert (found.least, found.most, found.median) == (1, 10, 3)
    assert found.commonest == (("3", 2), ("1", 1), ("10", 1))
    assert found.codes.tolist() == [0, 1, -1, 0, 2]


def test_no_more_values_are_kept_than_anybody_looks_over():
    """Of many values the most frequent ones are kept."""
    found = column(*(f"v{number % 80}" for number in range(1000)), *["often"] * 50)
    assert len(found.commonest) == MOST_CATEGORIES
    assert found.commonest[0] == ("often", 50)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (["1.5", "NA", "3"], "numbers, but 'NA' stands where one is missing"),
        (["1.5", " ", "?"], "numbers, but ' ', '\\?' stands where one is missing"),
        (["1,5", "1.200,00"], "numbers with decimal commas"),
        (["31.12.2025", "1.1.2026"], "dates that are not written as"),
        (["12/31/2025", "1/1/2026"], "dates that are not written as"),
        (["1" * 18, "2"], "too large to reckon with"),
    ],
)
def test_numbers_and_dates_in_other_spellings_are_told(values, what):
    """What keeps a column from being read as numbers or times is told, and what to do in the file."""
    assert pd.Series([column(*values).oddity]).str.contains(what).all()


@pytest.mark.parametrize("values", [["a", "NA"], ["1", "2"], ["2026-01-01"], ["NA", "NA"], ["a,5", "b"]])
def test_ordinary_columns_have_no_oddity(values):
    """Nothing is told of categories among which one is called NA, nor of numbers and dates."""
    assert column(*values).oddity == ""


def test_infinite_numbers_are_told():
    """A Parquet file may hold infinity, which no contract can bound."""
    found = column(1.0, float("inf"), suffix=".parquet")
    assert "infinite" in found.oddity
    assert (found.least, found.most) == (1.0, 1.0)


def test_shapes_of_columns():
    """Unique, constant and counting columns are recognised."""
    found = looked(
        customers(row=range(400), shuffled=[*range(200, 400), *range(200)], rising=range(0, 1200, 3), one="x")
    )
    assert {name for name, each in found.items() if each.is_unique} == {
        "customer_id",
        "row",
        "shuffled",
        "rising",
    }
    assert {name for name, each in found.items() if each.is_counter} == {"row", "shuffled", "rising"}
    assert {name for name, each in found.items() if each.is_constant} == {"one"}
