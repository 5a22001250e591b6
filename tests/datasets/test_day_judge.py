"""Contracts by day: a day is refused exactly where the contract, asked about its rows alone, says so."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from platform_assets.datasets.contract import Contract, load_contract
from platform_assets.datasets.contract_run import run_contract
from platform_assets.datasets.day_judge import judge_days

EXPECTATIONS = """\
name: days
expectations:
  - {type: expect_column_values_to_not_be_null, kwargs: {column: number, mostly: 0.7}, meta: {domain: rows}}
  - {type: expect_column_values_to_be_null, kwargs: {column: text, mostly: 0.1}, meta: {domain: rows}}
  - {type: expect_column_values_to_be_between, kwargs: {column: number, min_value: 0.1, max_value: 3, mostly: 0.5}, meta: {domain: rows}}
  - {type: expect_column_values_to_be_in_set, kwargs: {column: text, value_set: [a, b], mostly: 0.5}, meta: {domain: texts}}
  - {type: expect_column_values_to_not_be_in_set, kwargs: {column: count, value_set: [3]}, meta: {domain: texts}}
  - {type: expect_column_values_to_match_regex, kwargs: {column: text, regex: '^[ab]', mostly: 0.25}, meta: {domain: texts}}
  - {type: expect_column_value_lengths_to_be_between, kwargs: {column: text, max_value: 1, mostly: 0.25}, meta: {domain: texts}}
  - {type: expect_column_values_to_be_between, kwargs: {column: count, max_value: 2}, meta: {domain: warned}, severity: warning}
  - {type: expect_column_values_to_be_unique, kwargs: {column: count}, meta: {domain: whole}}
  - {type: expect_column_mean_to_be_between, kwargs: {column: count, max_value: 1}, meta: {domain: whole}}
  - {type: expect_table_row_count_to_be_between, kwargs: {min_value: 100}, meta: {domain: whole}}
  - {type: expect_column_pair_values_to_be_equal, kwargs: {column_A: number, column_B: count}, meta: {domain: whole}}
"""
JUDGED = (0, 1, 2, 3, 4, 5, 6)
"""Those that are about each row, and refuse."""


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    """Of all kinds of expectations."""
    path: Path = tmp_path_factory.mktemp("contract") / "days.yaml"
    path.write_text(EXPECTATIONS, encoding="utf-8")
    return load_contract(path)


ROWS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from([None, float("nan"), 0.1, 0.05, 1.0, 3.0, 3.5]),
        st.sampled_from([None, "a", "b", "bb", "c", ""]),
        st.integers(0, 4),
    ),
    min_size=1,
    max_size=40,
)


@pytest.mark.parametrize("examples", [3, pytest.param(100, marks=pytest.mark.long)])
def test_a_day_is_judged_as_a_table_of_its_own(contract, examples):
    """Great Expectations, asked about each day by itself, fails the same expectations with the same counts."""

    @settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow])
    @given(rows=ROWS)
    def compared(rows):
        compare(contract, rows)

    compared()


def compare(contract, rows):
    """One table, judged by both."""
    days, numbers, texts, counts = zip(*rows, strict=True)
    table = pa.table(
        {
            "number": pa.array(numbers, pa.float64()),
            "text": pa.array(texts, pa.string()),
            "count": pa.array(counts, pa.int64()),
        }
    )
    found = judge_days(contract, table, np.array(days, np.int64))
    assert found.judged == JUDGED
    for day in set(days):
        own = table.filter(pc.equal(pa.array(days), day))
        report = run_contract(contract, own.to_pandas(), run_name="tests")
        expected = {
            (result.type, result.column, result.unexpected_count)
            for domain in report.domains
            for result in domain.results
            if result.index in JUDGED and result.outcome == "fail"
        }
        told = {(each.type, each.column, each.unexpected) for each in found.broken.get(day, ())}
        assert told == expected


def test_a_day_that_fails_where_the_table_passes(contract):
    """With `mostly`, the others make up for it in the table, and not in its own share; no value is told."""
    days = np.repeat(np.arange(10), 10)
    numbers = np.where(days == 6, -77.5, 1.0)
    table = pa.table({"number": numbers, "text": ["a"] * 50 + [None] * 50, "count": [0] * 100})
    found = judge_days(contract, table, days)
    assert list(found.broken) == [0, 1, 2, 3, 4, 6]
    (broken,) = found.broken[6]
    assert str(broken) == (
        "contract.rows: expect_column_values_to_be_between: 10 of 10 values of column `number` are unexpected"
    )


def test_a_contract_without_such_a_promise_refuses_no_day(tmp_path):
    """Nothing is judged, and that is told."""
    path = tmp_path / "none.yaml"
    path.write_text(
        "name: none\nexpectations:\n  - {type: expect_table_row_count_to_be_between, kwargs: {min_value: 100}, "
        "meta: {domain: whole}}\n"
    )
    found = judge_days(load_contract(path), pa.table({"a": [1, 2]}), np.array([1, 2]))
    assert (found.broken, found.judged) == ({}, ())
