"""Tables that change shape: each version has columns, order and types of its own, and gives them back exactly."""

import tempfile
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.datasets.snapshots import content_hash
from resources.iceberg_warehouse import IcebergWarehouse
from resources.warehouse import Snapshot, WarehouseError
from tests.arrow_tables import tables
from tests.warehouse_factory import (
    COMMIT,
    TABLE,
    files_of,
    local,
    opened,
    referenced,
    rewrite,
    text_of,
    without,
    write,
)

ITEM = pa.struct([pa.field("id", pa.int64(), nullable=False), ("box", pa.list_(pa.float32(), 4))])

SHAPES = {
    "first": pa.table({"text": ["a", "gone", "b"], "label": pa.array([0, 1, None], pa.int32())}),
    "a column less": pa.table({"text": ["a", "gone", "b"]}),
    "another name": pa.table({"review": ["a", "gone", "b"], "label": pa.array([0, 1, None], pa.int32())}),
    "another order": pa.table({"label": pa.array([0, 1, None], pa.int32()), "text": ["a", "gone", "b"]}),
    "a number becomes text": pa.table({"text": ["a", "gone"], "label": ["zero", None]}),
    "text becomes a list": pa.table({"text": [["a"], ["gone"]], "label": ["zero", None]}),
    "a struct": pa.table({"item": [{"a": 1, "b": "x"}, None], "text": ["a", "gone"]}),
    "another struct": pa.table({"item": [{"b": 1.5}, {"b": None}], "text": ["a", "gone"]}),
    "narrower": pa.table({"text": ["a", "gone"], "label": pa.array([255, None], pa.uint8())}),
    "never null": pa.table(
        [["a", "gone"], pa.array([1, 2], pa.int32())],
        schema=pa.schema([pa.field("text", pa.string(), nullable=False), pa.field("label", pa.int32())]),
    ),
    "no rows": pa.table({"pixels": pa.array([], pa.list_(pa.uint8(), 784))}),
}


def publish(warehouse: IcebergWarehouse, content: pa.Table, **given: object) -> Snapshot:
    """Stage and publish these rows."""
    return warehouse.publish(write(warehouse, content, **given))


def assert_reads_as(warehouse: IcebergWarehouse, version: Snapshot, written: pa.Table) -> None:
    """A version is what was written: schema, values, hash, and any choice of columns."""
    found = warehouse.read(TABLE, version.snapshot_id)
    assert found.schema.equals(written.schema)
    assert list(map(str, found.schema)) == list(map(str, written.schema))
    assert found.equals(written)
    assert content_hash(found) == version.content_hash
    chosen = written.column_names[::-2]
    assert warehouse.read(TABLE, version.snapshot_id, columns=chosen).equals(written.select(chosen))


def iceberg_table(home: Path) -> Any:
    """The table as any other program that knows Iceberg sees it."""
    from pyiceberg.catalog.sql import SqlCatalog

    place = local(home)
    catalog = SqlCatalog("platform", uri=place.resolved_catalog_uri, warehouse=place.resolved_warehouse_uri)
    return catalog.load_table(TABLE)


@pytest.fixture
def warehouse(tmp_path):
    """An empty warehouse on this machine."""
    return opened(tmp_path)


def test_every_version_keeps_its_own_columns(warehouse, tmp_path):
    """Columns go, come, move and change type; each version is read as it was written, before and after a sweep."""
    versions = {name: publish(warehouse, content) for name, content in SHAPES.items()}
    for name, version in versions.items():
        assert_reads_as(warehouse, version, SHAPES[name])
    again = opened(tmp_path)
    again.sweep()
    assert [each.snapshot_id for each in again.versions(TABLE)] == [
        each.snapshot_id for each in versions.values()
    ]
    for name, version in versions.items():
        assert_reads_as(again, version, SHAPES[name])
    assert files_of(local(tmp_path)) == referenced(local(tmp_path))


@settings(max_examples=25)
@given(contents=st.lists(tables(), min_size=2, max_size=4))
def test_any_table_can_follow_any_other(contents):
    """Whatever types they have, each of several versions is read as it was written, and so is what is left of it."""
    with tempfile.TemporaryDirectory() as home:
        warehouse = opened(Path(home))
        versions = [publish(warehouse, content) for content in contents]
        for version, content in zip(versions, contents, strict=True):
            assert_reads_as(warehouse, version, content)
        rewrites = warehouse.rewrite(
            TABLE,
            lambda _, found: pa.array([row > 0 for row in range(found.num_rows)], pa.bool_()),
            columns=lambda version: [column for column in version.columns if column == "a"],
            content_hash=content_hash,
        )
        left = {each.old.snapshot_id: each.new for each in rewrites}
        for version, content in zip(versions, contents, strict=True):
            if "a" in content.column_names and content.num_rows:
                assert_reads_as(warehouse, left[version.snapshot_id], content.slice(1))
            else:
                assert_reads_as(warehouse, version, content)


def test_types_keep_their_width_and_their_extremes(warehouse):
    """What Iceberg lacks comes back as it went: unsigned, narrow, half, zones and units, nested and without a type."""
    everything = pa.table(
        {
            "u8": pa.array([0, 255, None], pa.uint8()),
            "i8": pa.array([-128, 127, None], pa.int8()),
            "u16": pa.array([0, 65535, None], pa.uint16()),
            "u32": pa.array([0, 2**32 - 1, None], pa.uint32()),
            "u64": pa.array([0, 2**64 - 1, None], pa.uint64()),
            "i64": pa.array([-(2**63), 2**63 - 1, None]),
            "half": pa.array([-0.0, 65504.0, float("inf")], pa.float16()),
            "single": pa.array([1e-45, -3.4028234663852886e38, None], pa.float32()),
            "money": pa.array([Decimal("-99999.99"), Decimal("0.01"), None], pa.decimal128(7, 2)),
            "digits": pa.array([Decimal(10**38 - 1), Decimal(-1), None], pa.decimal256(38, 0)),
            "day": pa.array([date(1, 1, 1), date(9999, 12, 31), None]),
            "day in ms": pa.array([date(1, 1, 1), date(9999, 12, 31), None], pa.date64()),
            "second": pa.array([time(0), time(23, 59, 59), None], pa.time32("s")),
            "time": pa.array([time(0), time(23, 59, 59, 999_999), None]),
            "stamp": pa.array([datetime.min, datetime.max, None], pa.timestamp("us")),  # noqa: DTZ901
            "tokyo": pa.array([0, -1, None], pa.timestamp("s", "Asia/Tokyo")),
            "offset": pa.array([0, 1_001_000, None], pa.timestamp("ns", "+05:30")),
            "bytes": pa.array([b"", b"\0\xff", None]),
            "digest": pa.array([b"\0" * 16, b"\xff" * 16, None], pa.binary(16)),
            "long text": pa.array(["", "ü\0", None], pa.large_string()),
            "image": pa.array([[0, 1, 2], [255, 0, 255], None], pa.list_(pa.uint8(), 3)),
            "tensor": pa.array([[[1, 2], [3, 4]], None, [[5, 6], [7, None]]], pa.list_(pa.list_(pa.uint16(), 2), 2)),
            "boxes": pa.array([[{"id": 1, "box": [0, 0, 1, 1]}], None, []], pa.list_(ITEM)),
            "maybe boxes": pa.array([[None, {"id": 2, "box": None}], [], None], pa.large_list(ITEM)),
            "deep": pa.array([{"a": [{"b": 7}]}, {"a": None}, None], pa.struct([("a", pa.list_(pa.struct([("b", pa.uint64())])))])),
            "padded": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.field("item", pa.int8(), nullable=False), 2)),
            "unknown": pa.nulls(3),
            "nothing but nulls": pa.array([[None], [], None], pa.list_(pa.null())),
        }
    )  # fmt: skip
    assert_reads_as(warehouse, publish(warehouse, everything), everything)
    turned = everything.select(everything.column_names[::-1]).slice(1)
    assert_reads_as(warehouse, write(warehouse, turned), turned)


def test_metadata_of_a_schema_is_not_kept(warehouse, tmp_path):
    """It may hold values of rows, which an erasure would not find."""
    noted = pa.table({"text": ["a"]}, metadata={"note": "zzz-erase-me"})
    version = publish(warehouse, noted)
    assert warehouse.read(TABLE, version.snapshot_id).schema.metadata is None
    assert b"zzz-erase" not in b"".join(Path(path).read_bytes() for path in files_of(local(tmp_path)))


UNKEPT = {
    "dictionary": (pa.array(["a"]).dictionary_encode(), "of a type that tables do not keep"),
    "map": (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8())), "of a type that tables do not keep"),
    "view": (pa.array(["a"], pa.string_view()), "of a type that tables do not keep"),
    "duration": (pa.array([1], pa.duration("s")), "of a type that tables do not keep"),
    "extension": (pa.array([b"0" * 16], pa.uuid()), "of a type that tables do not keep"),
    "too many digits": (pa.array([1], pa.decimal256(39, 0)), "of a type that tables do not keep"),
    "negative scale": (
        pa.array([Decimal(100)], pa.decimal128(3, -2)),
        "of a type that tables do not keep",
    ),
    "no fields": (pa.array([{}], pa.struct([])), "of a type that tables do not keep"),
    "one name twice": (
        pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]),
        "of a type that tables do not keep",
    ),
    "nanoseconds": (pa.array([1], pa.timestamp("ns")), "would lose data"),
    "nanoseconds of a day": (pa.array([1], pa.time64("ns")), "would lose data"),
    "nested nanoseconds": (pa.array([[1]], pa.list_(pa.timestamp("ns"))), "would lose data"),
    "part of a day": (pa.array([1], pa.int64()).view(pa.date64()), "would lose data"),
    "year 10000": (pa.array([253_402_300_800], pa.timestamp("s")), "outside the years 1 to 9999"),
    "year 0": (pa.array([[None, -719_163]], pa.list_(pa.date32())), "outside the years 1 to 9999"),
    "null in a list of none": (
        pa.array([[1, None]], pa.list_(pa.field("item", pa.int8(), nullable=False))),
        "a null in 'item'",
    ),
}


@pytest.mark.parametrize(("column", "problem"), UNKEPT.values(), ids=UNKEPT)
def test_what_cannot_be_given_back_exactly_is_refused(warehouse, column, problem):
    """The error names the column and its type, and nothing is written."""
    content = pa.table({"text": ["a"], "odd": column})
    with pytest.raises(WarehouseError) as refused:
        warehouse.stage(
            TABLE, content, content_hash="0", gdpr_class="internal", retention_days=1, source_commit=COMMIT
        )
    assert f"table {TABLE}: column 'odd' ({column.type}) " in str(refused.value)
    assert problem in str(refused.value)
    assert warehouse.tables() == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (pa.table([[1], [2]], names=["a", "a"]), "multiple fields for name a"),
        (pa.table({"a": [{"b": 1}], "a.b": [2]}), r"multiple fields for name a\.b"),
        (pa.table({"": [1]}), "has no name"),
        (pa.table({}), "no columns"),
        (
            pa.table([pa.array([None, 1])], schema=pa.schema([pa.field("a", pa.int64(), nullable=False)])),
            "a null in 'a'",
        ),
    ],
)
def test_columns_that_cannot_be_told_apart_are_refused(warehouse, content, problem):
    """Names are unique and there; a column that is never null holds none; nothing is written otherwise."""
    with pytest.raises(WarehouseError, match=problem):
        write(warehouse, content)
    assert warehouse.tables() == []


def test_a_column_that_a_version_lacks_is_named(warehouse):
    """Whoever asks an older version for a newer column is told what there is."""
    first = publish(warehouse, SHAPES["first"])
    publish(warehouse, SHAPES["another name"])
    with pytest.raises(WarehouseError, match="has no column 'review'; it has text, label"):
        warehouse.read(TABLE, first.snapshot_id, columns=["text", "review"])


# --- What other programs see ---------------------------------------------------------------------------


def test_an_audit_that_fails_leaves_main_with_its_own_schema(warehouse, tmp_path):
    """A new shape on the branch changes nothing for who reads `main`; published, it is what they see; and back again."""
    first = publish(warehouse, SHAPES["first"])
    before = iceberg_table(tmp_path)
    refused = write(warehouse, SHAPES["a number becomes text"])
    seen = iceberg_table(tmp_path)
    assert seen.schema() == before.schema()
    assert seen.scan().to_arrow().equals(SHAPES["first"].cast(seen.scan().to_arrow().schema))
    assert_reads_as(warehouse, warehouse.current(TABLE), SHAPES["first"])

    warehouse.publish(refused)
    assert iceberg_table(tmp_path).scan().to_arrow()["label"].to_pylist() == ["zero", None]
    warehouse.publish(first)
    assert iceberg_table(tmp_path).schema() == before.schema()
    assert iceberg_table(tmp_path).scan().to_arrow()["label"].to_pylist() == [0, 1, None]


def test_columns_of_equal_name_and_type_have_one_id(warehouse, tmp_path):
    """A column is another one where its type is; a shape that returns has the schema that it had."""
    for name in ("first", "a number becomes text", "another order", "first"):
        publish(warehouse, SHAPES[name])
    write(warehouse, SHAPES["a number becomes text"].slice(1))
    schemas = [
        {field.name: field.field_id for field in schema.fields}
        for schema in iceberg_table(tmp_path).schemas().values()
    ]
    assert schemas == [{"text": 1, "label": 2}, {"text": 1, "label": 3}, {"label": 2, "text": 1}]


# --- Equal rows in other types -------------------------------------------------------------------------


def test_equal_rows_in_other_types_are_a_version_of_their_own(warehouse):
    """Their hash is one, and what is read has the types that were written; found by hash is the newest."""
    narrow = pa.table({"text": ["a", "gone"], "label": pa.array([1, 2], pa.int32())})
    wide = narrow.set_column(1, "label", pa.array([1, 2], pa.int64()))
    first, second = publish(warehouse, narrow), publish(warehouse, wide)
    assert first.content_hash == second.content_hash
    assert [publish(warehouse, narrow).snapshot_id, publish(warehouse, wide).snapshot_id] == [
        first.snapshot_id,
        second.snapshot_id,
    ]
    warehouse.sweep()
    assert [each.snapshot_id for each in warehouse.versions(TABLE)] == [first.snapshot_id, second.snapshot_id]
    for name in (first.content_hash, COMMIT):
        assert warehouse.at(TABLE, name).snapshot_id == second.snapshot_id

    rewrites = rewrite(warehouse, "gone")
    for each, content in zip(rewrites, (narrow, wide), strict=True):
        assert each.new.published
        assert_reads_as(warehouse, each.new, content.slice(0, 1))
    assert warehouse.at(TABLE, COMMIT) == rewrites[1].new == warehouse.current(TABLE)


def test_a_refused_version_gives_way_to_equal_rows_of_the_right_type(warehouse):
    """Who mends a type after a failed contract is not handed the refused rows again."""
    refused = write(warehouse, pa.table({"label": pa.array([1, 2], pa.int32())}))
    mended = pa.table({"label": pa.array([1, 2], pa.int64())})
    staged = write(warehouse, mended)
    assert staged.snapshot_id != refused.snapshot_id
    assert_reads_as(warehouse, staged, mended)


# --- Taking out ----------------------------------------------------------------------------------------


def test_rows_leave_versions_of_every_shape(warehouse, tmp_path):
    """A version keeps its own columns when it is written again; one that lacks the column stays as it is."""
    names = [name for name in SHAPES if name != "text becomes a list"]
    versions = {name: publish(warehouse, SHAPES[name]) for name in names}
    untouched = {"another name", "no rows"}
    found = warehouse.affected(TABLE, without("gone"), columns=text_of)
    assert found == [(versions[name], 1) for name in names if name not in untouched]

    rewrites = {each.old.snapshot_id: each.new for each in rewrite(warehouse, "gone")}

    assert len(rewrites) == len(names) - len(untouched)
    for name in names:
        if name in untouched:
            assert_reads_as(warehouse, versions[name], SHAPES[name])
        else:
            left = SHAPES[name].filter(pc.not_equal(SHAPES[name]["text"], "gone"))
            assert_reads_as(warehouse, rewrites[versions[name].snapshot_id], left)
    assert iceberg_table(tmp_path).schema().fields[0].name == "pixels"
    assert files_of(local(tmp_path)) == referenced(local(tmp_path))


def test_versions_of_other_shapes_can_be_dropped(warehouse, tmp_path):
    """A table that lost its current version begins anew, in any shape; the others are read as before."""
    first, second = publish(warehouse, SHAPES["first"]), publish(warehouse, SHAPES["a struct"])
    warehouse.drop(TABLE, [second.snapshot_id])
    assert warehouse.current(TABLE) is None
    assert_reads_as(warehouse, first, SHAPES["first"])
    third = publish(warehouse, SHAPES["another struct"])
    warehouse.drop(TABLE, [first.snapshot_id])
    assert_reads_as(warehouse, third, SHAPES["another struct"])
    assert files_of(local(tmp_path)) == referenced(local(tmp_path))


def test_a_row_leaves_by_a_column_that_changed_its_type(warehouse):
    """Subjects that were numbers once and are texts today are found in both."""
    numbers = publish(warehouse, pa.table({"patient": [1, 2], "value": [0.5, 1.5]}))
    texts = publish(warehouse, pa.table({"value": [0.5, 1.5], "patient": ["2", "3"]}))
    rewrites = warehouse.rewrite(
        TABLE,
        lambda _, found: pc.not_equal(found["patient"].cast(pa.string()), "2"),
        columns=lambda _: ["patient"],
        content_hash=content_hash,
    )
    assert [each.old for each in rewrites] == [numbers, texts]
    assert_reads_as(warehouse, rewrites[0].new, pa.table({"patient": [1], "value": [0.5]}))
    assert_reads_as(warehouse, rewrites[1].new, pa.table({"value": [1.5], "patient": ["3"]}))


# --- Tables of earlier releases ------------------------------------------------------------------------


def written_before(home: Path, *contents: pa.Table) -> None:
    """Publish versions as the first release did: columns were only ever added, and no Arrow schema was carried."""
    from pyiceberg.catalog.sql import SqlCatalog

    place = local(home)
    catalog = SqlCatalog("platform", uri=place.resolved_catalog_uri, warehouse=place.resolved_warehouse_uri)
    catalog.create_namespace("datasets")
    table = catalog.create_table(TABLE, schema=contents[0].schema)
    table.append(contents[0].slice(0, 0))
    for content in contents:
        with table.update_schema() as update:
            update.union_by_name(content.schema)
        if "audit" in table.metadata.refs:
            with table.manage_snapshots() as refs:
                refs.remove_branch("audit")
        hashed = content_hash(content)
        table.append(content, branch="audit", snapshot_properties={"platform.content-hash": hashed})
        staged = table.metadata.refs["audit"].snapshot_id
        with table.manage_snapshots() as refs:
            refs.create_tag(staged, f"v-{hashed[:16]}").set_current_snapshot(snapshot_id=staged)


@pytest.fixture
def old_contents():
    """Two versions of an old table; the second has a column more."""
    first = pa.table({"text": ["a", "gone"], "token_ids": pa.array([[1], None], pa.list_(pa.int32()))})
    return first, first.append_column("at", pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 2))


def test_versions_of_earlier_releases_are_read_as_ever(tmp_path, old_contents):
    """Their hashes verify, equal rows are not written again, and new shapes leave them alone."""
    written_before(tmp_path, *old_contents)
    warehouse = opened(tmp_path)
    versions = warehouse.versions(TABLE)
    before = files_of(local(tmp_path))
    for version, content in zip(versions, old_contents, strict=True):
        assert warehouse.read(TABLE, version.snapshot_id).equals(content)
        assert content_hash(warehouse.read(TABLE, version.snapshot_id)) == version.content_hash
        assert warehouse.read(TABLE, version.snapshot_id, columns=["text"]).equals(content.select(["text"]))
    assert write(warehouse, old_contents[0]).snapshot_id == versions[0].snapshot_id
    assert not {path for path in files_of(local(tmp_path)) - before if path.endswith(".parquet")}

    newer = [publish(warehouse, SHAPES[name]) for name in ("a number becomes text", "a struct")]
    for version, content in zip(versions, old_contents, strict=True):
        assert warehouse.read(TABLE, version.snapshot_id).equals(content)
    assert_reads_as(warehouse, newer[0], SHAPES["a number becomes text"])


def test_rows_leave_versions_of_earlier_releases(tmp_path, old_contents):
    """They are written again as they were, beside versions of today."""
    written_before(tmp_path, *old_contents)
    warehouse = opened(tmp_path)
    today = publish(warehouse, SHAPES["a struct"])
    first, second, third = rewrite(warehouse, "gone")
    for rewritten, content in zip((first, second), old_contents, strict=True):
        assert warehouse.read(TABLE, rewritten.new.snapshot_id).equals(content.slice(0, 1))
        assert warehouse.at(TABLE, rewritten.new.content_hash) == rewritten.new
    assert third.old.snapshot_id == today.snapshot_id
    assert_reads_as(warehouse, third.new, SHAPES["a struct"].slice(0, 1))
    warehouse.drop(TABLE, [first.new.snapshot_id])
    assert warehouse.sweep() == 0
    assert files_of(local(tmp_path)) == referenced(local(tmp_path))


def test_a_column_that_an_earlier_release_staged_as_null_is_left_out_now(tmp_path, old_contents):
    """It came back as a column of nulls; written again, the rows have the columns that they were given."""
    narrow = old_contents[0].slice(1)
    written_before(tmp_path, old_contents[1], narrow)
    warehouse = opened(tmp_path)
    assert warehouse.read(TABLE, warehouse.current(TABLE).snapshot_id).column_names[-1] == "at"
    mended = publish(warehouse, narrow)
    assert mended.content_hash == content_hash(narrow)
    assert_reads_as(warehouse, mended, narrow)
