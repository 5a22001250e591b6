"""The judge of batches says what Great Expectations says: of any table, on each expectation that it covers."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from platform_assets.datasets.batch_judge import judge_batches
from platform_assets.datasets.batches import BatchedTable, plain_schema
from platform_assets.datasets.contract import Contract, load_contract
from platform_assets.datasets.contract_run import ContractReport, run_contract
from platform_assets.reading.frames import to_frame

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
