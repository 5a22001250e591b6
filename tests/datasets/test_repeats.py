"""Values that occur more than once are found exactly, whatever memory there is."""

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.datasets.batches import Cells
from platform_assets.datasets.repeats import Repeats, keys


def found(values: pa.Array, *, step: int, most_bytes: int, most_named: int = 3) -> tuple[int, list[Any]]:
    """Rows that repeat, and the values that begin first, as keys."""
    repeats = Repeats(most_named=most_named, most_bytes=most_bytes)
    try:
        for start in range(0, len(values), step):
            cells = Cells(values.slice(start, step), table="rows", column="v", first_row=start)
            repeats.add(cells, first_row=start)
        rows, named = repeats.result()
        return rows, named.to_pylist()
    finally:
        repeats.close()


def expected(values: pa.Array, most_named: int = 3) -> tuple[int, list[Any]]:
    """The same by counting all of them."""
    cells = Cells(values, table="rows", column="v", first_row=0)
    given_rows = [at for at in range(len(values)) if cells.given is None or cells.given[at]]
    plain = keys(cells, pa.array(given_rows, pa.int64()).to_numpy()).to_pylist()
    counts = Counter(plain)
    repeated = [each for each in dict.fromkeys(plain) if counts[each] > 1]
    return sum(counts[each] for each in repeated), repeated[:most_named]


COLUMNS = {
    "int64": (pa.int64(), st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1)),
    "uint64": (pa.uint64(), st.integers(0, 3) | st.integers(2**63, 2**64 - 1)),
    "float64": (pa.float64(), st.sampled_from([0.0, -0.0, 1.5, float("nan"), float("inf")]) | st.floats()),
    "float32": (pa.float32(), st.sampled_from([0.0, -0.0, 1.5]) | st.floats(width=32)),
    "text": (pa.string(), st.text("ab", max_size=3)),
    "decimal": (pa.decimal128(9, 2), st.decimals(-3, 3, places=2)),
    "bool": (pa.bool_(), st.booleans()),
    "time": (pa.timestamp("us"), st.datetimes()),
}  # fmt: skip


@pytest.mark.parametrize("most_bytes", [1, 200, 1 << 20])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_values(most_bytes, data):
    """Of every type, with nulls, in batches of any size: on disk from the first batch, from a later one, or not at all."""
    type_, cell = COLUMNS[data.draw(st.sampled_from([*COLUMNS]))]
    values = pa.array(data.draw(st.lists(st.none() | cell, min_size=1, max_size=30)), type_)
    step = data.draw(st.integers(1, 30))
    assert found(values, step=step, most_bytes=most_bytes) == expected(values)


def test_files_are_removed(tmp_path, monkeypatch):
    """Nothing stays on disk."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert found(pa.array(range(1000)), step=10, most_bytes=1) == (0, [])
    assert not [*tmp_path.iterdir()]


def test_a_process_that_is_killed_leaves_nothing(tmp_path, monkeypatch):
    """What lies on disk has no name there, so that it goes with the process, however that ends."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    repeats = Repeats(most_named=3, most_bytes=1)
    for start in (0, 5):
        cells = Cells(pa.array(range(10)), table="rows", column="v", first_row=start)
        repeats.add(cells, first_row=start)
    assert not [*tmp_path.iterdir()]
    assert repeats.result() == (20, pa.array([0, 1, 2]))
    repeats.close()


def test_one_value_in_most_rows_takes_an_entry_of_a_batch(monkeypatch):
    """A table of one value fills no memory, so that nothing is written."""
    monkeypatch.setattr("tempfile.TemporaryFile", None)
    values = pa.array(["the same text for all"] * 100_000)
    assert found(values, step=1000, most_bytes=20_000) == (100_000, ["the same text for all"])
