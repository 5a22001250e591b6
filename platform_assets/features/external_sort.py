"""Rows in the order of entity and time, however many there are: sorted runs on disk, merged a block of each at a time.

The sort is stable: rows of one entity and instant stay in the order in which they came. Runs are made of rows in that
order and merged in it, so that neither a run nor a block needs a number of its rows. An entity may have more rows than
the memory holds.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

_LARGEST_RUN_BYTES: Final = 1 << 30
"""Arrow's texts have offsets of 32 bits."""
_CODES_A_ROW: Final = 4


class Keys(NamedTuple):
    """What rows are sorted by."""

    entity: "pa.Array"
    """Without null; its values have the order that Arrow sorts them in."""
    time_us: NDArray[np.int64]
    """Microseconds since 1970, UTC; shape (rows,)."""


KeysOf = Callable[["pa.Table"], Keys]


@dataclass(frozen=True, slots=True)
class SortBudget:
    """How much may lie in memory at once."""

    run_bytes: int
    """Of the rows that are sorted at once, which take as much again while they are."""
    fan_in: int = 64
    """Most runs that are merged at once: of each, a block lies in memory."""
    fewest_block_rows: int = 1 << 10
    """Blocks are not made smaller than this."""

    @property
    def bounded_run_bytes(self) -> int:
        """Of a run at most."""
        return max(1, min(self.run_bytes, _LARGEST_RUN_BYTES))


def sort_order(keys: Keys) -> NDArray[np.int64]:
    """Positions of rows in the order of entity, time and where they stand; shape (rows,)."""
    from platform_assets.features import window_kernels

    codes, count = _dense(entity_ranks(keys.entity))
    order: NDArray[np.int64] = window_kernels.grouped(codes, count)
    bounds = np.append(0, np.cumsum(np.bincount(codes, minlength=count)))
    window_kernels.order_by_time(keys.time_us[order], bounds, order)
    return order


def entity_ranks(entity: "pa.Array") -> NDArray[np.int64]:
    """Numbers that are in the order of the entities, equal where these are; shape (rows,)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ranks: NDArray[np.int64]
    if pa.types.is_string_view(entity.type):
        entity = entity.cast(pa.large_string())
    if pa.types.is_signed_integer(entity.type):
        ranks = np.asarray(entity.cast(pa.int64()))
    else:
        encoded = entity if pa.types.is_dictionary(entity.type) else entity.dictionary_encode()
        of_values = np.asarray(pc.rank(encoded.dictionary, "ascending", tiebreaker="dense"), np.int64)
        ranks = of_values[np.asarray(encoded.indices)]
    return ranks


def _dense(ranks: NDArray[np.int64]) -> tuple[NDArray[np.int32], int]:
    """The same order in numbers from 0 on, and how many those are: no more than a few for each row."""
    import pyarrow as pa

    if not ranks.size:
        return ranks.astype(np.int32), 0
    least, most = int(ranks.min()), int(ranks.max())
    if most - least < _CODES_A_ROW * ranks.size:
        return (ranks - least).astype(np.int32), most - least + 1
    encoded = pa.array(ranks).dictionary_encode()
    distinct = np.asarray(encoded.dictionary)
    places = np.empty(distinct.size, np.int32)
    places[np.argsort(distinct)] = np.arange(distinct.size, dtype=np.int32)
    return places[np.asarray(encoded.indices)], distinct.size


class Disorder:
    """Looks for the first row that comes before the one in front of it: entities rise, and the times of one do not fall."""

    def __init__(self) -> None:
        self.row: int | None = None
        """Its number, from 1; None where all are in order."""
        self.first: tuple[Any, int] | None = None
        """Key of the first one that was looked at."""
        self.last: tuple[Any, int] | None = None
        """Key of the last one; of no use where rows are out of order."""
        self._seen = 0

    def look(self, keys: Keys) -> None:
        """At the next rows."""
        count = len(keys.time_us)
        if self.row is not None or not count:
            return
        ranks, times = entity_ranks(keys.entity), keys.time_us
        begin = keys.entity[0].as_py(), int(times[0])
        if self.last is not None and begin < self.last:
            self.row = self._seen + 1
            return
        self.first = begin if self.first is None else self.first
        falls = (ranks[1:] < ranks[:-1]) | ((ranks[1:] == ranks[:-1]) & (times[1:] < times[:-1]))
        if falls.any():
            self.row = self._seen + int(falls.argmax()) + 2
        self.last = keys.entity[count - 1].as_py(), int(times[-1])
        self._seen += count


class SortedRows:
    """The rows of chunks in order; what does not fit into memory goes through a folder.

    Args:
        chunks: Rows of one schema.
        keys_of: What they are sorted by.
        scratch: The folder, made where it is needed; whoever gives it removes it.
        budget: How much may lie in memory.
    """

    def __init__(
        self,
        chunks: Iterable["pa.Table"],
        keys_of: KeysOf,
        *,
        scratch: Path,
        budget: SortBudget,
    ) -> None:
        self.runs = 0
        """How many were made on disk; 0 where all rows fitted into memory."""
        self._chunks, self._keys_of, self._scratch, self._budget = chunks, keys_of, scratch, budget

    def chunks(
        self, *, batch_rows: int, told: Callable[[int], object] = lambda _: None
    ) -> Iterator["pa.Table"]:
        """The rows in order.

        Args:
            batch_rows: Most rows of a chunk.
            told: Is called with the number of rows that have been taken in, again and again.
        """
        import pyarrow as pa

        files: list[Path] = []
        waiting: list[pa.Table] = []
        waiting_bytes = 0
        for chunk in self._chunks:
            waiting.append(chunk)
            waiting_bytes += chunk.nbytes
            told(chunk.num_rows)
            if waiting_bytes >= self._budget.bounded_run_bytes:
                files.append(self._write_run(waiting))
                waiting, waiting_bytes = [], 0
        if not files:
            if waiting:
                yield from self._sorted(waiting, batch_rows)
            return
        if waiting:
            files.append(self._write_run(waiting))
            waiting = []
        pa.default_memory_pool().release_unused()
        while len(files) > self._budget.fan_in:
            groups = [
                files[at : at + self._budget.fan_in] for at in range(0, len(files), self._budget.fan_in)
            ]
            files = [self._merged_run(group) if len(group) > 1 else group[0] for group in groups]
        for merged in self._merged(files):
            for start in range(0, merged.num_rows, batch_rows):
                yield merged.slice(start, batch_rows)

    def _sorted(self, waiting: list["pa.Table"], batch_rows: int) -> Iterator["pa.Table"]:
        """The rows of these chunks in order; the list is emptied, to free what lies in it."""
        import pyarrow as pa

        table = pa.concat_tables(waiting)
        waiting.clear()
        order = sort_order(self._keys_of(table))
        table = in_one_piece(table)
        for start in range(0, table.num_rows, batch_rows):
            yield table.take(pa.array(order[start : start + batch_rows]))

    def _write_run(self, waiting: list["pa.Table"]) -> Path:
        rows = sum(chunk.num_rows for chunk in waiting)
        # When runs are merged, a block of each lies in memory, and together they are to take no more than a run.
        block_rows = max(self._budget.fewest_block_rows, rows // self._budget.fan_in)
        return self._write(self._sorted(waiting, block_rows))

    def _merged_run(self, group: list[Path]) -> Path:
        merged = self._write(self._merged(group))
        for file in group:
            file.unlink()
        return merged

    def _write(self, blocks: Iterable["pa.Table"]) -> Path:
        import pyarrow as pa

        self._scratch.mkdir(exist_ok=True)
        file = self._scratch / f"run-{self.runs:06}.arrows"
        self.runs += 1
        writer = None
        with pa.OSFile(str(file), "wb") as sink:
            try:
                for block in blocks:
                    # As a stream: each block may have dictionaries of its own.
                    writer = writer or pa.ipc.new_stream(sink, block.schema)
                    writer.write_table(block)
            finally:
                if writer is not None:
                    writer.close()
        return file

    def _merged(self, files: list[Path]) -> Iterator["pa.Table"]:
        """The rows of runs in order; of equal keys, those of an earlier run first."""
        import pyarrow as pa

        heads = [_Head(file, self._keys_of) for file in files]
        try:
            while heads := [head for head in heads if head.fill()]:
                if len(heads) == 1:
                    yield heads[0].take(heads[0].rows)
                    continue
                # Up to the least of the last keys that are known, all rows are there. Behind a last key that is
                # equal, its run may have more, and those come before the equal ones of later runs.
                horizon, first = min((head.last, at) for at, head in enumerate(heads))
                parts = [
                    head.take(head.count_up_to(horizon, including=at <= first))
                    for at, head in enumerate(heads)
                ]
                parts = [part for part in parts if part.num_rows]
                together = pa.concat_tables(parts)
                if len(parts) > 1:
                    order = sort_order(self._keys_of(together))
                    together = in_one_piece(together).take(pa.array(order))
                yield together
        finally:
            for head in heads:
                head.close()


class _Head:
    """The rows of a run that are in memory: its next block, or what is left of it."""

    def __init__(self, file: Path, keys_of: KeysOf) -> None:
        import pyarrow as pa

        self._source = pa.OSFile(str(file))
        self._batches = pa.ipc.open_stream(self._source)
        self._keys_of = keys_of
        self._table: pa.Table | None = None
        self._keys: Keys | None = None
        self._start = 0

    @property
    def rows(self) -> int:
        """How many there are."""
        return 0 if self._keys is None else len(self._keys.time_us) - self._start

    @property
    def last(self) -> tuple[Any, int]:
        """The key of the last one."""
        keys = self._known()
        return keys.entity[len(keys.entity) - 1].as_py(), int(keys.time_us[-1])

    def fill(self) -> bool:
        """Whether there are rows, after the next block has been read where there were none."""
        import pyarrow as pa

        while not self.rows:
            try:
                batch = self._batches.read_next_batch()
            except StopIteration:
                self.close()
                return False
            self._table = pa.Table.from_batches([batch])
            self._keys, self._start = self._keys_of(self._table), 0
        return True

    def count_up_to(self, key: tuple[Any, int], *, including: bool) -> int:
        """How many rows, from the next one on, come before this key, or are of it."""
        entity, time_us = key
        keys = self._known()
        first = _bisected(bisect_left, keys.entity, entity, self._start)
        behind = _bisected(bisect_right, keys.entity, entity, first)
        side: Any = "right" if including else "left"
        return first + int(np.searchsorted(keys.time_us[first:behind], time_us, side)) - self._start

    def take(self, count: int) -> "pa.Table":
        """So many rows, which are not in it any more."""
        if self._table is None:
            raise AssertionError("nothing was read")
        taken = self._table.slice(self._start, count)
        self._start += count
        return taken

    def close(self) -> None:
        """Read no more."""
        self._table = self._keys = None
        self._source.close()

    def _known(self) -> Keys:
        if self._keys is None:
            raise AssertionError("nothing was read")
        return self._keys


def _bisected(bisect: Any, entity: "pa.Array", value: Any, start: int) -> int:
    position: int = bisect(range(len(entity)), value, lo=start, key=lambda at: entity[at].as_py())
    return position


def in_one_piece(table: "pa.Table") -> "pa.Table":
    """The same rows, each column in one piece; a column at a time, so that no two copies of all lie in memory."""
    table = table.unify_dictionaries()
    for at, field in enumerate(table.schema):
        table = table.set_column(at, field, table.column(at).combine_chunks())
    return table
