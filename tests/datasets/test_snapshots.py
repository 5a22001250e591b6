"""Content hashes: equal rows have one, other rows another."""

import hashlib
import re
from datetime import date, time
from decimal import Decimal
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from platform_assets.datasets.errors import DatasetError
from platform_assets.datasets.snapshots import content_hash
from tests.arrow_tables import cells, tables

# Hashes of the first release. A ledger names versions by them: they never change.
GOLDEN = [
    (
        pa.array(["", "a", None, "naïve\0 – 数", "z" * 100]),
        "79291bd9f701ffeb9880de78d6fba385b8faced51c0c8558faabab77866a06ba",
    ),
    (
        pa.array([[1, None, -(2**31)], [], None, [7], [2**31 - 1]], pa.list_(pa.int32())),
        "d54fbe567bd6d464c9a1a66f851271a3f1ca5507e0ec02230541a525a1037ade",
    ),
    (
        pa.array([["a", None], [], None, ["bc"], [""]], pa.list_(pa.string())),
        "8fae0a67c4397e9c6f60b79a3ddb06012c34e12f53b8596aea1cb888eb21d1b5",
    ),
    (
        pa.array([[[1], None], [], None, [[]], [[2, 3]]], pa.list_(pa.list_(pa.int64()))),
        "db3d905ec6106a5ef2d0d7340593a82a3a31e517047697b5ed27c07e77cfb44a",
    ),
    (
        pa.array([0, -1, None, 2**31 - 1, -(2**31)], pa.int32()),
        "c09e97d071740b89e6d6484f96f0a662218414f5f2548c526824595da0cc60a8",
    ),
    (
        pa.array([0, -1, None, 2**63 - 1, -(2**63)], pa.int64()),
        "27d0ccf0afb4578165f611baba3094366f5b9207e8b7c9aba9da0c0a1a5e0a4c",
    ),
    (
        pa.array([0, 1, None, 2**31, 2**32 - 1], pa.uint32()),
        "ba3b08acda8a629fbefacfc3aed0ecf49a1e43ea0ecddc83d12935314209ed47",
    ),
    (
        pa.array([0, 1, None, 2**32, 2**63 - 1], pa.uint64()),
        "0e1068de001f7227a98cdc461dd6f24b29c6d1c5bf7640b446ef3a492e255c07",
    ),
    (
        pa.array([0.0, -0.5, None, float("inf"), 65504.0], pa.float16()),
        "21c0e29f33bf5dba3ea99352bf1baa27e8e1b6f6f99b7fdab677c97f82c29944",
    ),
    (
        pa.array([0.0, -0.5, None, float("inf"), 1e-40], pa.float32()),
        "8416f4a308dad9c5dbd1c713ff073758e37d7939843da56ba7e6d6ac723d660a",
    ),
    (
        pa.array([0.0, -0.1, None, float("nan"), 1e300], pa.float64()),
        "eb005d8b06e3677fd2abff2fb43f274fcb2209f80636f252cdfe13bfdd23e50a",
    ),
    (
        pa.array([True, False, None, True, False]),
        "4de43b41e5a548f46ccaef6556bad27699e75744a28c408fcc63debe483e52d7",
    ),
    (
        pa.array([0, 1, None, -1, 2**60], pa.timestamp("us")),
        "d06af56926cd3e858a9633a652dae707411fbaea8eae9b9865df707c9286f48a",
    ),
    (
        pa.array([0, 1, None, -1, 2**40], pa.timestamp("ms", "Asia/Tokyo")),
        "b43b005cc8d0e43ae5017fda7022e8eb0c23ccd11f282409c3008127fce986c1",
    ),
]


@pytest.mark.parametrize(("column", "expected"), GOLDEN, ids=[str(column.type) for column, _ in GOLDEN])
def test_hashes_of_the_first_release_still_verify(column, expected):
    """A version that was hashed then has the same hash today, in one chunk or several."""
    table = pa.table({"cell": column})
    assert content_hash(table) == expected
    assert content_hash(pa.concat_tables([table.slice(0, 2), table.slice(2, 0), table.slice(2)])) == expected


def test_a_table_without_rows_has_the_hash_of_the_first_release():
    """Column names and types alone are hashed as they were."""
    table = pa.table({str(column.type): column for column, _ in GOLDEN}).slice(1, 0)
    assert content_hash(table) == "93ac4f1d939c541711fc99bd25605ff721da11c6accfdfa8e26f2c8d799635fb"


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
    values = table[name].to_pylist()
    values[row] = data.draw(st.none() | cells(kind))
    other = pa.array(values, kind)
    assume(other != table[name].combine_chunks())
    changed = table.set_column(table.column_names.index(name), name, other)
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
        (pa.array(["a"]), pa.array([b"a"])),
        (pa.array([1], pa.uint8()), pa.array([1], pa.int8())),
        (pa.array([1], pa.uint8()), pa.array([1], pa.int32())),
        (pa.array([2**64 - 1], pa.uint64()), pa.array([-1], pa.int64())),
        (pa.array([0], pa.int32()), pa.array([date(1970, 1, 1)])),
        (pa.array([date(1970, 1, 2)]), pa.array([86_400], pa.timestamp("s"))),
        (pa.array([time(0, 0, 1)]), pa.array([1], pa.timestamp("s"))),
        (pa.array([Decimal("1.5")], pa.decimal128(5, 1)), pa.array([Decimal("1.5")], pa.decimal128(5, 2))),
        (pa.array([Decimal("1.5")]), pa.array([Decimal("0.15")])),
        (pa.array([{"a": 1, "b": 2}]), pa.array([{"b": 1, "a": 2}])),
        (pa.array([{"a": 1, "b": 2}]), pa.array([{"ab": 1, "": 2}])),
        (pa.array([{"a": 1}]), pa.array([[1]])),
        (
            pa.array([None], pa.struct([("a", pa.int8())])),
            pa.array([{"a": None}], pa.struct([("a", pa.int8())])),
        ),
        (pa.nulls(1), pa.nulls(1, pa.bool_())),
    ],
)
def test_lookalikes_differ(first, second):
    """Values whose bytes run together alike, nulls and their fillers, and types are told apart."""
    assert content_hash(pa.table({"cell": first})) != content_hash(pa.table({"cell": second}))


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        (pa.array([0], pa.duration("us")), "no canonical bytes for duration"),
        (
            pa.array([["a"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
            "no canonical bytes for dictionary",
        ),
        (pa.array([1], pa.timestamp("ns")), "would lose data; cast"),
        (pa.array([1], pa.time64("ns")), "would lose data; cast"),
        (pa.array([1], pa.int64()).view(pa.date64()), "would lose data; cast"),
    ],
)
def test_what_has_no_canonical_bytes_is_refused(column, problem):
    """An error that names the column and quotes no cell, and not a hash of something else."""
    pattern = rf"column 'when' \({re.escape(str(column.type))}\).*{problem}"
    with pytest.raises(DatasetError, match=pattern):
        content_hash(pa.table({"when": column}))


def test_pixels_are_hashed_in_their_own_width():
    """Lists of uint8 feed a byte a pixel to the hash, after the lengths of the rows."""
    expected = hashlib.sha256(
        b"2 rows\0image\0list\xc0" + bytes([2, *[0] * 7, 1, *[0] * 7]) + b"uint8\xe0" + bytes([0, 255, 7])
    )
    images = pa.array([[0, 255], [7]], pa.list_(pa.uint8()))
    assert content_hash(pa.table({"image": images})) == expected.hexdigest()


def test_what_a_struct_hides_does_not_show():
    """Values below a struct that is null are padding."""
    kind = pa.struct([("a", pa.int32())])
    hiding = pa.StructArray.from_arrays(
        [pa.array([5, 1], pa.int32())], fields=list(kind), mask=pa.array([True, False])
    )
    assert content_hash(pa.table({"cell": hiding})) == content_hash(
        pa.table({"cell": pa.array([None, {"a": 1}], kind)})
    )


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
