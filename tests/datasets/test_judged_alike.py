"""One table in three formats: the contract sees the same values, and judges them alike."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.datasets.contract import Contract, load_contract
from platform_assets.datasets.contract_check import Check, check_source, domains_of_file
from platform_assets.datasets.raw_schema import typed_frame
from platform_assets.datasets.sources import Source, read_frame

CONTEXT = Context(prec=40)
TYPES = {
    "id": "integer",
    "amount": "number",
    "price": "number",
    "ok": "boolean",
    "at": "timestamp",
    "note": "string",
}
ARROW = {
    "id": pa.int64(), "amount": pa.float64(), "price": pa.decimal128(38, 4), "ok": pa.bool_(),
    "at": pa.timestamp("us", "UTC"), "note": pa.string(),
}  # fmt: skip
CELLS: dict[str, st.SearchStrategy[Any]] = {
    "id": st.integers(-(2**63), 2**63 - 1) | st.sampled_from([1497549923779084388, 1497549923779084389]),
    "amount": st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.1, 0.5, 2.0]),
    "price": st.integers(-(10**30), 10**30).map(lambda units: Decimal(units).scaleb(-4, CONTEXT)),
    "ok": st.booleans(),
    "at": st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda at: at.replace(tzinfo=UTC)),  # noqa: DTZ001
    "note": st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=5).filter(
        lambda text: text != "\ufeff"
    ),
}  # fmt: skip
RULES = [
    ("expect_column_values_to_be_unique", {"column": "id"}),
    ("expect_column_values_to_be_unique", {"column": "price"}),
    ("expect_column_values_to_not_be_null", {"column": "at"}),
    ("expect_column_values_to_be_between", {"column": "amount", "min_value": 0, "max_value": 1}),
    ("expect_column_values_to_be_between", {"column": "id", "min_value": 0, "max_value": 2**53 - 1}),
    ("expect_column_values_to_be_in_set", {"column": "note", "value_set": ["a", "b"]}),
]  # fmt: skip
FEW, SOME, MANY = 30, 500, 10_000
"""Values are compared often; six runs of Great Expectations an example are too dear for that."""


@st.composite
def columns(draw: st.DrawFn) -> dict[str, list[Any]]:
    """Columns of every type that a contract can state, with nulls and repetitions."""
    rows = draw(st.integers(1, 5))
    made = {}
    for name, cell in CELLS.items():
        values = draw(st.lists(st.none() | cell, min_size=rows, max_size=rows))
        made[name] = values[:1] * rows if draw(st.integers(0, 4)) == 0 else values
    return made


def text_of(value: Any) -> str:
    """A value as csv has it."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case datetime():
            return value.isoformat()
    return str(value)


def literal(value: Any) -> str:
    """A value as JSON has it; a decimal is a number of its digits."""
    if isinstance(value, Decimal):
        return str(value)
    return json.dumps(value.isoformat() if isinstance(value, datetime) else value)


def sources(made: dict[str, list[Any]]) -> list[Source]:
    """The table as a csv, a JSON Lines and a Parquet file."""
    rows = list(zip(*made.values(), strict=True))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(made)
    writer.writerows([text_of(value) for value in row] for row in rows)
    lines = [
        "{" + ", ".join(f'"{name}": {literal(value)}' for name, value in zip(made, row, strict=True)) + "}"
        for row in rows
    ]
    file = io.BytesIO()
    pq.write_table(pa.table({name: pa.array(values, ARROW[name]) for name, values in made.items()}), file)
    contents = {
        ".csv": text.getvalue().encode(),
        ".jsonl": "\n".join(lines).encode(),
        ".parquet": file.getvalue(),
    }
    return [Source("file", "file", suffix, content, ()) for suffix, content in contents.items()]


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    """A contract with all types, and rules about values that the usual types cannot hold."""
    path: Path = tmp_path_factory.mktemp("contract") / "contract.yaml"
    rules = [{"type": kind, "kwargs": kwargs, "meta": {"domain": "values"}} for kind, kwargs in RULES]
    raw = {"columns": TYPES, "keys": ["id"]}
    path.write_text(yaml.safe_dump({"name": "orders", "raw": raw, "expectations": rules}, sort_keys=False))
    return load_contract(path)


def is_exactly(found: Any, written: Any) -> bool:
    """Whether a value is what was written, whatever type holds it; a float is what it is written as in so many digits."""
    if isinstance(found, float) and isinstance(written, Decimal):
        digits = len(written.as_tuple().digits)
        return written in (Decimal(repr(found)), Decimal(f"{found:.{digits - 1}e}"))
    if isinstance(found, Decimal) and isinstance(written, float):
        return found == Decimal(repr(written))
    return isinstance(found, bool) is isinstance(written, bool) and bool(found == written)


def values_are_alike(contract: Contract, made: dict[str, list[Any]]) -> None:
    """What expectations see is what was written, in each format."""
    for source in sources(made):
        typed = typed_frame(contract.require_raw(), read_frame(source), suffix=source.suffix)
        for name, values in made.items():
            absent = typed[name].isna().tolist()
            found = [
                None if gone else value for value, gone in zip(typed[name].tolist(), absent, strict=True)
            ]
            assert all(map(is_exactly, found, values)), (source.suffix, name, found, values)


def verdict(check: Check) -> list[Any]:
    """What the contract says of each rule."""
    return [
        (each.result.domain, result.type, result.column, result.outcome, result.unexpected_count)
        for each in check.domains
        for result in each.result.results
    ]


def verdicts_are_alike(contract: Contract, made: dict[str, list[Any]], domains: Sequence[str]) -> None:
    """Each rule has one outcome and one count, whatever the format."""
    verdicts = [
        verdict(check_source(contract, source, domains=domains, run_name="alike", salt=None))
        for source in sources(made)
    ]
    assert verdicts[0] == verdicts[1] == verdicts[2]


@settings(max_examples=FEW)
@given(columns())
def test_values_are_alike(contract, made):
    """Numbers to the last digit, truths, times to the microsecond and texts."""
    values_are_alike(contract, made)


@settings(max_examples=2)
@given(columns())
def test_verdicts_are_alike(contract, made):
    """One table has one verdict."""
    verdicts_are_alike(contract, made, ["values"])


@pytest.mark.long
@settings(max_examples=MANY)
@given(columns())
def test_values_are_alike_many_times(contract, made):
    """The same, often."""
    values_are_alike(contract, made)


@pytest.mark.long
@settings(max_examples=SOME)
@given(columns())
def test_verdicts_are_alike_many_times(contract, made):
    """The same, often."""
    verdicts_are_alike(contract, made, domains_of_file(contract))
