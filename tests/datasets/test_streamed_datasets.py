"""A source that is larger than memory becomes a dataset: in bounded memory, wholly or not at all."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.line_factory import environment
from tests.tasks.tabular_classification.tables import make_spec

MB = 10**6
CONTRACT = """\
name: events
raw:
  columns: {id: integer, late: boolean, at: timestamp, delay: number, miles: number, route: string, note: string}
  keys: [id]
expectations:
  - {type: expect_column_values_to_be_unique, kwargs: {column: id}, meta: {domain: values}, severity: critical}
  - {type: expect_column_values_to_be_between, kwargs: {column: delay, min_value: -1000, max_value: 1000},
     meta: {domain: values}, severity: critical}
"""


def spec_of(file: Path) -> Any:
    """What is made of a large file."""
    columns = {
        "id": "key", "late": {"role": "target", "positive": True}, "at": "time", "delay": "numeric",
        "miles": "numeric", "route": "categorical", "note": "categorical",
    }  # fmt: skip
    split = {"by": "time", "test": 0.2, "validation": 0.1}
    return make_spec(line="events", train_data_uri=str(file), columns=columns, split=split)


def large_file(file: Path, rows: int) -> Path:
    """A file of so many rows, written in parts; some 90 bytes a row in memory."""
    rng = np.random.default_rng(0)
    routes = np.array([f"carrier {at % 16} from {at // 16}" for at in range(400)], dtype=object)
    writer = None
    for first in range(0, rows, 1 << 18):
        count = min(1 << 18, rows - first)
        delay = rng.normal(10, 40, count).round(1)
        table = pa.table(
            {
                "id": np.arange(first, first + count),
                "late": delay > 15,
                "at": (np.arange(first, first + count) * 60_000_000).astype("datetime64[us]"),
                "delay": delay,
                "miles": rng.integers(100, 3000, count).astype(float),
                "route": routes[rng.integers(0, 400, count)],
                "note": pa.array(rng.integers(0, 10**9, count)).cast(pa.string()),
            }
        )
        writer = writer or pq.ParquetWriter(file, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    return file


@pytest.mark.parametrize(
    ("rows", "most_bytes"), [(1_100_000, 500 * MB), pytest.param(5_000_000, 700 * MB, marks=pytest.mark.long)]
)
def test_memory_is_bounded(tmp_path, rows, most_bytes):
    """From the file to the published version: some buffers, and a few dozen bytes a row."""
    file = large_file(tmp_path / "events.parquet", rows)
    program = [sys.executable, "-m", "tests.datasets.ingestion_worker", str(file), str(tmp_path)]
    done = subprocess.run(program, env=environment(tmp_path), stdout=subprocess.PIPE, check=True, text=True)
    grown, *told = done.stdout.split()
    assert told[:3] == [str(rows), "pass", "True"]
    assert int(grown) < most_bytes
