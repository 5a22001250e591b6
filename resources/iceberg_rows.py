"""The rows of one version in an Iceberg table: written and read under a schema of its own.

Field ids make columns: one of equal name and type has the same id in every schema of the table, any other one a new
id. So a schema may drop, move and change columns as it likes. While a version is written, its schema is the
table's current one, and no longer: outside of the commit, the current schema is that of `main`.

Files are written and read with pyarrow alone. pyiceberg's own append and scan make an empty list of each list of
structs that is null, and its scan is needed only for versions that carry no Arrow schema: those of earlier releases.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import chain, count
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from resources.iceberg_types import from_text, given_back
from resources.row_batches import RowBatches
from resources.warehouse import Snapshot, WarehouseError

if TYPE_CHECKING:
    import pyarrow as pa

ARROW_SCHEMA = "platform.arrow-schema"
_ROW_GROUP_ROWS: Final = 1 << 17
_ROW_GROUP_BYTES: Final = 64 << 20
"""In Arrow's form: so much lies in memory while rows come in batches, and as much again in Parquet's."""
_BATCH_ROWS: Final = 1 << 16
_BATCH_BYTES: Final = 16 << 20
_BUFFER_BYTES: Final = 1 << 20
"""Of a column that is being read in batches, instead of all of its row group."""


def checked_schema(table: str, schema: "pa.Schema") -> "pa.Schema":
    """The schema of kept rows, if an Iceberg table can have it.

    Raises:
        WarehouseError: Two columns have one name, or names with dots run into each other.
    """
    from pyiceberg.schema import index_by_name

    try:
        index_by_name(_iceberg_schema(schema))
    except ValueError as problem:
        raise WarehouseError(f"table {table}: {problem}; rename a column") from problem
    return schema


def is_shaped(target: Any, version: Snapshot, schema: "pa.Schema", kept: "pa.Schema") -> bool:
    """Whether a version has this schema, and is kept under that one."""
    snapshot = target.metadata.snapshot_by_id(int(version.snapshot_id))
    if text := arrow_schema_of(snapshot):
        return bool(from_text(text).equals(schema))
    then = target.schemas()[snapshot.schema_id]
    return _plain(then.fields) == _plain(_iceberg_schema(kept).fields)


def arrow_schema_of(snapshot: Any) -> str | None:
    """The Arrow schema that a version carries, as text; None in versions of earlier releases."""
    text: str | None = snapshot.summary.additional_properties.get(ARROW_SCHEMA) if snapshot.summary else None
    return text


# --- Writing -------------------------------------------------------------------------------------------


@contextmanager
def under(change: Any, schema_id: int) -> Iterator[None]:
    """Within, what a transaction writes has this schema; afterwards the current one is what it was."""
    now_id = change.table_metadata.current_schema_id
    make_current(change, schema_id)
    yield
    make_current(change, now_id)


def make_current(change: Any, schema_id: int) -> None:
    """Let a schema be the one under which others read and write the table."""
    from pyiceberg.table.update import SetCurrentSchemaUpdate

    change._apply((SetCurrentSchemaUpdate(schema_id=schema_id),))  # noqa: SLF001 - no public way


def schema_id_for(change: Any, schema: "pa.Schema") -> int:
    """The id of a table's schema with these columns, which the transaction adds if there is none."""
    from pyiceberg.schema import Schema
    from pyiceberg.table.update import AddSchemaUpdate

    metadata = change.table_metadata
    wanted = _plain(_iceberg_schema(schema).fields)
    for known in metadata.schemas:
        if _plain(known.fields) == wanted:
            return int(known.schema_id)
    ids = count(metadata.last_column_id + 1)
    columns = [field for known in metadata.schemas for field in known.fields]
    plain = _plain(columns)
    fields = [
        columns[plain.index(field)] if field in plain else _numbered(field, lambda: next(ids))
        for field in wanted
    ]
    new_id: int = max(known.schema_id for known in metadata.schemas) + 1
    change._apply((AddSchemaUpdate(schema=Schema(*fields, schema_id=new_id)),))  # noqa: SLF001 - no public way
    return new_id


def append(
    change: Any, parts: "Iterable[pa.Table]", *, arrow: str, branch: str, carried: dict[str, str]
) -> None:
    """Add kept rows, part after part, to a branch as one snapshot that carries these properties and the Arrow schema."""
    filled = filter(len, parts)
    first = next(filled, None)
    files = [] if first is None else [writer(change)(chain([first], filled), f"{uuid4()}.parquet")]
    append_files(change, files, arrow=arrow, branch=branch, carried=carried)


def append_files(
    change: Any, files: Iterable[Any], *, arrow: str, branch: str, carried: dict[str, str]
) -> None:
    """Add data files to a branch, in their order, as one snapshot that carries these properties and the Arrow schema."""
    properties = carried | {ARROW_SCHEMA: arrow}
    with change.update_snapshot(snapshot_properties=properties, branch=branch).fast_append() as snapshot:
        for file in files:
            snapshot.append_data_file(file)


def writer(change: Any) -> "Callable[[Iterable[pa.Table], str], Any]":
    """Gives of kept rows, part after part, a new data file of this name, which nothing refers to yet."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyiceberg.io.pyarrow import parquet_file_to_data_file, schema_to_pyarrow
    from pyiceberg.table.locations import load_location_provider

    metadata, io = change.table_metadata, change._table.io  # noqa: SLF001 - no public way
    place = load_location_provider(table_location=metadata.location, table_properties=metadata.properties)
    # With its field ids, by which Iceberg's readers find a column.
    schema = schema_to_pyarrow(metadata.schema())

    def write(parts: "Iterable[pa.Table]", name: str) -> Any:
        path: str = place.new_data_location(name)
        with (
            io.new_output(path).create() as file,
            pq.ParquetWriter(
                file,
                schema,
                compression="zstd",
                store_decimal_as_integer=True,
                # What a version was in Arrow, the version says.
                store_schema=False,
            ) as opened,
        ):
            for rows in _row_groups(parts):
                opened.write_table(pa.table(rows.columns, schema=schema), _ROW_GROUP_ROWS)
        return parquet_file_to_data_file(io, metadata, path)

    return write


def _row_groups(parts: "Iterable[pa.Table]") -> "Iterator[pa.Table]":
    """The rows in pieces that are worth a row group; a part is never divided here."""
    import pyarrow as pa

    gathered: list[pa.Table] = []
    rows = size_bytes = 0
    for part in parts:
        gathered.append(part)
        rows, size_bytes = rows + part.num_rows, size_bytes + part.nbytes
        if rows >= _ROW_GROUP_ROWS or size_bytes >= _ROW_GROUP_BYTES:
            yield pa.concat_tables(gathered)
            gathered, rows, size_bytes = [], 0, 0
    if gathered:
        yield pa.concat_tables(gathered)


# --- Reading -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Span:
    """A span of time that rows are asked for of."""

    column: str
    first: datetime
    last: datetime

    def misses(self, group: Any) -> bool:
        """Whether a row group of Parquet says that none of its rows lies in it; those without a time do not."""
        at = [group.column(place).path_in_schema for place in range(group.num_columns)].index(self.column)
        told = group.column(at).statistics
        if told is None or not told.has_min_max:
            return False
        try:
            bounds = [_moment(told.min), _moment(told.max)]
        except (ValueError, OverflowError):  # a time beyond those of Python
            return False
        return None not in bounds and (bounds[0] > self.last or bounds[1] < self.first)


def read(
    table: str,
    target: Any,
    snapshot_id: int,
    columns: Sequence[str] | None = None,
    span: Span | None = None,
) -> "pa.Table":
    """The rows of one version, in their order, or some columns of them in the given order.

    With a span, row groups that have nothing of it are not read.

    Raises:
        WarehouseError: The version has no such column.
    """
    import pyarrow as pa

    snapshot = target.metadata.snapshot_by_id(snapshot_id)
    names = column_names(target, snapshot)
    if missing := [name for name in columns or () if name not in names]:
        raise WarehouseError(
            f"table {table}: snapshot {snapshot_id} has no column {', '.join(map(repr, missing))}; "
            f"it has {', '.join(names)}"
        )
    text = arrow_schema_of(snapshot)
    if text is None:
        fields = tuple(columns) if columns else ("*",)
        rows: pa.Table = target.scan(snapshot_id=snapshot_id, selected_fields=fields).to_arrow()
    else:
        schema = from_text(text)
        if columns:
            schema = pa.schema([schema.field(name) for name in dict.fromkeys(columns)])
        files = [task.file.file_path for task in target.scan(snapshot_id=snapshot_id).plan_files()]
        rows = read_files(target.io, files, schema, span)
    return rows.select(list(columns)) if columns else rows


def batches(table: str, target: Any, snapshot_id: int) -> RowBatches:
    """The rows of one version, in their order, in small batches; those of earlier releases are read whole."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = arrow_schema_of(target.metadata.snapshot_by_id(snapshot_id))
    if text is None:
        return RowBatches.of(read(table, target, snapshot_id))
    schema = from_text(text)
    files = [task.file for task in target.scan(snapshot_id=snapshot_id).plan_files()]

    def scan(columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        wanted = pa.schema([schema.field(name) for name in columns])
        for each in files:
            with target.io.new_input(each.file_path).open() as file:
                opened = pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES)
                for batch in opened.iter_batches(_rows_of_a_batch(opened.metadata), columns=wanted.names):
                    yield from given_back(pa.Table.from_batches([batch]), wanted).to_batches()

    return RowBatches(schema, sum(each.record_count for each in files), scan)


def _rows_of_a_batch(metadata: Any) -> int:
    size_bytes: int = sum(metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups))
    rows: int = metadata.num_rows
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES * rows // max(1, size_bytes)))


def read_files(io: Any, paths: Iterable[str], schema: "pa.Schema", span: Span | None = None) -> "pa.Table":
    """The rows of data files one after the other, as they were before they were kept."""
    import pyarrow as pa

    parts = (given_back(_read(io, path, schema.names, span), schema) for path in paths)
    return pa.concat_tables([schema.empty_table(), *parts])


def column_names(target: Any, snapshot: Any) -> list[str]:
    """The columns of a version."""
    return [field.name for field in target.schemas()[snapshot.schema_id].fields]


def _read(io: Any, path: str, columns: list[str], span: Span | None) -> "pa.Table":
    import pyarrow.parquet as pq

    with io.new_input(path).open() as file:
        opened = pq.ParquetFile(file, pre_buffer=True)
        if span is None:
            return opened.read(columns=columns)
        groups = [at for at in range(opened.num_row_groups) if not span.misses(opened.metadata.row_group(at))]
        return opened.read_row_groups(groups, columns=columns)


def _moment(value: Any) -> Any:
    """A bound that a file tells of a column of times; None where it is no time."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return datetime(value.year, value.month, value.day, tzinfo=UTC) if isinstance(value, date) else None


# --- Schemas -------------------------------------------------------------------------------------------


def _iceberg_schema(schema: "pa.Schema") -> Any:
    from pyiceberg.io.pyarrow import _pyarrow_to_schema_without_ids

    return _pyarrow_to_schema_without_ids(schema)


def _plain(fields: Sequence[Any]) -> list[Any]:
    """The fields, numbered each from 1: what they are without regard to the ids they have in a table."""
    return [_numbered(field, count(1).__next__) for field in fields]


def _numbered(field: Any, next_id: Any) -> Any:
    from pyiceberg.schema import Schema, assign_fresh_schema_ids

    return assign_fresh_schema_ids(Schema(field), next_id).fields[0]
