"""The judge of batches says what Great Expectations says: of any table, on each expectation that it covers."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from platform_assets.datasets.batch_judge import judge_batches, judge_rows, judge_table
from platform_assets.datasets.batches import BatchedTable, plain_schema
from platform_assets.datasets.contract import Contract, load_contract
from platform_assets.datasets.contract_run import ContractReport, ExpectationResult, run_contract
from platform_assets.datasets.data_docs import data_docs_page
from platform_assets.datasets.errors import ContractError, DatasetError
from platform_assets.datasets.judging import domain_verdict
from platform_assets.datasets.measures import COVERED
from platform_assets.reading.errors import ReadingError
from platform_assets.reading.frames import to_frame
from resources.row_batches import RowBatches

SALT = b"a salt for the tests"
WIDE = 2**53
Rule = tuple[str, dict[str, Any]]
NO_SHRINKING: Final = (Phase.explicit, Phase.reuse, Phase.generate)
"""An example takes a second, and says which expectation it is about."""


def contract_of(folder: Path, rules: Sequence[Rule], severities: Sequence[str] = ("critical",)) -> Contract:
    """A contract of one domain, `core`."""
    path = folder / "contract.yaml"
    entries = [
        {
            "type": type_,
            "kwargs": kwargs,
            "meta": {"domain": "core"},
            "severity": severities[at % len(severities)],
        }
        for at, (type_, kwargs) in enumerate(rules)
    ]
    path.write_text(json.dumps({"name": "sample", "expectations": entries}))
    return load_contract(path)


def in_batches(table: pa.Table, rows: int) -> BatchedTable:
    """The table in batches of so many rows."""
    return BatchedTable(
        "rows",
        plain_schema(table.schema),
        lambda names: iter(table.select(list(names)).to_batches(max_chunksize=rows)),
    )


def told(report: ContractReport) -> list[dict[str, Any]]:
    """All that a report says of each expectation, but who looked."""
    return [result.model_dump(exclude={"engine"}) for domain in report.domains for result in domain.results]


def both(contract: Contract, table: pa.Table, *, rows: int = 2) -> tuple[ContractReport, ContractReport]:
    """The reference's report and that of the batches."""
    reference = run_contract(contract, to_frame(table, name="rows"), run_name="run", salt=SALT)
    return reference, judge_batches(contract, in_batches(table, rows), run_name="run", salt=SALT)


def agree(contract: Contract, table: pa.Table, *, rows: int = 2) -> ContractReport:
    """What both say, which is the same."""
    reference, found = both(contract, table, rows=rows)
    for one, other in zip(told(reference), told(found), strict=True):
        assert one == other, contract.expectations[one["index"]].kwargs
    without = {"domains", "ge_run_id"}
    assert reference.model_dump(exclude=without) == found.model_dump(exclude=without)
    assert [each.model_dump(exclude={"results"}) for each in reference.domains] == [
        each.model_dump(exclude={"results"}) for each in found.domains
    ]
    return found


whole = (
    st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3).map(lambda step: WIDE + step) | st.integers(-3, 3)
)
floats = st.floats() | st.sampled_from([0.0, -0.0, 0.1, 0.5, 1e23, float(WIDE), float("inf"), -float("inf")])
narrow = st.floats(width=32) | st.sampled_from([0.1, 0.2, 0.5, 16777216.0])
decimals = st.integers(-(10**20), 10**20).map(lambda n: Decimal(n).scaleb(-3)) | st.sampled_from(
    [Decimal("0.100"), Decimal("0.300"), Decimal("1.000")]
)
moments = st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 30)) | st.sampled_from(  # noqa: DTZ001
    [datetime(2026, 1, 1), datetime(2026, 1, 1, 0, 0, 0, 1)]  # noqa: DTZ001
)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=4) | st.sampled_from(
    ["a", "b", "ab1", ""]
)
COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "int64": (pa.int64(), whole),
    "int8": (pa.int8(), st.integers(-128, 127)),
    "uint64": (pa.uint64(), st.integers(0, 2**64 - 1) | st.integers(0, 3)),
    "float64": (pa.float64(), floats),
    "float32": (pa.float32(), narrow),
    "decimal": (pa.decimal128(38, 3), decimals),
    "bool": (pa.bool_(), st.booleans()),
    "text": (pa.string(), texts),
    "coded": (pa.dictionary(pa.int32(), pa.string()), st.sampled_from(["a", "b", "c"])),
    "naive": (pa.timestamp("us"), moments),
    "zoned": (pa.timestamp("us", "+05:30"), moments.map(lambda each: each.replace(tzinfo=UTC))),
    "seconds": (pa.timestamp("s"), moments.map(lambda each: each.replace(microsecond=0))),
    "day": (pa.date32(), moments.map(datetime.date)),
    "null": (pa.null(), st.none()),
    "clock": (pa.time64("ns"), st.integers(0, 10**9)),
    "list": (pa.list_(pa.int64()), st.lists(st.integers(0, 3), max_size=2)),
}


def stated(value: Any) -> Any:
    """A value as a contract has it."""
    match value:
        case datetime() | date():
            return value.isoformat()
        case Decimal():
            return float(value)
        case float():
            return value if abs(value) < float("inf") else 1e300  # NaN and infinities have no canonical form
    return value


def has_form(value: Any) -> bool:
    """Whether a contract can state it: a null or NaN it cannot."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """A table of all types, with nulls, repetitions and columns of one value."""
    rows = draw(st.integers(0, 7))
    columns = {}
    for name, (type_, cell) in COLUMNS.items():
        few = draw(st.lists(cell, min_size=1, max_size=3))
        cells = st.none() | cell | st.sampled_from(few)
        gaps = draw(st.sampled_from(["some", "none", "all"]))
        if gaps == "none":
            cells = cell | st.sampled_from(few)
        values = draw(st.lists(cells, min_size=rows, max_size=rows)) if gaps != "all" else [None] * rows
        columns[name] = pa.array(values, type_)
    return pa.table(columns)


def bounds(draw: st.DrawFn, column: str, table: pa.Table) -> dict[str, Any]:
    """Bounds near the values of a column; often of it. Great Expectations refuses texts that are no times."""
    if column in {"text", "coded"}:
        return {"min_value": 0}
    given = [each for each in table[column].to_pylist() if has_form(each)]
    cell = COLUMNS[column][1]
    drawn = [
        stated(each)
        for each in draw(st.lists(cell | st.sampled_from(given or [None]), min_size=2, max_size=2))
    ]
    found = {"min_value": drawn[0], "max_value": drawn[1]}
    if draw(st.booleans()):
        found.pop(draw(st.sampled_from([*found])))
    if all(each is None for each in found.values()):
        return {"min_value": 0}
    return found | {key: draw(st.booleans()) for key in ("strict_min", "strict_max") if draw(st.booleans())}


def members(draw: st.DrawFn, column: str, table: pa.Table) -> list[Any]:
    """Members of a set, some of which a column has."""
    given = [each for each in table[column].to_pylist() if has_form(each)]
    cell = COLUMNS[column][1]
    drawn = draw(st.lists(cell | st.sampled_from(given or [None]), min_size=1, max_size=10))
    return [stated(each) for each in drawn if has_form(each)] or [1]


@st.composite
def cases(draw: st.DrawFn) -> tuple[pa.Table, list[Rule]]:
    """A table, and rules of every type that is covered about each of its columns."""
    table = draw(tables())
    rules: list[Rule] = [
        ("expect_table_columns_to_match_ordered_list", {"column_list": [*COLUMNS]}),
        ("expect_table_columns_to_match_ordered_list", {"column_list": ["int64"]}),
        ("expect_table_columns_to_match_set", {"column_set": [*reversed(COLUMNS)]}),
        ("expect_table_columns_to_match_set", {"column_set": ["text"], "exact_match": draw(st.booleans())}),
        ("expect_table_row_count_to_equal", {"value": draw(st.integers(0, 7))}),
        ("expect_table_row_count_to_be_between", {"min_value": 1, "strict_min": draw(st.booleans())}),
        ("expect_table_row_count_to_be_between", {"min_value": 1, "max_value": draw(st.integers(1, 7))}),
        ("expect_column_values_to_not_be_null", {"column": "missing"}),
        ("expect_column_values_to_be_unique", {"column": "TEXT"}),
    ]
    for column in COLUMNS:
        mostly = {"mostly": draw(st.sampled_from([0, 0.25, 0.5, 0.9, 1]))} if draw(st.booleans()) else {}
        about = {"column": column, **mostly}
        rules += [
            ("expect_column_values_to_not_be_null", about),
            ("expect_column_values_to_be_null", about),
        ]
        if column == "list":  # whose values have no hash, which stops the reference as a whole
            continue
        rules += [("expect_column_values_to_be_unique", about)]
        if column == "clock":
            continue
        rules += [("expect_column_values_to_be_between", about | bounds(draw, column, table))]
        held = {"value_set": members(draw, column, table)}
        rules += [(f"expect_column_values_to_{be}_in_set", about | held) for be in ("be", "not_be")]
        rules += [("expect_column_distinct_values_to_contain_set", {"column": column, **held})]
        low, high = sorted(draw(st.lists(st.integers(-2, 4), min_size=2, max_size=2)))
        strict = {key: draw(st.booleans()) for key in ("strict_min", "strict_max")}
        between = {"min_value": low, "max_value": high, **strict}
        regex = {"regex": draw(st.sampled_from(["a", r"\A[a-z]\d*\Z", r"(?<=a)\d", r"^.$", r"\w"]))}
        rules += [
            ("expect_column_values_to_match_regex", about | regex),
            ("expect_column_values_to_not_match_regex", about | regex),
            ("expect_column_value_lengths_to_be_between", about | between),
            ("expect_column_mean_to_be_between", {"column": column, **between}),
        ]
    return table, rules


def test_any_table(tmp_path: Path) -> None:
    """Outcomes, counts, percents, figures, reasons and row hashes are those of the reference."""

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), phases=NO_SHRINKING)
    @given(case=cases(), rows=st.integers(1, 8), severities=st.permutations(["critical", "warning", "info"]))
    def check(case: tuple[pa.Table, list[Rule]], rows: int, severities: list[str]) -> None:
        table, rules = case
        agree(contract_of(tmp_path, rules, severities), table, rows=rows)

    check()


@pytest.mark.long
def test_any_table_many_times(tmp_path: Path) -> None:
    """The same, of two hundred tables."""

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), phases=NO_SHRINKING)
    @given(case=cases(), rows=st.integers(1, 8), severities=st.permutations(["critical", "warning", "info"]))
    def check(case: tuple[pa.Table, list[Rule]], rows: int, severities: list[str]) -> None:
        table, rules = case
        agree(contract_of(tmp_path, rules, severities), table, rows=rows)

    check()


ORDERS = {
    "id": pa.array([3, 1, 2, 3, None]),
    "name": pa.array(["a", "b1", None, "", "dd"]),
    "price": pa.array([0.5, float("nan"), float("inf"), -1.0, 2.0]),
    "at": pa.array([datetime(2026, 1, day) for day in (1, 2, 3, 4, 5)], pa.timestamp("us")),  # noqa: DTZ001
}
BLOCKING: dict[str, Rule] = {
    "ordered": ("expect_table_columns_to_match_ordered_list", {"column_list": ["name", "id", "price", "at"]}),
    "set": ("expect_table_columns_to_match_set", {"column_set": ["id", "name"]}),
    "rows": ("expect_table_row_count_to_be_between", {"min_value": 5, "strict_min": True}),
    "equal": ("expect_table_row_count_to_equal", {"value": 4}),
    "null": ("expect_column_values_to_be_null", {"column": "id"}),
    "not null": ("expect_column_values_to_not_be_null", {"column": "price"}),
    "unique": ("expect_column_values_to_be_unique", {"column": "id"}),
    "in set": ("expect_column_values_to_be_in_set", {"column": "name", "value_set": ["a", "dd", ""]}),
    "not in set": ("expect_column_values_to_not_be_in_set", {"column": "id", "value_set": [2.0]}),
    "between": ("expect_column_values_to_be_between", {"column": "price", "max_value": 100, "mostly": 0.8}),
    "between times": ("expect_column_values_to_be_between", {"column": "at", "max_value": "2026-01-04"}),
    "strict": ("expect_column_values_to_be_between", {"column": "id", "min_value": 1, "strict_min": True}),
    "regex": ("expect_column_values_to_match_regex", {"column": "name", "regex": "[a-z]"}),
    "no regex": ("expect_column_values_to_not_match_regex", {"column": "name", "regex": r"\d"}),
    "lengths": ("expect_column_value_lengths_to_be_between", {"column": "name", "min_value": 1}),
    "mean": ("expect_column_mean_to_be_between", {"column": "id", "min_value": 2.5}),
    "contains": ("expect_column_distinct_values_to_contain_set", {"column": "id", "value_set": [1, 7]}),
}


def test_each_expectation_blocks(tmp_path: Path) -> None:
    """Of every type that is covered there is a table that it refuses, in batches and by the reference."""
    assert {type_ for type_, _ in BLOCKING.values()} == COVERED
    report = agree(contract_of(tmp_path, [*BLOCKING.values()]), pa.table(ORDERS))
    results = report.domain("core").results
    assert {result.outcome for result in results} == {"fail"}
    assert {result.engine for result in results} == {"batches"}
    objecting = [result for result in results if result.unexpected_count]
    assert [len(result.row_hashes) for result in objecting] == [
        result.unexpected_count for result in objecting
    ]


def test_a_critical_failure_alone_fails_the_domain(tmp_path: Path) -> None:
    """A warning does not, an error does whatever its severity."""
    rules: list[Rule] = [BLOCKING["unique"], ("expect_table_row_count_to_be_between", {"min_value": 1})]
    error: Rule = ("expect_column_values_to_be_between", {"column": "name", "min_value": 0})
    for severities, more, outcome in (
        (["warning"], [], "pass"),
        (["critical"], [], "fail"),
        (["info"], [error], "error"),
    ):
        report = agree(contract_of(tmp_path, rules + more, severities), pa.table(ORDERS))
        assert report.domain("core").outcome == outcome


def test_wide_columns_of_floats_have_the_reference_s_figures(tmp_path: Path) -> None:
    """Over many batches, with nulls and NaN, a mean has the bits of pandas, and twenty rows are named at most."""
    random = np.random.default_rng(0)
    rows = 30_000
    table = pa.table(
        {
            "size": pa.array(random.lognormal(0, 9, rows), mask=random.random(rows) < 0.1),
            "count": pa.array(random.integers(-(2**62), 2**62, rows), mask=random.random(rows) < 0.1),
            "narrow": pa.array(random.lognormal(0, 9, rows).astype(np.float32)),
        }
    )
    rules: list[Rule] = [
        *(
            ("expect_column_mean_to_be_between", {"column": name, "min_value": 0})
            for name in table.schema.names
        ),
        ("expect_column_values_to_be_between", {"column": "size", "min_value": 1}),
    ]
    report = agree(contract_of(tmp_path, rules), table, rows=7_000)
    assert len(report.domain("core").results[-1].row_hashes) == 20


def test_what_is_not_covered_is_judged_by_great_expectations(tmp_path: Path) -> None:
    """Types and kwargs that the batches do not know, and bounds that contradict each other; who looked is said."""
    rules: list[Rule] = [
        ("expect_column_max_to_be_between", {"column": "id", "max_value": 2}),
        ("expect_column_values_to_be_between", {"column": "id", "min_value": 2, "max_value": 1}),
        ("expect_column_values_to_not_be_null", {"column": "nobody"}),
        ("expect_compound_columns_to_be_unique", {"column_list": ["id", "name"]}),
        ("expect_column_values_to_not_be_null", {"column": "at"}),
    ]
    results = agree(contract_of(tmp_path, rules), pa.table(ORDERS)).domain("core").results
    assert [each.outcome for each in results] == ["fail", "error", "error", "pass", "pass"]
    assert [each.engine for each in results] == ["great_expectations"] * 4 + ["batches"]


def test_what_is_not_covered_of_a_table_that_does_not_fit_is_an_error(tmp_path, monkeypatch):
    """Nothing is said to hold that nobody has looked at; what is covered is judged."""
    monkeypatch.setattr("platform_assets.datasets.batch_judge.MOST_BYTES_FOR_GE", 10)
    rules: list[Rule] = [
        ("expect_column_max_to_be_between", {"column": "id", "max_value": 5}),
        ("expect_column_values_to_not_be_null", {"column": "at"}),
    ]
    contract = contract_of(tmp_path, rules)
    report = judge_batches(contract, in_batches(pa.table(ORDERS), 2), run_name="run")
    assert [each.outcome for each in report.domain("core").results] == ["error", "pass"]
    assert "Great Expectations alone judges this" in report.domain("core").results[0].reason
    assert report.domain("core").outcome == "error"


def test_a_contract_that_great_expectations_refuses_is_refused(tmp_path: Path) -> None:
    """Before a row is read, with what it says."""
    contract = contract_of(tmp_path, [("expect_column_values_to_be_between", {"column": "id", "least": 1})])
    with pytest.raises(ContractError, match="least"):
        judge_batches(contract, in_batches(pa.table(ORDERS), 2), run_name="run")


def test_times_that_no_table_has_are_refused(tmp_path: Path) -> None:
    """As they are where the file is read whole, with row and column."""
    table = pa.table({"at": pa.array([0, None, 2**60], pa.timestamp("us"))})
    contract = contract_of(
        tmp_path, [("expect_column_values_to_be_between", {"column": "at", "min_value": "2026-01-01"})]
    )
    with pytest.raises(DatasetError, match=r"row 3: column 'at' holds a time outside the years 1 to 9999"):
        judge_batches(contract, in_batches(table, 2), run_name="run")


@pytest.mark.parametrize("type_", [pa.timestamp("ns"), pa.timestamp("ns", "UTC"), pa.duration("us")])
def test_what_pandas_has_for_a_missing_time_is_refused(tmp_path, type_):
    """It would be a value here and a null there."""
    table = pa.table({"at": pa.array([0, None, -(2**63)], pa.int64()).cast(type_)})
    contract = contract_of(tmp_path, [("expect_column_values_to_be_null", {"column": "at", "mostly": 0.1})])
    with pytest.raises(ReadingError, match="row 3, column 'at': holds a"):
        to_frame(table, name="rows")
    with pytest.raises(DatasetError, match="row 3: column 'at' holds a"):
        judge_batches(contract, in_batches(table, 2), run_name="run")


def test_large_tables_are_judged_in_batches(tmp_path, monkeypatch):
    """Those of more rows than Great Expectations is given; smaller ones are its own."""
    contract = contract_of(tmp_path, [BLOCKING["unique"]])
    table = pa.table(ORDERS).select(["id", "name", "at"])
    small = judge_table(contract, table, run_name="run", salt=SALT)
    monkeypatch.setattr("platform_assets.datasets.batch_judge.MOST_ROWS_FOR_GE", 4)
    large = judge_table(contract, table, run_name="run", salt=SALT)
    assert told(small) == told(large)
    assert [report.domain("core").engines for report in (small, large)] == [
        ("great_expectations",),
        ("batches",),
    ]


def test_few_rows_that_are_wide_are_judged_in_batches(tmp_path, monkeypatch):
    """As many bytes as a large table has are as many, however few the rows."""
    contract = contract_of(tmp_path, [BLOCKING["unique"]])
    rows = RowBatches.of(pa.table(ORDERS).select(["id", "name", "at"]))
    small = judge_rows(contract, rows, run_name="run", salt=SALT)
    monkeypatch.setattr("platform_assets.datasets.batch_judge.MOST_BYTES_FOR_GE", 4)
    wide = judge_rows(contract, rows, run_name="run", salt=SALT)
    assert told(small) == told(wide)
    assert [report.domain("core").engines for report in (small, wide)] == [
        ("great_expectations",),
        ("batches",),
    ]


def test_a_verdict_says_who_looked(tmp_path: Path) -> None:
    """Where that were batches; a verdict of Great Expectations is what it always was."""
    reference, found = both(contract_of(tmp_path, [BLOCKING["unique"]]), pa.table(ORDERS))
    evidence = [
        domain_verdict("orders@1", report.domain("core"), "run").evidence for report in (reference, found)
    ]
    assert "engine" not in evidence[0]
    assert evidence[1] == {**evidence[0], "engine": "batches"}


def test_older_records_are_read(tmp_path: Path) -> None:
    """A result from before engines were told is Great Expectations' own."""
    report = run_contract(
        contract_of(tmp_path, [BLOCKING["unique"]]), pd.DataFrame({"id": [1]}), run_name="run"
    )
    record = report.domain("core").results[0].model_dump(exclude={"engine"})
    assert ExpectationResult.model_validate(record).engine == "great_expectations"


def test_a_page_says_who_looked(tmp_path: Path) -> None:
    """The page of a report of batches has the same results, and a sentence."""
    contract = contract_of(tmp_path, [BLOCKING["unique"], BLOCKING["rows"]])
    pages = [data_docs_page(contract, report).decode() for report in both(contract, pa.table(ORDERS))]
    assert "one pass over batches" not in pages[0]
    assert "2 of 2 expectations were judged in one pass over batches" in pages[1]
    assert "2 of 5 values of column `id` are unexpected." in pages[1]
