"""Files of rows, read a column at a time."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from platform_assets.drift.column_types import is_text
from platform_assets.drift.csv_types import typed
from platform_assets.drift.errors import DriftError
from platform_assets.reading.errors import ReadingError
from platform_assets.reading.table import read_table
from platform_assets.reading.texts import refuse_repeated_names

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


_CSV: Final = ".csv"
_PARQUET: Final = ".parquet"
_READ_WHOLE: Final = (_CSV, ".jsonl")


class ColumnFile(Protocol):
    """A file of rows."""

    @property
    def rows(self) -> int:
        """How many there are."""
        ...

    @property
    def types(self) -> "dict[str, pa.DataType]":
        """By column, in the file's order."""
        ...

    @property
    def odd(self) -> Mapping[str, str]:
        """Why columns cannot be compared whatever the other file holds, where they cannot."""
        ...

    @property
    def texts(self) -> "Mapping[str, pa.ChunkedArray]":
        """Columns as the file has them, where their type is but what all their texts could be read as."""
        ...

    def column(self, name: str) -> "pa.ChunkedArray":
        """All values of one."""
        ...

    def pieces(self, name: str) -> "Iterator[pa.Array]":
        """The same, piece by piece; one is in memory at a time where the file allows it."""
        ...


@contextmanager
def opened(path: Path) -> Iterator[ColumnFile]:
    """The file, until the end of the context: Parquet, which is read column by column, csv or JSON Lines.

    A column of csv is one of numbers or times where every field that is not empty is one, as `typed` has it.

    Raises:
        DriftError: It cannot be read, or has a column twice.
    """
    with ExitStack() as until_closed:
        with _named(path):
            suffix = path.suffix.lower()
            if suffix in _READ_WHOLE or _has_old_times(path):
                form = suffix if suffix in _READ_WHOLE else _PARQUET
                table = read_table(path.read_bytes(), form, name=str(path))
                file: ColumnFile = _of_csv(table) if suffix == _CSV else _Table(table)
            else:
                file = _Parquet(path, until_closed.enter_context(_parquet(path)))
        yield file


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Says of an error which file it is about, and nothing of what it holds."""
    import pyarrow as pa

    try:
        yield
    except ReadingError as problem:
        raise DriftError(str(problem)) from None
    except OSError as problem:
        reason = problem.strerror or "damaged, or no Parquet file"
        raise DriftError(f"{path} cannot be read: {reason}") from None
    except pa.ArrowException:
        raise DriftError(f"{path} cannot be read: damaged, or no Parquet file") from None


def _has_old_times(path: Path) -> bool:
    """Whether a column is of the type whose times wrap around unless one takes care."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as outline:
        columns = map(outline.schema.column, range(len(outline.schema)))
        return any(column.physical_type == "INT96" for column in columns)


@contextmanager
def _parquet(path: Path) -> "Iterator[pq.ParquetFile]":
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as outline:
        schema = outline.schema_arrow
        refuse_repeated_names(schema.names, name=str(path), is_named=True)
    # As dictionaries, texts that come often are held once. Read in advance, the whole file would be in memory.
    texts = [field.name for field in schema if is_text(field.type)]
    with pq.ParquetFile(path, read_dictionary=texts, pre_buffer=False) as file:
        yield file


@dataclass(frozen=True, slots=True)
class _Parquet:
    path: Path
    file: "pq.ParquetFile"
    odd: Mapping[str, str] = field(default_factory=dict)
    texts: "Mapping[str, pa.ChunkedArray]" = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return int(self.file.metadata.num_rows)

    @property
    def types(self) -> "dict[str, pa.DataType]":
        return {field.name: field.type for field in self.file.schema_arrow}

    def column(self, name: str) -> "pa.ChunkedArray":
        with _named(self.path):
            # By the name `a.b` Parquet's reader gives the child b of a column a as well.
            return self.file.read([name], use_threads=False).column(name)

    def pieces(self, name: str) -> "Iterator[pa.Array]":
        batches = self.file.iter_batches(columns=[name], use_threads=False)
        while True:
            with _named(self.path):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch.column(name)


@dataclass(frozen=True, slots=True)
class _Table:
    table: "pa.Table"
    odd: Mapping[str, str] = field(default_factory=dict)
    texts: "Mapping[str, pa.ChunkedArray]" = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return int(self.table.num_rows)

    @property
    def types(self) -> "dict[str, pa.DataType]":
        return {field.name: field.type for field in self.table.schema}

    def column(self, name: str) -> "pa.ChunkedArray":
        return self.table[name]

    def pieces(self, name: str) -> "Iterator[pa.Array]":
        yield from self.table[name].chunks


def _of_csv(texts: "pa.Table") -> _Table:
    import pyarrow as pa

    found = {name: typed(texts[name]) for name in texts.column_names}
    odd = {name: because for name, (_, because) in found.items() if because is not None}
    as_read = {name: texts[name] for name in texts.column_names}
    return _Table(pa.table({name: values for name, (values, _) in found.items()}), odd, as_read)
