"""Rows that are read several times, and rows that have something in common, whatever lies on disk."""

import tempfile
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.datasets.row_groups import RowGroups
from platform_assets.datasets.row_spool import RowSpool

BOUNDS = st.sampled_from([0, 500, 1 << 20])
"""All on disk from the first rows on, some of them first in memory, or all in memory."""


@given(
    parts=st.lists(st.lists(st.none() | st.text("aü", max_size=3), max_size=9), max_size=5), most_bytes=BOUNDS
)
def test_rows_come_back_as_they_were_added(parts, most_bytes):
    """All columns and some of them, as often as they are asked for."""
    schema = pa.schema({"text": pa.string(), "length": pa.int64()})
    spool = RowSpool(schema, most_bytes=most_bytes)
    batches = [
        pa.record_batch(
            [pa.array(part, pa.string()), [None if each is None else len(each) for each in part]],
            schema=schema,
        )
        for part in parts
    ]
    for batch in batches:
        spool.add(batch)
    found, whole = spool.rows(), pa.Table.from_batches(batches, schema)
    assert found.num_rows == whole.num_rows
    for columns in (["length", "text"], ["length"], ["text"]):
        assert found.read(columns).equals(whole.select(columns))


def test_nothing_lies_under_a_name(monkeypatch, tmp_path):
    """So that nothing stays of a process that is killed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    batch = pa.record_batch({"x": [1, 2, 3]})
    spool, groups = RowSpool(batch.schema, most_bytes=0), RowGroups(most_bytes=0)
    spool.add(batch)
    groups.add([b"a", b"b", b"a"])
    assert spool.rows().read().num_rows == 3
    assert groups.repeated().tolist() == [False, False, True]
    assert not list(tmp_path.iterdir())


@given(data=st.data(), most_bytes=BOUNDS, block_rows=st.sampled_from([1, 3, 1 << 18]))
def test_groups_are_those_of_pandas(data, most_bytes, block_rows):
    """Rows that repeat, rows that stray from the first of their group, rows that others have in theirs."""
    rows = data.draw(st.integers(0, 60))

    def drawn(values, kind):
        return np.array(data.draw(st.lists(values, min_size=rows, max_size=rows)), dtype=kind)

    names = pd.Series(drawn(st.sampled_from("abcdefgh"), object), dtype=object)
    kinds, counted = drawn(st.integers(0, 2), np.uint8), drawn(st.booleans(), bool)
    some, others = drawn(st.booleans(), bool), drawn(st.booleans(), bool)
    groups = RowGroups(most_bytes=most_bytes, block_rows=block_rows)
    for start in range(0, rows, 7):
        groups.add(each.encode() for each in names[start : start + 7])
    assert groups.repeated().tolist() == names.duplicated().tolist()
    first = pd.Series(kinds)[counted].groupby(names[counted]).first()
    strays = counted & (names.map(first).to_numpy() != kinds)
    assert groups.strays(kinds, counted).tolist() == strays.tolist()
    assert groups.shared(some, others) == names[some].isin(set(names[others])).sum()


def test_digests_that_begin_alike_are_told_apart(monkeypatch):
    """Whatever the chance is: only the whole digest makes a group."""

    class Alike:
        def __init__(self, name):
            self.name = name

        def digest(self):
            return b"\0" * 8 + self.name * 24

    monkeypatch.setattr("platform_assets.datasets.row_groups.hashlib.sha256", Alike)
    groups = RowGroups()
    groups.add([b"b", b"a", b"b", b"c", b"a"])
    assert groups.repeated().tolist() == [False, False, True, False, True]


def test_a_group_that_all_rows_are_of_takes_a_few_bytes_of_each():
    """Where half of a table is of one group, a file of digests is half of the table's."""
    rows, groups = 200_000, RowGroups(most_bytes=1 << 18, block_rows=1 << 10)
    for _ in range(0, rows, 1000):
        groups.add([b"one"] * 1000)
    tracemalloc.start()
    assert groups.repeated().sum() == rows - 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 45 * rows
