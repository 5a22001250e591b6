"""A Parquet file that is judged in batches has the check that it would have if it were read whole."""

import json
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from platform_assets.datasets.contract import Contract, load_contract
from platform_assets.datasets.contract_check import (
    Check,
    check_batches,
    check_source,
    check_uri,
    domains_of_file,
)
from platform_assets.datasets.errors import DatasetError
from platform_assets.datasets.ingestion import opened
from platform_assets.datasets.large_files import large_parquet, large_source
from platform_assets.datasets.sources import open_source
from tests.features.test_row_memory import WATCHER
from tests.line_factory import command, environment

SALT = b"a salt for the tests"
MB = 10**6
TABLE = pa.table(
    {
        "id": pa.array([1, 2, 2, None]),
        "amount": pa.array([Decimal("1.10"), Decimal("2.00"), None, Decimal("0.50")]),
        "units": pa.array([Decimal(1), Decimal(2), None, Decimal(5)], pa.decimal128(20, 0)),
        "at": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 4, pa.timestamp("us", "UTC")),
        "day": pa.array([date(2026, 1, 1)] * 4),
        "kind": pa.array(["a", "b", "a", None]).dictionary_encode(),
        "share": pa.array([0.5, float("nan"), None, 1.0], pa.float32()),
        "gone": pa.array([None] * 4, pa.string()),
        "blob": pa.array([b"a", b"b", None, b"c"]),
        "ok": pa.array([True, False, None, True]),
    }
)
RAW = {
    "id": "integer", "amount": "number", "units": "integer", "at": "timestamp", "day": "timestamp",
    "kind": "string", "share": "number", "gone": "integer", "blob": "string", "ok": "boolean",
}  # fmt: skip
RULES: list[tuple[str, dict[str, Any]]] = [
    ("expect_column_values_to_be_unique", {"column": "id"}),
    ("expect_column_values_to_be_between", {"column": "amount", "min_value": 1.1}),
    ("expect_column_max_to_be_between", {"column": "units", "max_value": 4}),
    ("expect_column_values_to_be_in_set", {"column": "kind", "value_set": ["a"]}),
]


@pytest.fixture(autouse=True)
def _small_is_large(monkeypatch):
    """Files of more than three rows are large."""
    monkeypatch.setattr("platform_assets.datasets.large_files.MOST_ROWS_FOR_GE", 3)


def contract_of(folder: Path, raw: dict[str, str], keys: list[str]) -> Contract:
    """A contract with a schema, and two domains."""
    entries = [
        {"type": type_, "kwargs": kwargs, "meta": {"domain": f"domain_{at % 2}"}}
        for at, (type_, kwargs) in enumerate(RULES)
    ]
    path = folder / "contract.yaml"
    raw_section = {"columns": raw, "keys": keys}
    path.write_text(json.dumps({"name": "orders", "raw": raw_section, "expectations": entries}))
    return load_contract(path)


def told(check: Check) -> Any:
    """All of a check but run ids and who looked."""
    return check.rows, [
        (
            each.reason,
            each.result.model_dump(exclude={"results"}),
            [result.model_dump(exclude={"engine"}) for result in each.result.results],
        )
        for each in check.domains
    ]


def both(contract: Contract, file: Path) -> tuple[Check, Check]:
    """The check of the file read whole, and in batches."""
    given = {"domains": domains_of_file(contract), "run_name": "run", "salt": SALT}
    assert large_parquet(str(file)) is not None
    return check_source(contract, open_source(str(file)), **given), check_uri(contract, str(file), **given)


@pytest.mark.parametrize(
    ("raw", "keys"),
    [
        (RAW, ["id", "at"]),
        ({**RAW, "units": "number", "id": "number"}, ["amount"]),
        ({**RAW, "amount": "integer", "day": "string", "kind": "boolean"}, ["gone"]),
        ({name: RAW[name] for name in reversed(RAW)}, ["at"]),
        ({"ID": "integer", **{name: RAW[name] for name in RAW if name not in {"id", "ok"}}, "new": "string"}, ["new"]),
    ],
)  # fmt: skip
def test_schema_and_domains_are_the_same(tmp_path, raw, keys):
    """Columns, order, types, keys, every expectation, reasons and row hashes."""
    pq.write_table(TABLE, tmp_path / "rows.parquet")
    whole, batches = both(contract_of(tmp_path, raw, keys), tmp_path / "rows.parquet")
    assert told(whole) == told(batches)
    engines = {engine for each in batches.domains for engine in each.result.engines}
    assert engines == {"batches", "great_expectations"}


def test_an_index_stands_in_front(tmp_path):
    """What pandas has put behind the others, as where a file is read whole."""
    frame = pd.DataFrame({"n": [1, 2, 3, 4], "id": [5, 6, 7, 8]}).set_index("id")
    frame.to_parquet(tmp_path / "rows.parquet")
    whole, batches = both(
        contract_of(tmp_path, {"id": "integer", "n": "integer"}, ["id"]), tmp_path / "rows.parquet"
    )
    assert told(whole) == told(batches)
    assert batches.domains[0].result.outcome == "pass"


def test_what_is_read_whole(tmp_path, monkeypatch):
    """Small files, other formats, remote ones, names that repeat, old times, and what is no Parquet file at all."""
    pq.write_table(TABLE.slice(0, 3), tmp_path / "small.parquet")
    pq.write_table(TABLE.select(["at"]), tmp_path / "old.parquet", use_deprecated_int96_timestamps=True)
    columns = [TABLE["id"], TABLE["id"]]
    pq.write_table(pa.Table.from_arrays(columns, names=["a", "a"]), tmp_path / "twice.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    for name in (
        "small.parquet",
        "old.parquet",
        "twice.parquet",
        "broken.parquet",
        "none.parquet",
        "rows.csv",
    ):
        assert large_parquet(str(tmp_path / name)) is None, name
    assert large_parquet("s3://bucket/rows.parquet") is None
    assert large_parquet((tmp_path / "small.parquet").as_uri()) is None
    monkeypatch.setattr("platform_assets.datasets.large_files.MOST_BYTES_FOR_GE", 10)
    assert large_parquet((tmp_path / "small.parquet").as_uri()) is not None


def test_a_uri_names_the_file_that_it_names_where_it_is_read_whole(tmp_path):
    """Characters that a URI may write otherwise are what they are."""
    for at, name in enumerate(["a b.parquet", "a%20b.parquet"]):
        pq.write_table(pa.table({"x": [at] * 5}), tmp_path / name)
    uri = f"file://{tmp_path}/a%20b.parquet"
    source = large_source(uri)
    assert source is not None
    assert (source.sha256, source.name) == (open_source(uri).sha256, "a%20b")


@pytest.mark.parametrize("uri", ["http://[::1/rows.parquet", "//[x/rows.parquet", "file://[x/rows.parquet"])
def test_what_is_no_uri_is_one_error(uri):
    """The source says so, whether it might be large or not."""
    with pytest.raises(DatasetError, match="is no valid URI"):
        opened(uri)


def test_a_damaged_file_fails_its_schema(tmp_path):
    """A page that cannot be read is found on the way, and the file is no table."""
    file = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"id": range(100_000)}), file, compression="none", use_dictionary=False)
    content = bytearray(file.read_bytes())
    content[4:64] = b"\xff" * 60
    file.write_bytes(content)
    contract = contract_of(tmp_path, {"id": "integer"}, ["id"])
    check = check_uri(contract, str(file), domains=domains_of_file(contract), run_name="run", salt=SALT)
    assert [each.result.outcome for each in check.domains] == ["fail", "error", "error"]
    assert "damaged or cut off" in check.domains[0].reason
    with pytest.raises(DatasetError, match="damaged or cut off"):
        check_uri(contract, str(file), domains=["domain_0"], run_name="run", salt=SALT)


def test_a_page_that_is_not_what_was_written(tmp_path):
    """Where the writer has noted checksums, bytes that have changed make a file that is damaged, however it is read."""
    file = tmp_path / "rows.parquet"
    pq.write_table(
        pa.table({"id": range(1000)}),
        file,
        compression="none",
        use_dictionary=False,
        row_group_size=250,
        write_page_checksum=True,
    )
    content = bytearray(file.read_bytes())
    content[pq.read_metadata(file).row_group(2).column(0).data_page_offset + 500] ^= 1
    file.write_bytes(content)
    for check in both(contract_of(tmp_path, {"id": "integer"}, ["id"]), file):
        assert [each.result.outcome for each in check.domains] == ["fail", "error", "error"]


@pytest.mark.parametrize(("text", "coded"), [(b"\xff", False), (b"a\0", False), (b"a\0", True)])
@pytest.mark.parametrize(
    "rule", ["expect_column_values_to_not_be_null", "expect_column_values_to_match_regex"]
)
def test_texts_that_are_none(tmp_path, monkeypatch, text, coded, rule):
    """Bytes that are no UTF-8, and NUL, are refused with their row, as where the file is read whole; nothing quotes them."""
    ends = np.array([0, 1, 1 + len(text), 2 + len(text), 3 + len(text)], np.int32)
    texts = pa.StringArray.from_buffers(4, pa.py_buffer(ends), pa.py_buffer(b"a" + text + b"bc"))
    column = pa.DictionaryArray.from_arrays(pa.array(range(4)), texts) if coded else texts
    file = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"note": column}), file, row_group_size=1)
    contract = tmp_path / "notes.yaml"
    kwargs = {"column": "note", **({"regex": "."} if "regex" in rule else {})}
    contract.write_text(
        json.dumps(
            {"name": "notes", "expectations": [{"type": rule, "kwargs": kwargs, "meta": {"domain": "core"}}]}
        )
    )
    for most_rows in (3, 4):
        monkeypatch.setattr("platform_assets.datasets.large_files.MOST_ROWS_FOR_GE", most_rows)
        with pytest.raises(DatasetError) as refused:
            check_uri(load_contract(contract), str(file), domains=["core"], run_name="run", salt=SALT)
        assert "row 2, column 'note': holds" in str(refused.value)


@pytest.mark.parametrize("how", ["replaced", "overwritten", "gone"])
def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch, how):
    """Is refused: no report speaks of rows of two files."""
    file, other = tmp_path / "rows.parquet", tmp_path / "other.parquet"
    pq.write_table(pa.table({"id": range(100), "kind": ["a"] * 100}), file, row_group_size=10)
    pq.write_table(pa.table({"id": range(100, 200)}), other, row_group_size=10)
    read = pq.ParquetFile.iter_batches

    def iter_batches(opened: pq.ParquetFile, *given: Any, **more: Any) -> Any:
        for batch in read(opened, *given, **more):
            yield batch
            if how == "replaced" and other.exists():
                other.rename(file)
            elif how == "overwritten":
                file.write_bytes(other.read_bytes())
            elif how == "gone":
                file.unlink(missing_ok=True)

    contract = contract_of(tmp_path, {"id": "integer", "kind": "string"}, ["id"])
    table = large_parquet(str(file))
    assert table is not None
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", iter_batches)
    with pytest.raises(DatasetError, match="has changed while it was read"):
        check_batches(contract, table, domains=["schema"], run_name="run", salt=SALT)


def test_long_texts_come_in_small_batches(tmp_path):
    """A file is small where a text repeats; its rows are not."""
    notes = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000), pa.array(["long " * 10_000]))
    pq.write_table(pa.table({"note": notes}), tmp_path / "rows.parquet", store_schema=False)
    table = large_parquet(str(tmp_path / "rows.parquet"))
    assert table is not None
    first = next(table.batches(["note"]))
    assert 10 * MB < first.nbytes < 50 * MB


@pytest.mark.long
def test_a_file_larger_than_its_memory(tmp_path):
    """Twenty million rows of identifiers in no order, texts and figures, a gigabyte in memory, are checked within 800 MB."""
    contract = tmp_path / "orders.yaml"
    rules = [
        ("expect_column_values_to_be_unique", {"column": "id"}),
        ("expect_column_mean_to_be_between", {"column": "amount", "min_value": 0}),
        ("expect_column_values_to_match_regex", {"column": "note", "regex": "note"}),
    ]
    entries = [{"type": type_, "kwargs": kwargs, "meta": {"domain": "core"}} for type_, kwargs in rules]
    contract.write_text(json.dumps({"name": "orders", "expectations": entries}))
    schema = pa.schema({"id": pa.int64(), "amount": pa.float64(), "note": pa.string()})
    rows, step = 20_000_000, 1_000_000
    notes = pa.array([f"note number {number} of a thousand" for number in range(1000)])
    with pq.ParquetWriter(tmp_path / "rows.parquet", schema) as writer:
        for start in range(0, rows, step):
            number = np.arange(start, start + step)
            columns = [
                (number * 0x9E3779B1) % (1 << 40),
                number / 7,
                notes.take(pa.array(number % 1000)),
            ]
            writer.write_table(pa.Table.from_arrays([pa.array(each) for each in columns], schema=schema))
    asked = command("contracts", "check", str(tmp_path / "rows.parquet"), "--contract", str(contract))
    watched = [sys.executable, "-c", WATCHER, *asked]
    done = subprocess.run(
        watched, cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, check=True
    )
    assert int(done.stdout) <= 800 * MB
