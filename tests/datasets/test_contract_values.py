"""What a contract states is compared with what a column holds: exactly, or not at all and said so."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.datasets.contract import RawSchema, load_contract
from platform_assets.datasets.contract_run import (
    ContractReport,
    ExpectationResult,
    failing_rows,
    run_contract,
)
from platform_assets.datasets.contract_values import instant, kind_of
from platform_assets.datasets.errors import ContractError
from tests.datasets.test_contract import contract_with

WIDE = 2**53
EAST = timezone(timedelta(hours=5, minutes=30))


def judge(folder: Path, frame: pd.DataFrame, *entries: str) -> list[ExpectationResult]:
    """What becomes of each entry (`<type>, <kwargs>`) on the frame."""
    report: ContractReport = run_contract(contract_with(folder, *entries), frame, run_name="run-1")
    return list(report.domain("core").results)


def outcomes(folder: Path, frame: pd.DataFrame, *entries: str) -> list[str]:
    """The outcome of each."""
    return [result.outcome for result in judge(folder, frame, *entries)]


TIMES = {
    "date": pd.Series([date(2019, 12, 31), date(2026, 1, 1), None]),
    "naive": pd.Series(pd.to_datetime(["2019-12-31T23:59:59", "2026-01-01T10:00:00", None])),
    "microseconds": pd.Series(pd.to_datetime(["2019-12-31", "2026-01-01", None]).as_unit("us")),
    "utc": pd.Series(pd.to_datetime(["2019-12-31T23:59:59Z", "2026-01-01T10:00:00Z", None])),
    "zoned": pd.Series(pd.to_datetime(["2019-12-31T20:00:00-03:00", "2026-01-01T10:00:00-03:00", None])),
    "objects": pd.Series([datetime(2020, 1, 1, 5, tzinfo=EAST), datetime(2026, 1, 1), None], dtype=object),  # noqa: DTZ001
}  # fmt: skip


@pytest.mark.parametrize(
    "bounds",
    [
        "min_value: '2020-01-01', max_value: '2030-01-01'",
        "min_value: 2020-01-01, max_value: 2030-01-01",
        "min_value: '2020-01-01T00:00:00+00:00', max_value: '2030-01-01T00:00:00+00:00'",
        "min_value: '2020-01-01T01:00:00+01:00'",
        "min_value: '2020-01-01 00:00'",
    ],
)
def test_bounds_of_time_are_judged_as_a_person_reads_them(tmp_path, bounds):
    """Dates, times without and with a zone are held against each other as instants; where no zone stands it is UTC."""
    late = "min_value: 2019-12-31, max_value: 2026-01-01T23:59:59Z"
    entries = [
        entry
        for form in TIMES
        for entry in (
            f"expect_column_values_to_be_between, {{column: {form}, {bounds}}}",
            f"expect_column_max_to_be_between, {{column: {form}, {bounds}}}",
            f"expect_column_min_to_be_between, {{column: {form}, {bounds}}}",
            f"expect_column_median_to_be_between, {{column: {form}, {bounds}}}",
            f"expect_column_values_to_be_between, {{column: {form}, {late}}}",
        )
    ]
    found = judge(tmp_path, pd.DataFrame(TIMES), *entries)
    for form, first in zip(TIMES, range(0, len(found), 5), strict=True):
        between, *others = found[first : first + 5]
        assert (between.outcome, between.unexpected_count, between.element_count) == ("fail", 1, 3), form
        assert [each.outcome for each in others] == ["pass", "fail", "pass", "pass"], form


def test_a_date_is_the_beginning_of_its_day(tmp_path):
    """A bound that is a date includes its midnight and nothing after it; a strict bound not even that."""
    frame = pd.DataFrame({"at": pd.to_datetime(["2030-01-01T00:00:00", "2030-01-01T00:00:01"])})
    found = judge(
        tmp_path,
        frame,
        "expect_column_values_to_be_between, {column: at, max_value: 2030-01-01}",
        "expect_column_values_to_be_between, {column: at, max_value: 2030-01-01, strict_max: true}",
    )
    assert [each.unexpected_count for each in found] == [1, 2]


def test_sets_of_times_hold_instants(tmp_path):
    """A set of dates or times holds each form of the same instant."""
    frame = pd.DataFrame(
        {"day": [date(2026, 1, 1), date(1, 1, 1)], "at": pd.to_datetime(["2026-01-01T10:00Z"] * 2)}
    )
    assert outcomes(
        tmp_path,
        frame,
        "expect_column_values_to_be_in_set, {column: day, value_set: [2026-01-01, 0001-01-01]}",
        "expect_column_values_to_be_in_set, {column: day, value_set: ['2026-01-01T01:00:00+01:00', 9999-12-31]}",
        "expect_column_values_to_not_be_in_set, {column: day, value_set: [9999-12-31]}",
        "expect_column_distinct_values_to_equal_set, {column: at, value_set: ['2026-01-01T12:00:00+02:00']}",
        "expect_column_distinct_values_to_contain_set, {column: at, value_set: ['2026-01-01T12:00:00+03:00']}",
        "expect_column_most_common_value_to_be_in_set, {column: at, value_set: ['2026-01-01T10:00:00Z']}",
        "expect_column_values_to_be_decreasing, {column: day}",
        "expect_column_values_to_be_increasing, {column: day}",
        "expect_column_pair_values_a_to_be_greater_than_b, {column_A: at, column_B: day}",
    ) == ["pass", "fail", "pass", "pass", "fail", "pass", "pass", "fail", "pass"]  # fmt: skip


NUMBERS = {
    "int64": pd.Series([WIDE + 1, WIDE + 3, -5]),
    "Int64": pd.Series(pd.array([WIDE + 1, None, WIDE + 3], dtype="Int64")),
    "uint64": pd.Series([2**63 + WIDE + 1, 2**64 - 1, WIDE + 1], dtype="uint64"),
    "UInt64": pd.Series(pd.array([2**64 - 1, None, WIDE + 1], dtype="UInt64")),
    "decimal": pd.Series([Decimal("9007199254740993.1"), None, Decimal("0.1")], dtype=object),
    "beyond 64 bits": pd.Series([Decimal(10**30 + 1), Decimal(WIDE + 1), None], dtype=object),
}


@pytest.mark.parametrize("form", NUMBERS)
def test_no_digit_of_a_number_is_lost(tmp_path, form):
    """Bounds and sets tell integers of 19 digits and decimals apart to the last digit, with nulls among them or not."""
    values = NUMBERS[form]
    given = sorted(values.dropna().tolist())
    low, high = given[0], given[-1]
    step = Decimal("0.1") if form == "decimal" else 1
    entries = {
        f"expect_column_values_to_be_between, {{column: n, min_value: {low}, max_value: {high}}}": "pass",
        f"expect_column_values_to_be_between, {{column: n, min_value: {low}, max_value: {high - step}}}": "fail",
        f"expect_column_values_to_be_between, {{column: n, min_value: {low + step}}}": "fail",
        f"expect_column_values_to_be_between, {{column: n, min_value: {low}, strict_min: true}}": "fail",
        f"expect_column_max_to_be_between, {{column: n, min_value: {high}, max_value: {high}}}": "pass",
        f"expect_column_max_to_be_between, {{column: n, max_value: {high - step}}}": "fail",
        f"expect_column_min_to_be_between, {{column: n, min_value: {low + step}}}": "fail",
        f"expect_column_values_to_be_in_set, {{column: n, value_set: [{', '.join(map(str, given))}]}}": "pass",
        f"expect_column_values_to_be_in_set, {{column: n, value_set: [{low}, {high - step}, 7]}}": "fail",
        f"expect_column_values_to_not_be_in_set, {{column: n, value_set: [{high - step}, null]}}": "pass",
        f"expect_column_values_to_not_be_in_set, {{column: n, value_set: [{high}]}}": "fail",
        "expect_column_values_to_be_unique, {column: n}": "pass",
        f"expect_column_unique_value_count_to_be_between, {{column: n, min_value: {len(given)}}}": "pass",
    }
    if (
        form == "decimal"
    ):  # written with a digit more than a float of 64 bits holds, so a contract cannot state it
        entries = {
            entry: outcome
            for entry, outcome in entries.items()
            if str(high) not in entry and str(high - step) not in entry
        }
    assert (
        dict(zip(entries, outcomes(tmp_path, pd.DataFrame({"n": values}), *entries), strict=True)) == entries
    )


def test_a_float_is_held_against_each_digit_of_a_bound(tmp_path):
    """A bound that no float equals lies beside the float next to it."""
    frame = pd.DataFrame({"n": [float(WIDE), None]})
    assert outcomes(
        tmp_path,
        frame,
        f"expect_column_values_to_be_between, {{column: n, min_value: {WIDE + 1}}}",
        f"expect_column_values_to_be_between, {{column: n, max_value: {WIDE + 1}}}",
        f"expect_column_values_to_be_in_set, {{column: n, value_set: [{WIDE + 1}]}}",
    ) == ["fail", "pass", "fail"]


def test_a_decimal_is_compared_with_what_is_written(tmp_path):
    """0.1 in a contract is a tenth, not the float beside it; sums of decimals are exact, and observed as they are."""
    frame = pd.DataFrame(
        {"price": [Decimal("0.1")] * 3 + [None], "cent": [Decimal("1.10"), Decimal(2), None, None]}
    )
    found = judge(
        tmp_path,
        frame,
        "expect_column_values_to_be_between, {column: price, min_value: 0.1, max_value: 0.1}",
        "expect_column_values_to_be_in_set, {column: price, value_set: [0.10]}",
        "expect_column_sum_to_be_between, {column: price, min_value: 0.3, max_value: 0.3}",
        "expect_column_mean_to_be_between, {column: cent, min_value: 1.55, max_value: 1.55}",
        "expect_column_stdev_to_be_between, {column: cent, min_value: 0, max_value: 1}",
        "expect_column_median_to_be_between, {column: cent, min_value: 1.5, max_value: 1.6}",
        "expect_column_pair_values_a_to_be_greater_than_b, {column_A: cent, column_B: price, ignore_row_if: either_value_is_missing}",
    )
    assert [each.outcome for each in found] == ["pass"] * 7
    assert [each.observed for each in found] == [None, None, 0.3, 1.55, pytest.approx(0.636396), None, None]
    assert frame.price.tolist() == [Decimal("0.1")] * 3 + [None]  # GE would write floats into it


def test_a_sum_of_long_decimals_keeps_each_digit(tmp_path):
    """Decimals of more digits than Python's own arithmetic keeps add up to what they are."""
    frame = pd.DataFrame({"n": [Decimal(10**37 + 7), Decimal(-(10**37)), Decimal("0.5")]})
    (found,) = judge(
        tmp_path, frame, "expect_column_sum_to_be_between, {column: n, min_value: 7.5, max_value: 7.5}"
    )
    assert (found.outcome, found.observed) == ("pass", 7.5)


def test_a_sum_beyond_64_bits_is_no_negative_one(tmp_path):
    """Integers that add up to more than 64 bits hold keep their sign."""
    frame = pd.DataFrame({"n": [2**62] * 4, "gaps": pd.array([2**62, 2**62, 2**62, None], dtype="Int64")})
    found = judge(
        tmp_path,
        frame,
        "expect_column_sum_to_be_between, {column: n, min_value: 0}",
        "expect_column_sum_to_be_between, {column: gaps, min_value: 0}",
    )
    assert [(each.outcome, each.observed) for each in found] == [("pass", 2**64), ("pass", 3 * 2**62)]


ROW_SUM = "expect_multicolumn_sum_to_equal"
PAIR_SET = "expect_column_pair_values_to_be_in_set"


@pytest.mark.parametrize("width", ["float32", "float16", "Float32"])
def test_a_narrow_float_is_the_decimal_that_it_stands_for(tmp_path, width):
    """A tenth of 32 or 16 bits is a tenth, in sets, bounds, pairs and sums."""
    frame = pd.DataFrame({"n": pd.Series([0.1, 0.2, 0.1], dtype=width), "wide": [0.1, 0.2, 0.1]})
    assert outcomes(
        tmp_path,
        frame,
        f"{NOT_IN_SET}, {{column: n, value_set: [0.1]}}",
        f"{IN_SET}, {{column: n, value_set: [0.1, 0.2]}}",
        f"{BETWEEN}, {{column: n, min_value: 0.1, max_value: 0.2}}",
        "expect_column_max_to_be_between, {column: n, min_value: 0.2, max_value: 0.2}",
        "expect_column_most_common_value_to_be_in_set, {column: n, value_set: [0.1]}",
        "expect_column_pair_values_to_be_equal, {column_A: n, column_B: wide}",
        f"{PAIR_SET}, {{column_A: n, column_B: wide, value_pairs_set: [[0.1, 0.1], [0.2, 0.2]]}}",
        f"{PAIR_SET}, {{column_A: n, column_B: wide, value_pairs_set: [[0.1, 0.1]]}}",
    ) == ["fail", "pass", "pass", "pass", "pass", "pass", "pass", "fail"]


def test_a_narrow_float_beside_nulls(tmp_path):
    """Nulls among narrow floats stay nulls."""
    frame = pd.DataFrame({"n": pd.Series([0.1, None, 0.3], dtype="float32")})
    (found,) = judge(tmp_path, frame, f"{BETWEEN}, {{column: n, min_value: 0.1, max_value: 0.2}}")
    assert (found.outcome, found.unexpected_count, found.unexpected_percent) == ("fail", 1, 50)


def test_sets_of_pairs_hold_what_is_written(tmp_path):
    """Dates, decimals and long integers of a pair are compared with the set's as single ones are."""
    frame = pd.DataFrame(
        {
            "day": [date(2024, 1, 1), date(2024, 1, 2)],
            "price": [Decimal("1.1"), None],
            "n": [WIDE + 1, 7],
            "t": ["x", "y"],
        }
    )
    assert outcomes(
        tmp_path,
        frame,
        f"{PAIR_SET}, {{column_A: day, column_B: t, value_pairs_set: [[2024-01-01, x], [2024-01-02, y]]}}",
        f"{PAIR_SET}, {{column_A: day, column_B: t, value_pairs_set: [[2024-01-02, x], [2024-01-01, y]]}}",
        f"{PAIR_SET}, {{column_A: price, column_B: n, value_pairs_set: [[1.1, {WIDE + 1}], [null, 7]]}}",
        f"{PAIR_SET}, {{column_A: price, column_B: n, value_pairs_set: [[1.1, {WIDE}], [null, 7]]}}",
    ) == ["pass", "fail", "pass", "fail"]


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_sum_over_a_row_is_exact(tmp_path, missing):
    """Decimals, long integers and narrow floats add up over a row to what they are; a null adds up to nothing."""
    longest = 2**63 - 1
    frame = pd.DataFrame(
        {
            "n": [longest, longest],
            "m": [longest, longest],
            "b": [Decimal("1.1"), Decimal("1.1")],
            "c": [Decimal("2.2"), missing],
            "f": pd.Series([0.1, 0.1], dtype="float32"),
            "small": pd.Series([100, 100], dtype="int8"),
            "gaps": pd.array([1, None], dtype="Int64"),
            "t": ["x", "y"],
        }
    )
    either = "ignore_row_if: any_value_is_missing"
    found = judge(
        tmp_path,
        frame,
        f"{ROW_SUM}, {{column_list: [n, m], sum_total: -2}}",
        f"{ROW_SUM}, {{column_list: [n, m], sum_total: {2**64 - 2}}}",
        f"{ROW_SUM}, {{column_list: [b, c], sum_total: 3.3, {either}}}",
        f"{ROW_SUM}, {{column_list: [b, c], sum_total: 3.3}}",
        f"{ROW_SUM}, {{column_list: [f, b], sum_total: 1.2}}",
        f"{ROW_SUM}, {{column_list: [small, small], sum_total: -56}}",
        f"{ROW_SUM}, {{column_list: [small, gaps], sum_total: 101, {either}}}",
        f"{ROW_SUM}, {{column_list: [n, t], sum_total: 1}}",
    )
    assert [each.outcome for each in found] == [
        "fail", "pass", "pass", "fail", "pass", "fail", "pass", "error",
    ]  # fmt: skip
    assert [found[0].unexpected_count, found[3].unexpected_count] == [2, 1]
    assert "column `t` holds text" in found[7].reason


@pytest.mark.parametrize("either", ["both_values_are_missing", "either_value_is_missing", "neither"])
def test_pairs_with_nulls_are_compared(tmp_path, either):
    """Nulls of pandas' own types are unequal to a value, and leave a verdict on the pair."""
    frame = pd.DataFrame(
        {
            "i": pd.array([5, None], dtype="Int64"),
            "j": [1, 2],
            "t": pd.array(["b", None], dtype="string"),
            "u": ["a", "b"],
        }
    )
    greater = "expect_column_pair_values_a_to_be_greater_than_b"
    found = judge(
        tmp_path,
        frame,
        f"{greater}, {{column_A: i, column_B: j, ignore_row_if: {either}}}",
        f"{greater}, {{column_A: t, column_B: u, ignore_row_if: {either}}}",
        f"expect_column_pair_values_to_be_equal, {{column_A: i, column_B: i, ignore_row_if: {either}}}",
    )
    assert [each.outcome for each in found[:2]] == ["pass" if either.startswith("either") else "fail"] * 2
    assert found[2].outcome == ("fail" if either == "neither" else "pass")


def test_a_type_is_the_same_with_nulls_among_its_values(tmp_path):
    """A list of types holds what a single one does, whether a value is null or not."""
    frame = pd.DataFrame({"n": [1, 2], "gaps": pd.array([1, None], dtype="Int64")})
    for column in frame:
        assert outcomes(
            tmp_path,
            frame,
            f"expect_column_values_to_be_in_type_list, {{column: {column}, type_list: [int64, str]}}",
            f"expect_column_values_to_be_of_type, {{column: {column}, type_: int64}}",
            f"expect_column_values_to_be_in_type_list, {{column: {column}, type_list: [int8]}}",
        ) == ["pass", "pass", "fail"]


FRAME = pd.DataFrame(
    {
        "country": ["DE", "NO", None],
        "n": [1, 2, 3],
        "price": [Decimal("1.5"), None, Decimal(2)],
        "ok": pd.array([True, None, False], dtype="boolean"),
        "at": pd.to_datetime(["2026-01-01", None, "2026-01-02"]),
        "day": [date(2026, 1, 1), None, None],
        "clock": [time(12, 30), None, None],
        "blob": [b"a", b"b", None],
        "mixed": [1, "a", None],
        "gone": [None, None, None],
    }
)
IN_SET, NOT_IN_SET = "expect_column_values_to_be_in_set", "expect_column_values_to_not_be_in_set"
BETWEEN, REGEX = "expect_column_values_to_be_between", "expect_column_values_to_match_regex"


MISFITS = [
    (f"{NOT_IN_SET}, {{column: country, value_set: [true]}}", "value_set.0", "true is a boolean, and column `country` holds text; put the word in quotes"),
    (f"{NOT_IN_SET}, {{column: country, value_set: [01067, 10115]}}", "value_set.0", "1067 is a number, and column `country` holds text; put the value in quotes"),
    (f"{NOT_IN_SET}, {{column: n, value_set: ['7']}}", "value_set.0", '"7" is text, and column `n` holds numbers; write a number, without quotes'),
    (f"{NOT_IN_SET}, {{column: price, value_set: ['1.5']}}", "value_set.0", '"1.5" is text, and column `price` holds numbers'),
    (f"{NOT_IN_SET}, {{column: n, value_set: [true]}}", "value_set.0", "true is a boolean, and column `n` holds numbers"),
    (f"{NOT_IN_SET}, {{column: ok, value_set: [0]}}", "value_set.0", "0 is a number, and column `ok` holds true and false; write true or false"),
    (f"{NOT_IN_SET}, {{column: ok, value_set: ['no']}}", "value_set.0", '"no" is text, and column `ok` holds true and false'),
    (f"{NOT_IN_SET}, {{column: at, value_set: [20260101]}}", "value_set.0", "20260101 is a number, and column `at` holds dates or times; write a date such as"),
    (f"{NOT_IN_SET}, {{column: day, value_set: ['01.01.2026']}}", "value_set.0", '"01.01.2026" is text, and column `day` holds dates or times; write a date'),
    (f"{NOT_IN_SET}, {{column: clock, value_set: ['12:30']}}", "value_set.0", '"12:30" is text, and column `clock` holds values of several types, or of one that no contract can state'),
    (f"{NOT_IN_SET}, {{column: blob, value_set: [a]}}", "value_set.0", '"a" is text, and column `blob` holds values of several types'),
    (f"{NOT_IN_SET}, {{column: mixed, value_set: [7]}}", "value_set.0", "7 is a number, and column `mixed` holds values of several types"),
    (f"{NOT_IN_SET}, {{column: n, value_set: [[7]]}}", "value_set.0", "a list or a mapping is no value"),
    (f"{BETWEEN}, {{column: n, min_value: '2020-01-01'}}", "min_value", '"2020-01-01" is text, and column `n` holds numbers'),
    (f"{BETWEEN}, {{column: country, min_value: 0}}", "min_value", "0 is a number, and column `country` holds text"),
    (f"{BETWEEN}, {{column: country, max_value: 2020-01-01}}", "column", "column `country` holds text, which has no bounds; state its type in the section raw"),
    (f"{BETWEEN}, {{column: at, max_value: 5}}", "max_value", "5 is a number, and column `at` holds dates or times"),
    (f"{BETWEEN}, {{column: ok, max_value: 1}}", "max_value", "1 is a number, and column `ok` holds true and false"),
    ("expect_column_max_to_be_between, {column: at, max_value: 5}", "max_value", "5 is a number"),
    (f"{REGEX}, {{column: n, regex: '[0-9]'}}", "column", f"column `n` holds numbers, and {REGEX} is about text; state a range"),
    (f"{REGEX}, {{column: blob, regex: 'b'}}", "column", f"column `blob` holds values of several types, or of one that no contract can state, and {REGEX}"),
    ("expect_column_values_to_not_match_regex, {column: at, regex: a}", "column", "column `at` holds dates or times"),
    ("expect_column_value_lengths_to_equal, {column: n, value: 1}", "column", "column `n` holds numbers"),
    ("expect_column_values_to_match_strftime_format, {column: day, strftime_format: '%Y'}", "column", "column `day` holds"),
    ("expect_column_mean_to_be_between, {column: country, min_value: 0}", "column", "column `country` holds text, and"),
    ("expect_column_sum_to_be_between, {column: at, min_value: 0}", "column", "column `at` holds dates or times, and"),
    ("expect_column_values_to_be_increasing, {column: mixed}", "column", "column `mixed` holds values of several types"),
    ("expect_column_pair_values_to_be_equal, {column_A: n, column_B: country}", "column_B", "column `n` holds numbers and column `country` holds text"),
    ("expect_column_pair_values_to_be_in_set, {column_A: n, column_B: country, value_pairs_set: [[1, 3], [2, 4]]}", "value_pairs_set.0.1", "3 is a number, and column `country` holds text"),
]  # fmt: skip


def test_what_cannot_match_its_column_is_an_error_of_the_contract(tmp_path):
    """It is no silent pass of what is forbidden: the reason names file, line and field, and says what to write."""
    found = judge(tmp_path, FRAME, *(entry for entry, _, _ in MISFITS))
    for at, (result, (entry, field, problem)) in enumerate(zip(found, MISFITS, strict=True)):
        assert result.outcome == "error", entry
        assert result.reason.startswith(
            f"contract.yaml:{4 * at + 4}: expectations.{at}.kwargs.{field}: {problem}"
        ), entry


def test_rows_that_no_misfit_can_object_to(tmp_path):
    """Asked for the rows that break what cannot be judged, one is told so."""
    contract = contract_with(tmp_path, MISFITS[0][0])
    with pytest.raises(ContractError, match="true is a boolean, and column `country` holds text"):
        failing_rows(contract, FRAME, 0)


def test_what_has_no_value_is_no_misfit(tmp_path):
    """A column of nulls alone has no type, so that nothing was checked, and the contract is not to blame."""
    (result,) = judge(tmp_path, FRAME, f"{IN_SET}, {{column: gone, value_set: [1]}}")
    assert (result.outcome, result.reason) == ("error", "Nothing was checked: column `gone` holds no value.")


def test_data_of_another_type_than_stated_are_not_the_contracts_fault(tmp_path):
    """Where a file broke its schema, what cannot be compared is told from that, and the contract stays as it is."""
    contract = contract_with(tmp_path, f"{BETWEEN}, {{column: v, min_value: 0}}")
    raw = RawSchema({"v": "number"}, ("v",))
    report = run_contract(replace(contract, raw=raw), pd.DataFrame({"v": ["1", "NA"]}), run_name="run-1")
    (result,) = report.domain("core").results
    assert (result.outcome, result.reason) == (
        "error", "Nothing was checked: column `v` is not the stated number.",
    )  # fmt: skip


@pytest.mark.parametrize("values", [[None, None], [float("nan")] * 2, pd.array([None, None], dtype="Int64")])
def test_an_aggregate_over_no_value_is_an_error(tmp_path, values):
    """What GE says of a column of nulls alone is nothing that was checked, unless it is about the nulls."""
    found = judge(
        tmp_path,
        pd.DataFrame({"v": values, "id": [1, 2]}),
        "expect_column_sum_to_be_between, {column: v, min_value: 0, max_value: 10}, info",
        "expect_column_distinct_values_to_be_in_set, {column: v, value_set: [1, 2]}",
        "expect_column_unique_value_count_to_be_between, {column: v, max_value: 5}",
        "expect_column_proportion_of_unique_values_to_be_between, {column: v, max_value: 1}",
        "expect_column_pair_values_to_be_equal, {column_A: v, column_B: v}",
        "expect_column_pair_values_to_be_equal, {column_A: id, column_B: v, ignore_row_if: either_value_is_missing}",
        "expect_column_values_to_be_null, {column: v}",
        "expect_column_to_exist, {column: v}",
        "expect_column_proportion_of_non_null_values_to_be_between, {column: v, max_value: 0.5}",
        "expect_column_values_to_not_be_null, {column: v}",
    )
    assert {each.reason for each in found[:6]} == {"Nothing was checked: column `v` holds no value."}
    assert [each.outcome for each in found] == ["error"] * 6 + ["pass"] * 3 + ["fail"]


@pytest.mark.parametrize(
    ("entry", "field", "problem"),
    [
        (f"{IN_SET}, {{column: a, value_set: [DE, 7]}}", "value_set.1", '7 is a number stands beside "DE" is text'),
        (f"{IN_SET}, {{column: a, value_set: [1, true]}}", "value_set.1", "true is a boolean stands beside 1 is a number"),
        (f"{BETWEEN}, {{column: a, min_value: 1, max_value: '9'}}", "max_value", '"9" is text stands beside 1 is a number'),
    ],
)  # fmt: skip
def test_what_no_column_holds_together_is_refused_at_loading(tmp_path, entry, field, problem):
    """Values of several types in one set or range contradict each other, whatever the data are."""
    with pytest.raises(ContractError) as caught:
        contract_with(tmp_path, entry)
    assert str(caught.value).startswith(
        f"{tmp_path / 'contract.yaml'}:4: expectations.0.kwargs.{field}: {problem}"
    )


def test_a_country_is_no_boolean(tmp_path):
    """`NO` is forbidden where it is forbidden, `12:30` is no number, and a postcode without quotes is told."""
    path = tmp_path / "shipments.yaml"
    path.write_text(
        "name: shipments\nexpectations:\n"
        f"  - type: {NOT_IN_SET}\n    kwargs: {{column: country, value_set: [RU, NO]}}\n    meta: {{domain: embargo}}\n"
        f"  - type: {IN_SET}\n    kwargs: {{column: cutoff, value_set: [12:30, 09:00]}}\n    meta: {{domain: cutoff}}\n"
        f"  - type: {IN_SET}\n    kwargs: {{column: postcode, value_set: [01067]}}\n    meta: {{domain: postcode}}\n"
    )
    frame = pd.DataFrame(
        {"country": ["DE", "NO"], "cutoff": ["12:30", "09:00"], "postcode": ["01067", "01067"]}
    )
    report = run_contract(load_contract(path), frame, run_name="run-1")
    assert {each.domain: each.outcome for each in report.domains} == {
        "embargo": "fail", "cutoff": "pass", "postcode": "error",
    }  # fmt: skip
    assert report.domain("embargo").results[0].unexpected_count == 1


def test_names_that_differ_in_case_are_two_columns(tmp_path):
    """An expectation is about the column of exactly its name; one that is there in another case alone is an error."""
    frame = pd.DataFrame({"Value": [1, 2], "value": [7, 8], "Money": [1, 1]})
    small, large, missing, unique, table = judge(
        tmp_path,
        frame,
        f"{BETWEEN}, {{column: Value, max_value: 2}}",
        f"{BETWEEN}, {{column: value, min_value: 7}}",
        f"{BETWEEN}, {{column: money, min_value: 0}}",
        "expect_compound_columns_to_be_unique, {column_list: [value, Money]}",
        "expect_table_columns_to_match_ordered_list, {column_list: [Value, value, money]}",
    )
    found = [each.outcome for each in (small, large, missing, unique, table)]
    assert found == ["pass", "pass", "error", "pass", "fail"]
    assert missing.reason == "There is no column `money`; `Money` differs in case."


@pytest.mark.filterwarnings("ignore:Passing a string to the row_condition", "ignore:The condition_parser")
def test_expectations_about_the_table_see_its_own_columns(tmp_path):
    """What stands beside the table's columns for one expectation is no column to another; conditions see all values."""
    frame = pd.DataFrame({"at": pd.to_datetime(["2026-01-01", "2020-01-01"]), "judged 0": [1, 2]})
    assert outcomes(
        tmp_path,
        frame,
        "expect_table_column_count_to_equal, {value: 2}",
        "expect_table_columns_to_match_ordered_list, {column_list: [at, judged 0]}",
        f"{BETWEEN}, {{column: at, min_value: 2025-01-01}}",
        f"{BETWEEN}, {{column: at, min_value: 2025-01-01, row_condition: 'at > \"2024-01-01\"', condition_parser: pandas}}",
        f"{BETWEEN}, {{column: judged 0, max_value: 2}}",
    ) == ["pass", "pass", "fail", "pass", "pass"]  # fmt: skip


def test_failing_rows_are_those_of_the_frame(tmp_path):
    """Rows that a judged column points at are read from the frame itself."""
    frame = pd.DataFrame({"at": pd.to_datetime(["2026-01-01", "2019-01-01", None])}, index=["x", "y", "z"])
    contract = contract_with(tmp_path, f"{BETWEEN}, {{column: at, min_value: 2020-01-01}}")
    pd.testing.assert_frame_equal(failing_rows(contract, frame, 0), frame.iloc[[1]])


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00:00.000001Z", 1000),
        ("1970-01-01 01:00+01:00", 0),
        ("0001-01-01", -62135596800 * 10**9),
        ("0001-01-01T00:00:00+14:00", (-62135596800 - 14 * 3600) * 10**9),
        ("9999-12-31T23:59:59.999999Z", 253402300799999999000),
        ("2026-02-30", None),
        ("20260101", None),
        ("2026-1-1", None),
        ("12:30", None),
        ("yesterday", None),
    ],
)
def test_instants(text, stated):
    """ISO dates and times of all years are instants; nothing else is."""
    assert instant(text) == stated


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (FRAME.country, "text"), (FRAME.n, "number"), (FRAME.price, "number"), (FRAME.ok, "boolean"), (FRAME["at"], "time"),
        (FRAME.day, "time"), (FRAME.clock, "other"), (FRAME.blob, "other"), (FRAME.mixed, "other"), (FRAME.gone, "empty"),
        (pd.Series(["a"], dtype="category"), "text"), (pd.Series([[1]]), "other"), (pd.Series([{"a": 1}]), "other"),
        (pd.Series([1.5], dtype="float32"), "number"), (pd.Series([timedelta(1)]), "other"),
        (pd.Series(["a"], dtype="string"), "text"), (pd.Series([1, 2], dtype="category"), "number"),
    ],
)  # fmt: skip
def test_kinds(values, kind):
    """What a column holds follows from its values, not from how pandas stores them."""
    assert kind_of(values) == kind


wide = (
    st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3).map(lambda step: WIDE + step) | st.integers(-3, 3)
)
decimals = st.decimals(min_value=-(10**12), max_value=10**12, places=3) | st.sampled_from(
    [Decimal("0.1"), Decimal("0.3")]
)
instants = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)) | st.sampled_from(  # noqa: DTZ001 - hypothesis draws naive ones
    [datetime(2026, 1, 1), datetime(2026, 1, 1, 0, 0, 0, 1)]  # noqa: DTZ001
)  # fmt: skip
FORMS: Mapping[str, tuple[st.SearchStrategy[Any], Any]] = {
    "int64": (wide, lambda values: pd.Series(values, dtype="int64")),
    "Int64": (wide, lambda values: pd.Series(pd.array([*values, None], dtype="Int64"))),
    "decimal": (decimals, lambda values: pd.Series([*values, None], dtype=object)),
    "naive": (instants, lambda values: pd.Series(values, dtype="datetime64[us]")),
    "zoned": (instants, lambda values: pd.Series([each.replace(tzinfo=UTC) for each in values] + [pd.NaT], dtype="datetime64[us, UTC]").dt.tz_convert(EAST)),
    "dates": (instants.map(datetime.date), lambda values: pd.Series([*values, None], dtype=object)),
}  # fmt: skip


def agree(folder: Path, data: st.DataObject) -> None:
    """For each form of column: what GE answers is what Python's own comparison of the values says."""
    entries, frame, expected = [], {}, []
    for form, (drawn, column) in FORMS.items():
        # A missing row would make floats of numpy's integers.
        fewest, most = (6, 6) if form == "int64" else (1, 5)
        values = data.draw(st.lists(drawn, min_size=fewest, max_size=most), label=form)
        low, high, *some = data.draw(
            st.lists(st.sampled_from(values) | drawn, min_size=3, max_size=5), label="stated"
        )
        low, high = min(low, high), max(low, high)
        if form == "decimal":  # as a float states it
            low, high, *some = (Decimal(repr(float(each))) for each in (low, high, *some))
        frame[form] = column(values).reindex(range(6))
        text = [each.isoformat() if isinstance(each, date) else str(each) for each in (low, high, *some)]
        entries += [
            f"{BETWEEN}, {{column: {form}, min_value: {text[0]}, max_value: {text[1]}}}",
            f"{IN_SET}, {{column: {form}, value_set: [{', '.join(text[2:])}]}}",
            f"expect_column_values_to_be_unique, {{column: {form}}}",
            f"expect_column_max_to_be_between, {{column: {form}, min_value: {text[0]}, max_value: {text[1]}}}",
        ]
        expected += [
            sum(not low <= each <= high for each in values),
            sum(each not in some for each in values),
            sum(values.count(each) > 1 for each in values),
            low <= max(values) <= high,
        ]
    found = judge(folder, pd.DataFrame(frame), *entries)
    assert "error" not in [each.outcome for each in found]
    assert [
        each.outcome == "pass" if each.unexpected_count is None else each.unexpected_count for each in found
    ] == expected


@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_any_values_are_judged_as_python_compares_them(tmp_path_factory, data):
    """Bounds, sets and uniqueness over wide integers, decimals, dates and times, with nulls: exactly as they are."""
    agree(tmp_path_factory.getbasetemp(), data)


@pytest.mark.long
@settings(max_examples=1_000, deadline=None)
@given(data=st.data())
def test_any_values_are_judged_as_python_compares_them_at_length(tmp_path_factory, data):
    """Likewise for a thousand tables of six columns."""
    agree(tmp_path_factory.getbasetemp(), data)
