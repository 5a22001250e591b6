"""Fifteen expectations on orders, judged from inside and measured there.

    python contracts_worker.py both ROWS FOLDER
    python contracts_worker.py large ROWS FOLDER

`both` lets Great Expectations and the batches judge one table in turns; `large` makes its batches on the way, so that no table
is anywhere. Prints JSON: processor seconds of the judgement alone, the results, and the most memory that the process took.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from platform_assets.datasets.batch_judge import judge_batches
from platform_assets.datasets.batches import BatchedTable, batched
from platform_assets.datasets.contract import Contract, load_contract
from platform_assets.datasets.contract_run import ContractReport, great_expectations, run_contract
from platform_assets.reading.frames import to_frame

ROUNDS = 3
BATCH_ROWS = 1 << 16
SALT = b"a salt for the benchmark"
CURRENCIES, COUNTRIES = ["EUR", "USD", "GBP", "CHF"], ["DE", "NO", "FR", "IT", "ES"]
RULES: list[tuple[str, dict[str, Any]]] = [
    ("expect_table_row_count_to_be_between", {"min_value": 1}),
    ("expect_column_values_to_not_be_null", {"column": "order_id"}),
    ("expect_column_values_to_be_unique", {"column": "order_id"}),
    ("expect_column_values_to_not_be_null", {"column": "customer"}),
    ("expect_column_value_lengths_to_be_between", {"column": "customer", "min_value": 1, "max_value": 12}),
    ("expect_column_values_to_be_between", {"column": "amount", "min_value": 0}),
    ("expect_column_values_to_be_between", {"column": "price", "min_value": 1, "max_value": 1000}),
    ("expect_column_mean_to_be_between", {"column": "price", "min_value": 99, "max_value": 101}),
    ("expect_column_values_to_be_between", {"column": "quantity", "min_value": 1, "max_value": 50}),
    ("expect_column_values_to_be_in_set", {"column": "currency", "value_set": CURRENCIES}),
    ("expect_column_values_to_match_regex", {"column": "country", "regex": r"\A[A-Z]{2}\Z"}),
    ("expect_column_values_to_be_between", {"column": "created_at", "min_value": "2020-01-01"}),
    ("expect_column_values_to_be_in_set", {"column": "paid", "value_set": [True, False]}),
    ("expect_column_values_to_not_be_null", {"column": "score", "mostly": 0.9}),
    ("expect_column_distinct_values_to_contain_set", {"column": "country", "value_set": COUNTRIES}),
]
SCHEMA = pa.schema(
    {
        "order_id": pa.int64(),
        "customer": pa.string(),
        "amount": pa.float64(),
        "price": pa.float64(),
        "quantity": pa.int32(),
        "currency": pa.string(),
        "country": pa.string(),
        "created_at": pa.timestamp("us"),
        "paid": pa.bool_(),
        "score": pa.float64(),
    }
)


def orders(first: int, rows: int) -> pa.RecordBatch:
    """Rows of the table from this one on, the same in each pass: identifiers in no order, two broken promises."""
    random = np.random.default_rng(first)
    number = np.arange(first, first + rows)
    identifier = (number * 0x9E3779B1) % (1 << 40)  # odd, so no two are alike
    amount = random.lognormal(3, 1, rows)
    if first == 0:
        amount[rows // 2], identifier[rows // 3] = -1, identifier[0]
    columns = [
        pa.array(identifier),
        pa.array(random.integers(0, 1 << 30, rows)).cast(pa.string()),
        pa.array(amount),
        pa.array(random.normal(100, 10, rows)),
        pa.array(random.integers(1, 51, rows, dtype=np.int32)),
        pa.array(CURRENCIES).take(pa.array(random.integers(0, len(CURRENCIES), rows))),
        pa.array(COUNTRIES).take(pa.array(random.integers(0, len(COUNTRIES), rows))),
        pa.array(random.integers(1_600_000_000_000_000, 1_800_000_000_000_000, rows), pa.timestamp("us")),
        pa.array(random.random(rows) < 0.5),
        pa.array(random.random(rows), mask=random.random(rows) < 0.05),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def made(rows: int) -> BatchedTable:
    """So many rows, of which a batch is in memory."""

    def scan(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for first in range(0, rows, BATCH_ROWS):
            yield orders(first, min(BATCH_ROWS, rows - first)).select(list(columns))

    return BatchedTable("orders", SCHEMA, scan)


def _contract(folder: Path) -> Contract:
    entries = [
        {"type": type_, "kwargs": kwargs, "meta": {"domain": "orders"}, "severity": "critical"}
        for type_, kwargs in RULES
    ]
    path = folder / "contract.yaml"
    path.write_text(json.dumps({"name": "orders", "expectations": entries}))
    return load_contract(path)


def _told(report: ContractReport) -> list[dict[str, Any]]:
    return [result.model_dump(exclude={"engine"}) for result in report.domain("orders").results]


def _timed(judge: Callable[[], ContractReport]) -> tuple[float, list[dict[str, Any]]]:
    started = time.process_time()
    report = judge()
    return time.process_time() - started, _told(report)


def _peak_bytes() -> int:
    """Of this program alone: a new program begins anew."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def main() -> None:
    """Judge, and print what it took."""
    which, rows, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    contract = _contract(folder)
    great_expectations()
    few = made(100)
    judge_batches(contract, few, run_name="warm", salt=SALT)
    found: dict[str, Any] = {}
    if which == "both":
        table = pa.Table.from_batches(made(rows).batches(SCHEMA.names))
        frame = to_frame(table, name="orders")
        run_contract(contract, frame.head(100), run_name="warm", salt=SALT)
        seconds: dict[str, list[float]] = {"ge": [], "batches": []}
        for _ in range(ROUNDS):
            for engine, judge in (
                ("ge", lambda: run_contract(contract, frame, run_name="run", salt=SALT)),
                ("batches", lambda: judge_batches(contract, batched(table), run_name="run", salt=SALT)),
            ):
                took, found[engine] = _timed(judge)
                seconds[engine].append(took)
        found["seconds"] = seconds
    else:
        took, found["batches"] = _timed(
            lambda: judge_batches(contract, made(rows), run_name="run", salt=SALT)
        )
        found["seconds"] = {"batches": [took]}
    print(json.dumps({**found, "peak_bytes": _peak_bytes()}))


if __name__ == "__main__":
    main()
