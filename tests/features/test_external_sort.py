"""Rows sorted in bounded memory: the same rows as a stable sort of all of them, whatever the runs and blocks."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.features.external_sort import Disorder, Keys, SortBudget, SortedRows, sort_order

ENTITIES = {
    "int32": pa.array([-5, 0, 3, 2**31 - 1], pa.int32()),
    "uint64": pa.array([0, 1, 2**63, 2**64 - 1], pa.uint64()),
    "text": pa.array(["", "a", "é", "😀"]),
    "dictionary": pa.array(["z", "b", "a", "y"]).dictionary_encode(),
    "decimal": pa.array([Decimal("-1.5"), Decimal("0.0"), Decimal("2.25"), Decimal("10.0")]),
    "date": pa.array([datetime(1969, 1, day, tzinfo=UTC).date() for day in (1, 2, 3, 4)]),
}


def keys_of(table: pa.Table) -> Keys:
    """Entity and time of a table of `table_of`."""
    entity = table.column("entity").unify_dictionaries().combine_chunks()
    return Keys(entity, np.asarray(table.column("time").cast(pa.int64())))


def table_of(kind: str, rows: list[tuple[int, int]]) -> pa.Table:
    """Rows of (entity, time), each with its number and a column that has dictionaries of its own in each chunk."""
    values = ENTITIES[kind]
    return pa.table(
        {
            "number": pa.array(range(len(rows)), pa.int64()),
            "entity": values.take(pa.array([entity for entity, _ in rows], pa.int64())),
            "time": pa.array([time for _, time in rows], pa.timestamp("us")),
            "note": pa.array([f"note {number % 5}" for number in range(len(rows))]),
        }
    )


def chunked(table: pa.Table, size: int):
    """Chunks as a file gives them: each with a dictionary of its own."""
    for start in range(0, table.num_rows, size):
        chunk = pa.table(
            {name: table.column(name).slice(start, size).combine_chunks() for name in table.column_names}
        )
        yield chunk.set_column(3, "note", chunk.column("note").dictionary_encode())


@settings(max_examples=60)
@given(
    kind=st.sampled_from(sorted(ENTITIES)),
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 3)), max_size=120),
    size=st.integers(1, 20),
    fan_in=st.integers(2, 5),
)
def test_the_order_is_that_of_a_stable_sort(tmp_path_factory, kind, rows, size, fan_in):
    """Rows of equal keys stay as they came, through runs, several passes of merging and entities larger than a run."""
    table = table_of(kind, rows)
    scratch = tmp_path_factory.mktemp("sort") / "scratch"
    budget = SortBudget(run_bytes=200, fan_in=fan_in, fewest_block_rows=2)
    sorting = SortedRows(chunked(table, size), keys_of, scratch=scratch, budget=budget)

    found = list(sorting.chunks(batch_rows=7))

    assert all(0 < chunk.num_rows <= 7 for chunk in found)
    numbers = [number for chunk in found for number in chunk.column("number").to_pylist()]
    plain = sorted(range(len(rows)), key=lambda row: (ENTITIES[kind][rows[row][0]].as_py(), rows[row][1]))
    assert numbers == plain
    notes = [note for chunk in found for note in chunk.column("note").to_pylist()]
    assert notes == [f"note {number % 5}" for number in plain]


def test_one_entity_larger_than_a_run_is_merged_along_its_time(tmp_path):
    """Ten thousand rows of one entity, a run of some hundred: each pass leaves fewer runs, and none is lost."""
    rng = np.random.default_rng(1)
    rows = [(1, int(time)) for time in rng.integers(0, 1000, 10_000)]
    sorting = SortedRows(
        chunked(table_of("text", rows), 100),
        keys_of,
        scratch=tmp_path / "scratch",
        budget=SortBudget(run_bytes=10_000, fan_in=4, fewest_block_rows=16),
    )

    found = pa.concat_tables(chunk.unify_dictionaries() for chunk in sorting.chunks(batch_rows=512))

    assert sorting.runs > 20
    assert found.column("number").to_pylist() == sorted(range(10_000), key=lambda row: rows[row][1])
    assert pc.all(pc.equal(found.column("entity"), "a")).as_py()


def test_what_fits_into_memory_is_never_written(tmp_path):
    """No folder is made."""
    sorting = SortedRows(
        chunked(table_of("int32", [(1, 2), (1, 1)]), 1),
        keys_of,
        scratch=tmp_path / "scratch",
        budget=SortBudget(run_bytes=1 << 20),
    )

    assert [chunk.column("number").to_pylist() for chunk in sorting.chunks(batch_rows=9)] == [[1, 0]]
    assert not (tmp_path / "scratch").exists()


@given(
    kind=st.sampled_from(sorted(ENTITIES)),
    rows=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=12),
    size=st.integers(1, 5),
)
def test_disorder_is_found_at_its_first_row(kind, rows, size):
    """Within a chunk and across chunks; equal keys are in order."""
    table = table_of(kind, rows)
    keys = [(ENTITIES[kind][entity].as_py(), time) for entity, time in rows]
    expected = next((row + 1 for row in range(1, len(keys)) if keys[row] < keys[row - 1]), None)

    disorder = Disorder()
    for chunk in chunked(table, size):
        disorder.look(keys_of(chunk))
    assert disorder.row == expected


def test_order_of_nothing():
    """No rows, no positions."""
    assert sort_order(Keys(pa.array([], pa.string()), np.empty(0, np.int64))).tolist() == []


def test_times_before_1970_and_far_apart():
    """The order is that of the instants."""
    times = [timedelta(days=days) // timedelta(microseconds=1) for days in (-200_000, 3, -1, 200_000)]
    assert sort_order(Keys(pa.array([7] * 4), np.array(times))).tolist() == [0, 2, 1, 3]
