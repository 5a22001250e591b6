"""Features joined to label rows as of the time of each: in tables, or in files of any size on both sides.

A label row gets the newest feature row of its entity that was of a time before its own, and available before it; with
`include_current` of its own time, too. Every label row comes out, in its order, with nulls where nothing was known. What
is newer, `newest_known` says; a null in the newest row stays null.

Label rows are taken a block at a time, and of a block nothing but its keys lies in memory. Feature rows come past it in
any order: once for their keys, which tells the rows that are wanted, and once more for these alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from platform_assets.features.external_sort import SortBudget, in_one_piece
from platform_assets.features.fitting import OnProgress
from platform_assets.features.history import counted
from platform_assets.features.join_inputs import FeatureTable, KeyRows, Labels, read_keys, refuse_unjoinable
from platform_assets.features.memory_budget import Budget
from platform_assets.features.newest_known import LABEL_BYTES, NewestKnown, Outcomes, SortedLabels
from platform_assets.features.overlap import read_ahead
from platform_assets.features.row_chunks import chunks_of
from platform_assets.features.row_files import RowFiles, rows_of_table, without_views
from platform_assets.features.row_weights import Weights, row_weights
from platform_assets.features.table_columns import decoded

if TYPE_CHECKING:
    import pyarrow as pa

_PAIR_BYTES: Final = 256
"""That a label row takes, at most, for each column that names its entity besides the first, as measured."""
_COPIES: Final = 2
"""Of features that are kept, while they are put into one piece."""
_FEWEST_ROWS: Final = 16
"""Blocks are not divided below this."""
_MOST_BYTES: Final = 1 << 29
"""Of features in one piece: offsets of Arrow's texts and lists have 31 bits."""
_UNBOUNDED: Final = Budget(1 << 40, SortBudget(run_bytes=1 << 60))


@dataclass
class Join:
    """The label rows with their features, chunk by chunk."""

    labels: Labels
    features: Sequence[FeatureTable]
    budget: Budget
    threads: int = 1
    on_progress: OnProgress = lambda *_: None
    blocks: int = 0
    """Of label rows so far: as often each table of features has been read."""
    outcomes: list[Outcomes] = field(default_factory=list)
    """Of the label rows so far, for each table of features."""

    def __post_init__(self) -> None:
        self.features = [replace(each, rows=_choosable(each.rows)) for each in self.features]
        refuse_unjoinable(self.labels, self.features)
        self.budget = replace(self.budget, batch_bytes=min(self.budget.batch_bytes, _MOST_BYTES))
        self.outcomes = [Outcomes() for _ in self.features]

    @property
    def added(self) -> "list[pa.Field]":
        """The columns that stand behind those of the labels."""
        import pyarrow as pa

        return [
            pa.field(output, table.rows.schema.field(name).type)
            for table in self.features
            for name, output in table.features(self.labels.entity).items()
        ]

    def chunks(self) -> Iterator["pa.Table"]:
        """All label rows, in their order.

        Raises:
            FeatureError: a row says not whose it is, or of when; the message names the file, the column and the row.
        """
        blocks = self._blocks()
        block: _Block | None = None
        for chunk in chunks_of(self.labels.rows, budget=self.budget, threads=self.threads):
            rest = chunk
            while rest.num_rows:
                if block is None or not block.rows_left:
                    block = None  # before the next one is made: memory holds one
                    block = next(blocks)
                count = block.fitting(rest.num_rows, self.budget.batch_bytes)
                yield block.joined(rest.slice(0, count), self.added)
                rest = rest.slice(count)

    def _blocks(self) -> Iterator["_Block"]:
        import pyarrow as pa

        labels = self.labels
        names = [*labels.entity, labels.time]
        row_bytes = LABEL_BYTES + _PAIR_BYTES * (len(labels.entity) - 1)
        row_bytes += sum(2 * int(self._payload_bytes(table)) for table in self.features)
        waiting: list[pa.Table] = []
        start = rows = size = 0
        told = counted(self.on_progress, "looking up", labels.rows.rows)
        chunks = chunks_of(labels.rows, names, budget=self.budget, threads=self.threads)
        while True:
            chunk = next(chunks, None)
            if chunk is not None:
                waiting.append(chunk)
                rows, size = rows + chunk.num_rows, size + 2 * chunk.nbytes + row_bytes * chunk.num_rows
            if rows and (chunk is None or size >= self._block_bytes):
                block = pa.concat_tables(waiting)
                waiting.clear()
                yield from self._of_rows(block, start)
                told(rows)
                start, rows, size = start + rows, 0, 0
            if chunk is None:
                return

    @property
    def _block_bytes(self) -> int:
        # As much as a run of a sort, though nothing is sorted meanwhile: with twice that, a process came to 4 % more than
        # its limit, and was no faster.
        return self.budget.sort.run_bytes

    def _payload_bytes(self, table: FeatureTable) -> float:
        """Of a feature row that is kept; those of a table in memory are there already."""
        if table.rows.table is not None:
            return 0.0
        return table.rows.row_bytes(list(table.features(self.labels.entity))).most

    def _of_rows(self, keys: "pa.Table", start: int) -> Iterator["_Block"]:
        """The block of these label rows; several, where their features are larger than was expected."""
        labels = self.labels
        try:
            made = self._looked_up(
                read_keys(labels.rows, keys, labels.entity, labels.time, None, start=start),
                may_be_divided=keys.num_rows > _FEWEST_ROWS,
            )
        except _TooLargeError:
            half = keys.num_rows // 2
            yield from self._of_rows(keys.slice(0, half), start)
            yield from self._of_rows(keys.slice(half), start + half)
            return
        yield made

    def _looked_up(self, keys: KeyRows, *, may_be_divided: bool) -> "_Block":
        self.blocks += 1
        ordered = SortedLabels(keys, include_current=self.labels.include_current)
        room = min(self._block_bytes, _COPIES * _MOST_BYTES) if may_be_divided else 1 << 62
        known, outcomes = [], []
        for table in self.features:
            rows, outcome = self._newest(table, ordered)
            outcomes.append(outcome)
            known.append(self._kept(table, rows, room))
            room -= known[-1].nbytes
        self.outcomes = [before + new for before, new in zip(self.outcomes, outcomes, strict=True)]
        return _Block(known, keys.times.size)

    def _newest(self, table: FeatureTable, labels: SortedLabels) -> tuple[NDArray[np.int64], Outcomes]:
        """The number of each label row's feature row, as the labels came."""
        newest, rows, entity = NewestKnown(labels), table.rows, self.labels.entity
        told = counted(self.on_progress, f"looking through {rows.name}", rows.rows)
        chunks = chunks_of(rows, table.keys(entity), budget=self.budget, threads=self.threads)
        seen = 0
        with read_ahead(chunks, threads=self.threads) as ready:
            for chunk in ready:
                newest.offer(read_keys(rows, chunk, entity, table.time, table.available, start=seen))
                seen += chunk.num_rows
                told(chunk.num_rows)
        return newest.answers(table.max_age_us)

    def _kept(self, table: FeatureTable, answers: NDArray[np.int64], room: int) -> "_Known":
        """The features of these rows."""
        import pyarrow as pa

        names, rows = list(table.features(self.labels.entity)), table.rows
        if rows.table is not None and (features := rows.table.select(names)).nbytes <= _MOST_BYTES:
            return _Known(features, answers, 0)
        is_known = answers >= 0
        wanted, places = np.unique(answers[is_known], return_inverse=True)
        answers[is_known] = places
        parts: list[pa.Table] = [rows.schema.empty_table().select(names)]
        if not wanted.size:
            return _Known(parts[0], answers, 0)
        told = counted(self.on_progress, f"taking from {rows.name}", rows.rows)
        seen = size = 0
        with read_ahead(
            chunks_of(rows, names, budget=self.budget, threads=self.threads), threads=self.threads
        ) as ready:
            for chunk in ready:
                begin, end = np.searchsorted(wanted, (seen, seen + chunk.num_rows))
                if begin < end:
                    parts.append(chunk.take(pa.array(wanted[begin:end] - seen)))
                    size += _COPIES * parts[-1].nbytes
                if size > room:
                    raise _TooLargeError
                seen += chunk.num_rows
                told(chunk.num_rows)
        return _Known(in_one_piece(pa.concat_tables(parts)), answers, size)


def _choosable(rows: RowFiles) -> RowFiles:
    """The same rows, of which Arrow can choose some, from many pieces: without views, and with room in dictionaries."""
    import pyarrow as pa

    schema = without_views(rows.schema)
    for at, column in enumerate(schema):
        if pa.types.is_dictionary(column.type):
            kind = pa.dictionary(pa.int32(), column.type.value_type, column.type.ordered)
            schema = schema.set(at, column.with_type(kind))
    if rows.table is None:
        return replace(rows, schema=schema)
    table = rows.table
    for at, column in enumerate(table.columns):
        if pa.types.is_dictionary(column.type) and any(each.dictionary.null_count for each in column.chunks):
            table = table.set_column(at, schema.field(at), decoded(column).dictionary_encode())
    return rows_of_table(table.cast(schema), name=rows.name)


class _TooLargeError(Exception):
    """The features of so many label rows do not fit into memory."""


@dataclass(slots=True)
class _Known:
    """Feature rows, and which of them each label row has."""

    features: "pa.Table"
    places: NDArray[np.int64]
    """-1: none."""
    nbytes: int
    weights: Weights | None = field(init=False)
    """Bytes of each feature row; None where they are alike, and as small as the budget thinks."""

    def __post_init__(self) -> None:
        self.weights = row_weights(self.features)


@dataclass
class _Block:
    """What is known for some label rows, the first of which have been taken already."""

    known: list[_Known]
    rows: int
    taken: int = 0

    @property
    def rows_left(self) -> int:
        return self.rows - self.taken

    def fitting(self, rows: int, most_bytes: int) -> int:
        """How many of the next label rows, up to so many, have features that take no more than that; one at least."""
        rows = min(rows, self.rows_left)
        total = np.zeros(rows, np.int64)
        for each in self.known:
            if each.weights is not None and each.weights.size:
                places = each.places[self.taken : self.taken + rows]
                total += np.where(places < 0, 0, each.weights[places])
        return max(1, int(np.searchsorted(np.cumsum(total), most_bytes, side="right")))

    def joined(self, labels: "pa.Table", added: "list[pa.Field]") -> "pa.Table":
        """The next label rows with their features."""
        import pyarrow as pa

        columns: list[pa.ChunkedArray] = []
        for each in self.known:
            places = each.places[self.taken : self.taken + labels.num_rows]
            columns += each.features.take(pa.array(places, mask=places < 0)).columns
        self.taken += labels.num_rows
        for column, values in zip(added, columns, strict=True):
            labels = labels.append_column(column, values)
        return labels


def point_in_time_join(
    labels: "pa.Table",
    features: Sequence[FeatureTable],
    *,
    entity: Sequence[str],
    time: str,
    include_current: bool = False,
) -> "pa.Table":
    """The label rows, in their order, with the features that were known at the time of each behind them.

    Args:
        labels: With the columns of entity and time.
        features: Tables of features, e.g. `FeatureTable(rows_of_table(table, name="scores"), "scored_at")`.
        entity: Columns that name whose a row is, on both sides: texts or integers.
        time: The column of the time at which features are to be known. A time without a zone is UTC.
        include_current: Whether what became available at that very time counts.

    Raises:
        FeatureError: a column is missing, of another type or has a name that is taken; an entity or a time is null. The
            message names the table, the column and the first row, and no value.

    Example:
        >>> import pyarrow as pa
        >>> from platform_assets.features.join_inputs import FeatureTable
        >>> from platform_assets.features.row_files import rows_of_table
        >>> scores = pa.table({"who": ["a", "a"], "at": ["2024-05-01", "2024-05-03"], "score": [1, 2]})
        >>> asked = pa.table({"who": ["b", "a"], "when": ["2024-05-02", "2024-05-03"]})
        >>> found = point_in_time_join(
        ...     asked, [FeatureTable(rows_of_table(scores, name="scores"), "at")], entity=["who"], time="when"
        ... )
        >>> found["score"].to_pylist()
        [None, 1]
    """
    rows = rows_of_table(labels, name="labels")
    return joined_tables(Labels(rows, tuple(entity), time, include_current), features)[0]


def joined_tables(labels: Labels, features: Sequence[FeatureTable]) -> "tuple[pa.Table, list[Outcomes]]":
    """As `point_in_time_join`, and what became of the label rows, for each table of features.

    Args:
        labels: With their rows in memory.
        features: Likewise.

    Raises:
        FeatureError: as `point_in_time_join`.
    """
    import pyarrow as pa

    join = Join(labels, features, _UNBOUNDED)
    given = labels.rows.schema
    schema = pa.schema([*given, *join.added], metadata=given.metadata)
    chunks = list(join.chunks())
    return pa.concat_tables(chunks) if chunks else schema.empty_table(), join.outcomes
