"""Content hashes: equal rows have one, other rows another."""

import math
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from platform_assets.datasets.snapshots import content_hash

CELLS = {
    pa.string(): st.text(max_size=4),
    pa.int32(): st.integers(-3, 3),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(allow_nan=False).filter(lambda value: math.copysign(1, value) > 0 or value != 0),
    pa.bool_(): st.booleans(),
    pa.list_(pa.int32()): st.lists(st.none() | st.integers(-2, 2), max_size=3),
}


@st.composite
def tables(draw: st.DrawFn, min_rows: int = 0) -> pa.Table:
    """Tables of one to four columns of the supported types, nulls included."""
    rows = draw(st.integers(min_rows, 6))
    kinds = draw(st.lists(st.sampled_from(list(CELLS)), min_size=1, max_size=4))
    columns = [draw(st.lists(st.none() | CELLS[kind], min_size=rows, max_size=rows)) for kind in kinds]
    return pa.table(
        [pa.array(cells, kind) for cells, kind in zip(columns, kinds, strict=True)],
        names=[f"column_{number}" for number in range(len(kinds))],
    )


@given(table=tables(), data=st.data())
def test_chunks_and_slices_do_not_show(table, data):
    """However the rows were cut, offset or padded with rows that a slice hides, the hash is one."""
    cuts = sorted(data.draw(st.lists(st.integers(0, table.num_rows), max_size=3)))
    edges = [0, *cuts, table.num_rows]
    pieces = [table.slice(start, end - start) for start, end in pairwise(edges)]
    expected = content_hash(table)
    assert content_hash(pa.concat_tables(pieces)) == expected
    hidden = pa.concat_tables([table, table, table]).combine_chunks()
    assert content_hash(hidden.slice(table.num_rows, table.num_rows)) == expected
    rebuilt = pa.table(
        {name: pa.array(table[name].to_pylist(), table[name].type) for name in table.column_names}
    )
    assert content_hash(rebuilt) == expected


@given(cells=st.lists(st.none() | st.text(max_size=4), max_size=6))
def test_wide_and_narrow_types_of_one_kind_are_equal(cells):
    """A warehouse may hand strings and lists back with wider offsets: the rows are the same."""
    ids = [None if cell is None else list(cell.encode()) for cell in cells]
    narrow = pa.table({"text": pa.array(cells, pa.string()), "ids": pa.array(ids, pa.list_(pa.int32()))})
    wide = pa.table(
        {"text": pa.array(cells, pa.large_string()), "ids": pa.array(ids, pa.large_list(pa.int64()))}
    )
    assert content_hash(narrow) == content_hash(wide)


@given(table=tables(min_rows=1), data=st.data())
def test_every_cell_shows(table, data):
    """Another value, a null for a value or a value for a null: another hash."""
    name = data.draw(st.sampled_from(table.column_names))
    row = data.draw(st.integers(0, table.num_rows - 1))
    kind = table.schema.field(name).type
    cells = table[name].to_pylist()
    other = data.draw(st.none() | CELLS[kind])
    assume(other != cells[row])
    cells[row] = other
    changed = table.set_column(table.column_names.index(name), name, pa.array(cells, kind))
    assert content_hash(changed) != content_hash(table)


@given(table=tables(min_rows=2), data=st.data())
def test_order_names_and_length_show(table, data):
    """Rows in another order, a renamed or moved column, a row less: another hash."""
    expected = content_hash(table)
    order = data.draw(st.permutations(range(table.num_rows)))
    shuffled = table.take(order)
    if shuffled.to_pylist() != table.to_pylist():
        assert content_hash(shuffled) != expected
    assert content_hash(table.slice(1)) != expected
    assert content_hash(table.rename_columns(["other", *table.column_names[1:]])) != expected
    assert content_hash(table.append_column("more", pa.nulls(table.num_rows, pa.int32()))) != expected
    if len(table.column_names) > 1:
        assert content_hash(table.select(table.column_names[::-1])) != expected


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pa.array(["ab", "c"]), pa.array(["a", "bc"])),
        (pa.array([[1, 2], [3]]), pa.array([[1], [2, 3]])),
        (pa.array([None], pa.string()), pa.array([""])),
        (pa.array([None], pa.int64()), pa.array([0])),
        (pa.array([None], pa.list_(pa.int64())), pa.array([[]], pa.list_(pa.int64()))),
        (pa.array([[None]], pa.list_(pa.int64())), pa.array([[0]])),
        (pa.array([1]), pa.array([1.0])),
        (pa.array([1]), pa.array([True])),
        (pa.array([], pa.int64()), pa.array([], pa.string())),
    ],
)
def test_lookalikes_differ(first, second):
    """Values whose bytes run together alike, nulls and their fillers, and types are told apart."""
    assert content_hash(pa.table({"cell": first})) != content_hash(pa.table({"cell": second}))


def test_an_unknown_type_is_refused():
    """A type without canonical bytes is an error, and not a hash of something else."""
    table = pa.table({"when": pa.array([0], pa.duration("us"))})
    with pytest.raises(TypeError, match="no canonical bytes for duration"):
        content_hash(table)


def test_one_instant_has_one_hash_in_every_zone_and_unit():
    """A timestamp is what it denotes, however it was stored; another instant is another hash."""
    instants = [1_700_000_000_000_000, None]
    micro, other = (
        pa.table({"when": pa.array(instants, pa.timestamp("us", tz=zone))})
        for zone in ("UTC", "Asia/Shanghai")
    )
    milli = pa.table({"when": pa.array([1_700_000_000_000, None], pa.timestamp("ms", tz="UTC"))})
    later = pa.table({"when": pa.array([1_700_000_000_000_001, None], pa.timestamp("us", tz="UTC"))})

    assert content_hash(micro) == content_hash(other) == content_hash(milli)
    assert content_hash(micro) != content_hash(later)
