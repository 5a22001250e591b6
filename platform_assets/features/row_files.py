"""Rows in files, as chunks: Parquet is streamed, other formats are small and read whole. No value changes on the way."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from platform_assets.features.csv_types import ReadColumns, typed
from platform_assets.features.errors import FeatureError
from platform_assets.features.row_size import MOST_SAMPLES, RowBytes, sampled_row_bytes, spread
from platform_assets.reading.errors import ReadingError, shown_name
from platform_assets.reading.forms import refuse_foreign_form
from platform_assets.reading.table import FORMATS, read_table
from platform_assets.reading.texts import refuse_repeated_names

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.features.transformer import FittedTransformer

OnRows = Callable[[int], object]
"""Is told how many rows have been read since it was told before."""
PARQUET: Final = ".parquet"
CSV: Final = ".csv"
_BUFFER_BYTES: Final = 1 << 20
"""Of a column that is being read; without it a whole row group would lie in memory."""
_MARK_BYTES: Final = 4
_HEAD_BYTES: Final = 64
_MOST_TOLD: Final = 20
_OLD_TIME: Final = "INT96"


@dataclass(frozen=True, slots=True)
class RowFiles:
    """Rows of one schema, in the order of their files and of the rows in each."""

    name: str
    """What they are called in messages."""
    files: tuple[Path, ...]
    schema: "pa.Schema"
    rows: int
    size_bytes: int
    """On disk."""
    unpacked_bytes: int = 0
    """Before they were compressed, but encoded."""
    folder: Path | None = None
    """Whose files they are, where one was named."""
    table: "pa.Table | None" = field(default=None, repr=False)
    """All of them, where they had to be read whole."""
    row_groups: tuple[int, int] | None = None
    """Of the one file, from and to, where only these are meant; see `row_slices`."""

    def chunks(
        self, columns: Sequence[str] | None = None, *, batch_rows: int, threads: int = 1
    ) -> Iterator["pa.Table"]:
        """The rows, at most so many at a time.

        Args:
            columns: Which, in the schema's order; all of them if None.
            batch_rows: Most rows of a chunk; the last of a file may have fewer.
            threads: More than one lets Arrow decode columns side by side.

        Raises:
            FeatureError: a file is damaged; the message names it.
        """
        names = self.schema.names if columns is None else [n for n in self.schema.names if n in columns]
        if self.table is not None:
            table = self.table.select(names)
            for start in range(0, table.num_rows, batch_rows):
                yield table.slice(start, batch_rows)
            return
        for file in self.files:
            yield from _chunks_of(file, self.schema, names, batch_rows, threads, self.row_groups)

    def row_bytes(self, columns: Sequence[str] | None = None) -> RowBytes:
        """What a row takes in memory, by a few row groups; of these columns, of all of them if None.

        Raises:
            FeatureError: a file is damaged; the message names it.
        """
        if self.table is not None:
            table = self.table if columns is None else self.table.select(list(columns))
            size = table.nbytes / max(1, self.rows)
            return RowBytes(size, size)
        found: list[RowBytes] = []
        files = spread(len(self.files), MOST_SAMPLES)
        for at in files:
            with readable(self.files[at]):
                most_groups = MOST_SAMPLES // len(files)
                found += sampled_row_bytes(self.files[at], columns, most_groups=most_groups)
        if not found:
            return RowBytes(0.0, 0.0)
        usual = sum(each.usual for each in found) / len(found)
        return RowBytes(usual, max(each.most for each in found))

    def refuse_missing(self, names: Sequence[str]) -> None:
        """Refuse names of columns that are not there.

        Raises:
            FeatureError: one is not; it is named, with those that are.
        """
        for name in names:
            if name not in self.schema.names:
                known = ", ".join(map(shown_name, self.schema.names[:_MOST_TOLD])) or "none"
                more = f" and {len(self.schema) - _MOST_TOLD} more" if len(self.schema) > _MOST_TOLD else ""
                raise FeatureError(
                    f"{self.name}: has no column {shown_name(name)}, only {known}{more}; correct the spec, or the file"
                )


def open_rows(
    source: Path | Sequence[Path], spec: ReadColumns, *, fitted: "FittedTransformer | None" = None
) -> RowFiles:
    """The rows of a file, of several, or of all Parquet files in a folder, in the order of their names.

    Values of csv are texts; columns that the spec reads have types, as `csv_types` tells.

    Args:
        source: Where they are.
        spec: What is to be made of them.
        fitted: Of woe and csv: what says which columns are numbers.

    Raises:
        FeatureError: there is none, it cannot be read, is not what its ending says, or is of another schema than the
            one before it; the message names the file.
    """
    paths = [source] if isinstance(source, Path) else list(source)
    files = [file for path in paths for file in (_files_in(path) if path.is_dir() else [path])]
    if not files:
        raise FeatureError("no file was named; name a Parquet file, or a folder of them")
    name = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
    if len(files) == 1 and files[0].suffix.lower() != PARQUET:
        return _read_whole(files[0], spec, fitted)
    schema, rows, size_bytes, unpacked_bytes = None, 0, 0, 0
    for file in files:
        found, count, unpacked = _footer(file)
        if schema is None:
            schema = found
        elif difference := _difference(schema, found):
            raise FeatureError(
                f"{file}: {difference}; the files of {name} are to have the same columns of the same types"
            )
        schema = _either_nullable(schema, found)
        rows, size_bytes = rows + count, size_bytes + file.stat().st_size
        unpacked_bytes += unpacked
    folder = paths[0] if len(paths) == 1 and paths[0].is_dir() else None
    return RowFiles(name, tuple(files), schema, rows, size_bytes, unpacked_bytes, folder)


def rows_of_table(table: "pa.Table", *, name: str) -> RowFiles:
    """Rows that are in memory already.

    Args:
        table: All of them.
        name: What they are called in messages.
    """
    return RowFiles(name, (), table.schema, table.num_rows, table.nbytes, table=table)


def rows_of_bytes(
    content: bytes,
    suffix: str,
    spec: ReadColumns,
    *,
    name: str,
    fitted: "FittedTransformer | None" = None,
) -> RowFiles:
    """Rows of a whole file that is in memory already; those of csv have types as `csv_types` tells.

    Args:
        content: The file.
        suffix: The ending of its name: `.csv`, `.jsonl` or `.parquet`.
        spec: What is to be made of them.
        name: What the file is called in messages.
        fitted: Of woe and csv: what says which columns are numbers.

    Raises:
        FeatureError: the bytes are not what the ending says.
    """
    if not content or content.isspace():
        raise FeatureError(f"{name}: is empty (0 rows); give a file with a header and rows")
    try:
        table = read_table(content, suffix, name=name)
    except ReadingError as problem:
        raise FeatureError(str(problem)) from None
    if suffix.lower() == CSV:
        table = typed(table, spec, name=name, fitted=fitted)
    return replace(rows_of_table(table, name=name), size_bytes=len(content))


def _files_in(folder: Path) -> list[Path]:
    """Parquet files; what begins with `.` or `_` is about them, and by custom no part of the rows."""
    found = sorted(path for path in folder.iterdir() if not path.name.startswith((".", "_")))
    if not found:
        raise FeatureError(f"{folder}: holds no file that ends in .parquet; name the folder that does")
    for path in found:
        if not path.is_file() or path.suffix.lower() != PARQUET:
            what = "a folder" if path.is_dir() else "no file that ends in .parquet"
            raise FeatureError(
                f"{folder}: holds {shown_name(path.name)}, which is {what}, and its rows would be left out; name a folder "
                "of Parquet files and nothing else"
            )
    return found


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """What a library says of a file, as an error of ours; no value is in it.

    Raises:
        FeatureError: it is not there, may not be read, or is damaged.
    """
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError:
        raise FeatureError(f"{file}: no such file; check the path") from None
    except IsADirectoryError:
        raise FeatureError(f"{file}: is a folder; name a file") from None
    except PermissionError:
        raise FeatureError(f"{file}: may not be read; ask its owner for permission") from None
    except ReadingError as problem:
        raise FeatureError(str(problem)) from None
    except MemoryError:
        raise
    except pa.ArrowNotImplementedError:  # Arrow's word for a layout that it can only read whole
        raise FeatureError(
            f"{file}: has a column of a layout that cannot be read in pieces, as a dictionary within an object; write it "
            "again without"
        ) from None
    except (pa.ArrowException, OSError, ValueError):
        raise FeatureError(
            f"{file}: is damaged, cut off, encrypted or of an unknown kind of Parquet; write it again"
        ) from None


def _footer(file: Path) -> tuple["pa.Schema", int, int]:
    """Schema, number of rows, and their bytes before they were compressed."""
    import pyarrow.parquet as pq

    if file.suffix.lower() != PARQUET:
        raise FeatureError(f"{file}: is no Parquet file; of several files each is to be one")
    with readable(file):
        with file.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
            if not head:
                raise FeatureError(f"{file}: is empty (0 bytes); write it again")
            stream.seek(-min(_MARK_BYTES, file.stat().st_size), 2)
            refuse_foreign_form(head + stream.read(), PARQUET, name=str(file))
        with pq.ParquetFile(file) as parquet:
            schema = without_views(parquet.schema_arrow)
            refuse_repeated_names(schema.names, name=str(file), is_named=True)
            groups = range(parquet.metadata.num_row_groups)
            unpacked = sum(parquet.metadata.row_group(at).total_byte_size for at in groups)
            return schema, parquet.metadata.num_rows, unpacked


def _either_nullable(left: "pa.Schema", right: "pa.Schema") -> "pa.Schema":
    """The schema of rows of both: null is in a column where it may be in one of them."""
    import pyarrow as pa

    fields = [
        one.with_nullable(one.nullable or other.nullable) for one, other in zip(left, right, strict=True)
    ]
    return pa.schema(fields, metadata=left.metadata)


def without_views(schema: "pa.Schema") -> "pa.Schema":
    """The same with texts and bytes that lie one behind the other: Arrow can neither sort nor choose views of them."""
    import pyarrow as pa

    for at, column in enumerate(schema):
        schema = schema.set(at, column.with_type(_without_views_type(column.type, pa)))
    return schema


def _without_views_type(kind: "pa.DataType", pa: Any) -> "pa.DataType":
    def plain(field: "pa.Field") -> "pa.Field":
        return field.with_type(_without_views_type(field.type, pa))

    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_struct(kind):
        return pa.struct([plain(each) for each in kind])
    if pa.types.is_map(kind):
        return pa.map_(plain(kind.key_field), plain(kind.item_field), keys_sorted=kind.keys_sorted)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        make = pa.list_ if pa.types.is_list(kind) else pa.large_list
        return make(plain(kind.value_field))
    return kind


def _difference(left: "pa.Schema", right: "pa.Schema") -> str | None:
    for at, (one, other) in enumerate(zip(left, right, strict=False), start=1):
        if one.name != other.name:
            return (
                f"column {at} is {shown_name(other.name)}, and {shown_name(one.name)} in the file before it"
            )
        if one.type != other.type:
            return f"column {shown_name(one.name)} is {other.type}, and {one.type} in the file before it"
    if len(left) != len(right):
        return f"has {len(right)} columns, and the file before it has {len(left)}"
    return None


def _read_whole(file: Path, spec: ReadColumns, fitted: "FittedTransformer | None") -> RowFiles:
    if file.suffix.lower() not in FORMATS:
        raise FeatureError(
            f"{file}: format {file.suffix or 'without ending'!r} is unknown; give a file ending in {', '.join(FORMATS)}"
        )
    with readable(file):
        content = file.read_bytes()
    return replace(rows_of_bytes(content, file.suffix, spec, name=str(file), fitted=fitted), files=(file,))


def _chunks_of(
    file: Path,
    schema: "pa.Schema",
    names: list[str],
    batch_rows: int,
    threads: int,
    row_groups: tuple[int, int] | None,
) -> Iterator["pa.Table"]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = pa.schema([schema.field(name) for name in names], metadata=schema.metadata)
    with readable(file), pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES) as parquet:
        options: dict[str, Any] = {"batch_size": batch_rows, "use_threads": threads > 1}
        if row_groups is not None:
            options["row_groups"] = range(*row_groups)
        # All of them by no name: Parquet's names of nested columns are paths, which others may equal.
        chosen = None if names == schema.names else names
        # Nor more: by a name with a dot, a field of an object comes along.
        batches = (batch.select(names) for batch in parquet.iter_batches(columns=chosen, **options))
        columns = [parquet.schema.column(at) for at in range(len(parquet.schema))]
        old = [
            column.path
            for column in columns
            if column.physical_type == _OLD_TIME
            and column.path in names
            and pa.types.is_timestamp(wanted.field(column.path).type)
        ]
        if not old:
            for batch in batches:
                yield pa.Table.from_batches([batch]).cast(wanted)
            return
        with pq.ParquetFile(
            file, pre_buffer=False, buffer_size=_BUFFER_BYTES, coerce_int96_timestamp_unit="us"
        ) as rough:
            for batch, coarse in zip(batches, rough.iter_batches(columns=old, **options), strict=True):
                _refuse_wrapped(batch, coarse.select(old), file)
                yield pa.Table.from_batches([batch]).cast(wanted)


def _refuse_wrapped(fine: "pa.RecordBatch", coarse: "pa.RecordBatch", file: Path) -> None:
    """Times of the old type INT96 are read as nanoseconds, which wrap around outside 1677 to 2262."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in coarse.schema.names:
        down = pc.floor_temporal(fine.column(name), unit="microsecond").cast(coarse.schema.field(name).type)
        if not pc.all(pc.equal(down.cast(pa.int64()), coarse.column(name).cast(pa.int64()))).as_py() and len(
            fine
        ):
            raise FeatureError(
                f"{file}: column {shown_name(name)} has times of the old type INT96 outside 1677 to 2262; write it again"
            )
