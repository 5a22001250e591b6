"""Rows that come once and are read several times: in memory, and on disk where they become many."""

from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, Final

from platform_assets.datasets.scratch_file import scratch_file
from resources.row_batches import RowBatches

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_BYTES: Final = 64 << 20
"""Of rows in memory."""
_BATCH_ROWS: Final = 1 << 16


class RowSpool:
    """Rows in the order in which they were added.

    Args:
        schema: Of all of them.
        most_bytes: In memory; beyond, all lie in a file.
    """

    def __init__(self, schema: "pa.Schema", *, most_bytes: int = _MOST_BYTES) -> None:
        self._schema, self._most_bytes = schema, most_bytes
        self._batches: list[pa.RecordBatch] = []
        self._bytes = self._rows = 0
        self._file: IO[bytes] | None = None
        self._writer: Any = None

    def add(self, rows: "pa.RecordBatch") -> None:
        """The next rows."""
        self._rows += rows.num_rows
        for start in range(0, rows.num_rows, _BATCH_ROWS):
            part = rows.slice(start, _BATCH_ROWS)
            if self._writer is not None:
                self._writer.write_batch(part)
                continue
            self._batches.append(part)
            self._bytes += part.nbytes
            if self._bytes > self._most_bytes:
                self._spill()

    def rows(self) -> RowBatches:
        """All rows, from the first one on; none is added from now on."""
        if self._writer is not None:
            self._writer.close()
        return RowBatches(self._schema, self._rows, self._scan)

    def _spill(self) -> None:
        import pyarrow as pa

        self._file = scratch_file(self)
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._writer = pa.ipc.new_file(self._file, self._schema, options=options)
        for batch in self._batches:
            self._writer.write_batch(batch)
        self._batches = []

    def _scan(self, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        import pyarrow as pa

        if self._file is None:
            for batch in self._batches:
                yield batch.select(list(columns))
            return
        # Of a batch only what is asked for is read.
        wanted = [self._schema.get_field_index(name) for name in columns]
        opened = pa.ipc.open_file(self._file, options=pa.ipc.IpcReadOptions(included_fields=wanted))
        for at in range(opened.num_record_batches):
            yield opened.get_batch(at).select(list(columns))
