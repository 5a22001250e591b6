"""A source that is larger than memory becomes a dataset: in bounded memory, wholly or not at all."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from platform_assets.datasets.assets import surroundings_of
from platform_assets.datasets.errors import NoTableError
from platform_assets.datasets.ingestion import current_source_hash
from platform_assets.datasets.large_files import large_source, read_large
from platform_assets.datasets.row_spool import RowSpool
from platform_assets.datasets.sources import open_source, read_frame
from platform_assets.governance.verdict import verdict_of
from platform_assets.lines.line import load_line
from platform_assets.lines.runner import RunError, materialize
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings
from tests.features.shops import sales, write_line
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
    ("rows", "most_bytes"), [(1_100_000, 700 * MB), pytest.param(5_000_000, 950 * MB, marks=pytest.mark.long)]
)
def test_memory_is_bounded(tmp_path, rows, most_bytes):
    """From the file to the published version: some buffers, and a few dozen bytes a row."""
    file = large_file(tmp_path / "events.parquet", rows)
    program = [sys.executable, "-m", "tests.datasets.ingestion_worker", str(file), str(tmp_path)]
    done = subprocess.run(program, env=environment(tmp_path), stdout=subprocess.PIPE, check=True, text=True)
    grown, *told = done.stdout.split()
    assert told[:3] == [str(rows), "pass", "True"]
    assert int(grown) < most_bytes


@pytest.fixture
def in_parts(monkeypatch):
    """Files are large from the first row on, and their parts have 50 rows."""
    monkeypatch.setattr("platform_assets.datasets.large_files.MOST_ROWS_FOR_GE", 0)
    monkeypatch.setattr("platform_assets.datasets.batches.MOST_BATCH_ROWS", 50)
    monkeypatch.setitem(RowSpool.__init__.__kwdefaults__, "most_bytes", 0)


def told(home: Path, spec: Path) -> Any:
    """Makes the dataset; all that its reference and its verdicts say but where and when."""
    outside = OutsideSystems(PlatformSettings(home=home))
    line = load_line(spec)
    made = materialize(line, "dataset", outside).reference
    rows = outside.warehouse.read(made.snapshot.table, made.snapshot.snapshot_id)
    verdicts = [
        (each.rule_set, each.outcome, {k: v for k, v in each.evidence.items() if k not in {"ge_run_id", "engine"}})
        for each in map(verdict_of, outside.ledger.entries(kind="verdict", subject=f"sales_dataset@{made.version}"))
    ]  # fmt: skip
    reference = made.model_dump(
        exclude={"snapshot": {"snapshot_id"}, "ge_run_id": True, "published_at": True}
    )
    surroundings = surroundings_of(line.name, line.task.ingestion, line.contract, outside)
    assert current_source_hash(line.spec, line.task.ingestion, surroundings) == made.source_hash
    return reference, rows, verdicts


def test_a_dataset_of_parts_is_the_dataset(tmp_path, request):
    """The same version of the same rows, with the same verdicts and the same hash of sources."""
    spec = write_line(tmp_path / "line")
    whole = told(tmp_path / "whole", spec)
    request.getfixturevalue("in_parts")
    parts = told(tmp_path / "parts", spec)
    assert parts == whole
    assert len(parts[2]) == 2


@pytest.mark.usefixtures("in_parts")
def test_a_bad_last_row_is_one_error_and_nothing_changes(tmp_path):
    """It stands in the last part: the message names file, row and column, and the last version stays."""
    outside = OutsideSystems(PlatformSettings(home=tmp_path / "home"))
    before = materialize(load_line(write_line(tmp_path)), "dataset", outside).reference
    frame = sales()
    write_line(tmp_path, frame=frame.assign(Amount=[*frame["Amount"][:-1], np.inf]))
    told = r"sales.parquet: column 'Amount': 1 of 900 values are not a number \(first: row 900\)"
    with pytest.raises(RunError, match=told):
        materialize(load_line(tmp_path / "sales-spec.yaml"), "dataset", outside)
    assert outside.warehouse.current("datasets.sales").snapshot_id == before.snapshot.snapshot_id


@pytest.mark.usefixtures("in_parts")
def test_no_room_for_what_is_in_between_is_one_error(tmp_path, small_disk, monkeypatch):
    """The folder for temporary files is full: nothing is published, and the message says what to do."""
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk(1 << 14)))
    outside = OutsideSystems(PlatformSettings(home=tmp_path / "home"))
    with pytest.raises(RunError, match="no space is left"):
        materialize(load_line(write_line(tmp_path)), "dataset", outside)
    assert "datasets.sales" not in outside.warehouse.tables()


@pytest.mark.parametrize(
    "columns",
    [
        {"b": ["x", "x", "x", "y\0"], "a": ["x", "y", "z\0", "z\0"]},
        {"b": [0, 1, 2, 10**12], "a": [0, 0, 10**12, 10**12]},
        {"b": [0, 10**12, 2, 3], "a": ["x", "y", "z", "z\0"]},
        {"c": [[0], [10**12], [1], None], "a": [0, 0, 10**12, 1]},
    ],
)
def test_what_cannot_be_read_is_told_as_of_the_whole(tmp_path, monkeypatch, columns):
    """Of several columns the first one is named, with its first row, in whichever part that is."""

    def typed(values: list[Any]) -> pa.Array:
        seconds = pa.timestamp("s")
        return pa.array(values, {int: seconds, list: pa.list_(seconds)}.get(type(values[0])))

    file = tmp_path / "rows.parquet"
    arrays = {
        name: typed(values).cast(pa.timestamp("ms"), safe=False)
        if isinstance(values[0], int)
        else typed(values)
        for name, values in columns.items()
    }
    pq.write_table(pa.table(arrays), file)
    with pytest.raises(NoTableError) as whole:
        read_frame(open_source(str(file)))
    monkeypatch.setattr("platform_assets.datasets.large_files.MOST_ROWS_FOR_GE", 0)
    monkeypatch.setattr("platform_assets.datasets.batches.MOST_BATCH_ROWS", 1)
    source = large_source(str(file))
    assert source is not None
    with pytest.raises(NoTableError) as parts:
        read_large(source)
    assert str(parts.value) == str(whole.value)


def test_zones_are_shown_as_of_the_whole(tmp_path, monkeypatch):
    """Where one time of a column needs UTC, all of it is in UTC."""
    late = 253_402_300_799 - 3600
    times = pa.array([0, 1, None, late], pa.timestamp("s", "Europe/Berlin"))
    file = tmp_path / "rows.parquet"
    pq.write_table(
        pa.table(
            {
                "at": times.cast(pa.timestamp("ms", "Europe/Berlin")),
                "early": pa.array([0, 1, 2, 3], pa.timestamp("ms", "Europe/Berlin")),
            }
        ),
        file,
    )
    whole = read_frame(open_source(str(file)))
    monkeypatch.setattr("platform_assets.datasets.large_files.MOST_ROWS_FOR_GE", 0)
    monkeypatch.setattr("platform_assets.datasets.batches.MOST_BATCH_ROWS", 1)
    source = large_source(str(file))
    assert source is not None
    rows = read_large(source)
    assert [str(kind) for kind in next(rows.frames()).dtypes] == [str(kind) for kind in whole.dtypes]
    pd.testing.assert_frame_equal(pd.concat(rows.frames(), ignore_index=True), whole)
    pd.testing.assert_frame_equal(rows.whole(), whole)
    assert (source.sha256, source.name) == (open_source(str(file)).sha256, "rows")
