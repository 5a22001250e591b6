"""Rows of one schema that come in batches, as often as they are asked for: of a table in memory, or of one that never is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class RowBatches:
    """Rows in a fixed order. Each scan begins with the first one."""

    schema: "pa.Schema"
    num_rows: int
    scan: "Callable[[Sequence[str]], Iterator[pa.RecordBatch]]"
    """The batches, of these columns in this order."""

    @classmethod
    def of(cls, rows: "pa.Table | Self") -> Self:
        """The rows of a table in memory, in the chunks that it has; batches are what they are."""
        if isinstance(rows, cls):
            return rows
        table: pa.Table = rows

        def scan(columns: "Sequence[str]") -> "Iterator[pa.RecordBatch]":
            yield from table.select(list(columns)).to_batches()

        return cls(table.schema, table.num_rows, scan)

    def batches(self, columns: "Sequence[str] | None" = None) -> "Iterator[pa.RecordBatch]":
        """The rows from the first one on, of these columns in this order; of all for None."""
        return self.scan(self.schema.names if columns is None else columns)

    def read(self, columns: "Sequence[str] | None" = None) -> "pa.Table":
        """The rows as one table in memory."""
        import pyarrow as pa

        names = self.schema.names if columns is None else columns
        schema = pa.schema([self.schema.field(name) for name in names])
        return pa.Table.from_batches(self.batches(names), schema)
