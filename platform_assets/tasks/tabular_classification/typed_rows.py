"""The rows of a table's sources with the types that a spec gives them, read once and part by part.

Typed columns lie in a `RowSpool`; what decides about a row (its label, its time, whom it is of) is read from there column by
column, a few bytes a row. Whatever is refused is told as where a source is one part: of several problems the one that would
be met first, with all rows that have it.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from platform_assets.datasets.errors import DatasetError, WrongRowsError
from platform_assets.datasets.ingestion import SPLITS, RawSource
from platform_assets.datasets.row_groups import RowGroups
from platform_assets.datasets.row_spool import RowSpool
from platform_assets.datasets.splits import GUARD
from platform_assets.tasks.tabular_classification.derived import with_derived
from platform_assets.tasks.tabular_classification.spec import ROW_ID, TableDatasetSpec
from platform_assets.tasks.tabular_classification.values import (
    Zeros,
    numbers,
    plain_texts,
    text_of,
    texts,
    times,
)
from resources.row_batches import RowBatches

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SPLIT_CODES: Final = {split: code for code, split in enumerate((*SPLITS, GUARD))}
"""A byte for each split."""
NO_LABEL: Final = -1
"""Of a row whose target has no value."""
_ZerosOfColumns = defaultdict[tuple[str, str], Zeros]
"""By what they are read for, and column."""
_CLASSES: Final = 2


@dataclass(frozen=True, slots=True)
class SourceRows:
    """Where the rows of one source are."""

    name: str
    role: str
    rows: slice


@dataclass(frozen=True, slots=True)
class TypedRows:
    """The rows of all sources, one after the other."""

    subject: str
    """The column that says whose a row is."""
    labels: NDArray[np.int8]
    """1 where the target has its positive value, 0 where it has another one, `NO_LABEL` where it has none."""
    classes: frozenset[str]
    """All values of the target."""
    parts: tuple[SourceRows, ...]
    columns: RowBatches
    """The subject's and the used columns, and the label; in batches of one source each."""

    @property
    def num_rows(self) -> int:
        """How many there are."""
        return len(self.labels)

    def refuse_other_classes(self, spec: TableDatasetSpec) -> None:
        """Nothing, where the target has two values, and one is the positive one.

        Raises:
            DatasetError: it has not.
        """
        positive = text_of(spec.columns[spec.target].positive)
        if positive not in self.classes or len(self.classes) != _CLASSES:
            raise DatasetError(
                f"column {spec.target!r}: has {len(self.classes)} different values, {positive!r} "
                f"{'among them' if positive in self.classes else 'not among them'}; a target has two, and states one as `positive`"
            )

    def of_role(self, role: str) -> NDArray[np.bool_]:
        """Which rows are of sources of this role."""
        found = np.zeros(self.num_rows, dtype=bool)
        for part in self.parts:
            found[part.rows] = part.role == role
        return found

    def source_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The position of each row's source."""
        return np.searchsorted([part.rows.stop for part in self.parts], rows, side="right")

    def texts(self, column: str) -> Iterator[tuple[int, list[str]]]:
        """The values of a column, part by part, each with the number of its first row."""
        for first, batch in self._batches([column]):
            yield first, batch.column(0).to_pylist()

    def times(self, column: str) -> NDArray[np.datetime64]:
        """When each row was."""
        import pyarrow as pa

        found = np.empty(self.num_rows, dtype="datetime64[us]")
        for first, batch in self._batches([column]):
            found[first : first + batch.num_rows] = batch.column(0).cast(pa.timestamp("us")).to_numpy()
        return found

    def covered(self, is_erased: Callable[[Sequence[str]], Sequence[bool]]) -> NDArray[np.bool_]:
        """Which rows must not come back."""
        found = np.empty(self.num_rows, dtype=bool)
        for first, batch in self._batches([self.subject]):
            found[first : first + batch.num_rows] = is_erased(batch.column(0).to_pylist())
        return found

    def groups(self, column: str) -> RowGroups:
        """Rows by what they have in a column of texts."""
        found = RowGroups()
        for _, batch in self._batches([column]):
            found.add(each.encode() for each in batch.column(0).to_pylist())
        return found

    def row_groups(self, spec: TableDatasetSpec) -> RowGroups:
        """Rows by all that the spec uses of them; missing values count."""
        found = RowGroups()
        for _, batch in self._batches([*(name for name in spec.columns if name != spec.target), "label"]):
            found.add(_spelt(batch))
        return found

    def subjects(self, rows: NDArray[np.int64]) -> Iterator[str]:
        """Whose some rows are, in their order, which is ascending."""
        import pyarrow as pa

        for first, batch in self._batches([self.subject]):
            start, stop = np.searchsorted(rows, (first, first + batch.num_rows))
            if start < stop:
                yield from batch.column(0).take(pa.array(rows[start:stop] - first)).to_pylist()

    def kept(self, left: NDArray[np.bool_], splits: NDArray[np.uint8], columns: Sequence[str]) -> RowBatches:
        """The rows of the dataset.

        Args:
            left: Which rows are kept.
            splits: Of each row, as `SPLIT_CODES` has it.
            columns: In their order, `source` and `split` among them.
        """
        import pyarrow as pa

        stored = self.columns.schema
        schema = pa.schema(
            [
                pa.field(name, stored.field(name).type if name in stored.names else pa.string())
                for name in columns
            ]
        )
        names = pa.array([*SPLIT_CODES], pa.string())

        def scan(wanted: Sequence[str]) -> "Iterator[pa.RecordBatch]":
            # Of one column at least, since batches without any have no rows.
            read = [name for name in wanted if name in stored.names] or ["label"]
            for first, batch in self._batches(read):
                rows = slice(first, first + batch.num_rows)
                chosen = batch.filter(pa.array(left[rows]))
                if not chosen.num_rows:
                    continue
                source = self.parts[int(self.source_of(np.array([first]))[0])].name
                added = {
                    "source": pa.array([source], pa.string()).take(pa.array(np.zeros(chosen.num_rows, dtype=np.int8))),
                    "split": names.take(pa.array(splits[rows][left[rows]])),
                }  # fmt: skip
                arrays = [chosen.column(name) if name in read else added[name] for name in wanted]
                yield pa.RecordBatch.from_arrays(
                    arrays, schema=pa.schema([schema.field(name) for name in wanted])
                )

        return RowBatches(schema, int(left.sum()), scan)

    def _batches(self, columns: Sequence[str]) -> "Iterator[tuple[int, pa.RecordBatch]]":
        first = 0
        for batch in self.columns.batches(columns):
            yield first, batch
            first += batch.num_rows


def read_typed(spec: TableDatasetSpec, subject: str, sources: Sequence[RawSource]) -> TypedRows:
    """All sources, typed.

    Args:
        spec: What the columns are for.
        subject: The column that says whose a row is.
        sources: In the order in which their rows count as earlier.

    Raises:
        DatasetError: one lacks a column, or has values of another type.
    """
    columns = [subject, *(name for name in spec.columns if name not in {subject, spec.target})]
    schema = _schema(columns, spec)
    positive = text_of(spec.columns[spec.target].positive)
    spool, labels, classes = RowSpool(schema), [np.empty(0, np.int8)], set[str]()
    parts: list[SourceRows] = []
    done = 0
    for given in sources:
        begin = done
        for frame in _typed_parts(given, spec):
            target = frame["label"].to_numpy()
            given_label = frame["label"].notna().to_numpy()
            classes.update(target[given_label])
            labels.append(np.where(given_label, target == positive, NO_LABEL).astype(np.int8))
            spool.add(_as_batch(frame, labels[-1], schema))
            done += len(frame)
        parts.append(SourceRows(given.source.name, given.role, slice(begin, done)))
    return TypedRows(subject, np.concatenate(labels), frozenset(classes), tuple(parts), spool.rows())


def _typed_parts(given: RawSource, spec: TableDatasetSpec) -> "Iterator[pd.DataFrame]":
    """The parts of a source, typed.

    Raises:
        DatasetError: as where the source is one part. Then all of it has been read.
    """
    import pandas as pd

    refused: dict[tuple[str, str], WrongRowsError] = {}
    others: list[DatasetError] = []
    witnesses: list[pd.DataFrame] = []
    zeros = _ZerosOfColumns(dict)
    first_row = 0
    for frame in given.frames():
        try:
            typed = _typed(frame, given, spec, zeros)
        except WrongRowsError as problem:
            known = refused.get((problem.where, problem.what))
            if known is None:
                witnesses.append(frame.iloc[[problem.first - 1]])
            refused[problem.where, problem.what] = WrongRowsError(
                problem.where,
                problem.what,
                wrong=problem.wrong + (known.wrong if known else 0),
                rows=given.num_rows,
                first=known.first if known else first_row + problem.first,
                advice=problem.advice,
            )
        except DatasetError as problem:
            # A column that is missing is missing in all parts.
            if not others:
                witnesses.append(frame.iloc[:1])
                others.append(problem)
        else:
            if not witnesses:
                yield typed
        first_row += len(frame)
    if witnesses:
        # Each of these rows meets its own problem first; together they tell which one the whole source would meet.
        try:
            _typed(pd.concat(witnesses, ignore_index=True), given, spec, _ZerosOfColumns(dict))
        except WrongRowsError as problem:
            raise refused[problem.where, problem.what] from None
        raise others[0]


def _typed(
    raw: "pd.DataFrame", given: RawSource, spec: TableDatasetSpec, zeros: _ZerosOfColumns
) -> "pd.DataFrame":
    """Raw frame → the subject's column, the used columns with their types, the target as text in `label`."""
    import pandas as pd

    uri = given.source.uri
    found = with_derived(raw, spec.derived, uri, rows=given.num_rows)
    if missing := [name for name in spec.columns if name not in found.columns]:
        listed = ", ".join(str(column) for column in raw.columns)
        raise DatasetError(
            f"{uri}: column {' and '.join(map(repr, missing))} is missing ({given.num_rows} rows, columns: {listed})"
        )
    typed: dict[str, Any] = {}
    for name, column in spec.columns.items():
        where = f"{uri}: column {name!r}"
        match column.role:
            case "numeric":
                typed[name] = numbers(found[name], where, zeros["number", name])
            case "time" | "available":
                typed[name] = times(found[name], where)
            case "target":
                typed["label"] = texts(found[name], where)
            case _:
                typed[name] = texts(found[name], where)
        if column.role in {"key", "group"} or (column.role, spec.split.by) == ("time", "time"):
            _refuse_missing(typed[name], where)
        if column.role == "ordinal":
            _refuse_unknown(typed[name], [text_of(value) for value in column.order], where)
    frame = pd.DataFrame(typed)
    if spec.key is None:
        kept = raw.drop(columns=list(spec.lineage.raw(spec.target)))
        frame[ROW_ID] = _row_ids(kept, uri, zeros)
    return frame


def _row_ids(raw: "pd.DataFrame", where: str, zeros: _ZerosOfColumns) -> list[str]:
    """SHA-256 of each raw row's values by column; missing ones do not count.

    Of all columns, whatever the spec uses, for what as, and in which order: else another recipe would not know whom
    to leave out as erased, nor in which split a row has been.

    Args:
        raw: Rows.
        where: The source, for messages.
        zeros: Of earlier parts; changed in place.
    """
    spelt: dict[str, Sequence[str | None]] = {
        str(name): plain_texts(raw[name], f"{where}: column {str(name)!r}", zeros["id", str(name)])
        for name in sorted(raw.columns, key=str)
    }
    return [
        hashlib.sha256(
            json.dumps(
                {name: value for name, value in zip(spelt, row, strict=True) if value is not None}
            ).encode()
        ).hexdigest()
        for row in zip(*spelt.values(), strict=True)
    ]


def _refuse_missing(values: Any, where: str) -> None:
    import pandas as pd

    absent = pd.isna(pd.Series(values)).to_numpy()
    if absent.any():
        raise WrongRowsError(
            where,
            "rows have no value",
            wrong=int(absent.sum()),
            rows=len(absent),
            first=int(absent.argmax()) + 1,
            advice="; a key, a group, and a time to split by is needed in every row",
        )


def _refuse_unknown(values: Sequence[str | None], order: Sequence[str], where: str) -> None:
    wrong = [row for row, value in enumerate(values, start=1) if value is not None and value not in order]
    if wrong:
        raise WrongRowsError(
            where, "values do not stand in `order`", wrong=len(wrong), rows=len(values), first=wrong[0]
        )


def _schema(columns: Sequence[str], spec: TableDatasetSpec) -> "pa.Schema":
    import pyarrow as pa

    instant = pa.timestamp("us", tz="UTC")
    kinds = {"numeric": pa.float64(), "time": instant, "available": instant}
    roles = {name: column.role for name, column in spec.columns.items()}
    fields = [pa.field(name, kinds.get(roles.get(name, ""), pa.string())) for name in columns]
    return pa.schema([*fields, pa.field("label", pa.int32())])


def _as_batch(frame: "pd.DataFrame", labels: NDArray[np.int8], schema: "pa.Schema") -> "pa.RecordBatch":
    import pyarrow as pa

    arrays = []
    for field in schema:
        if field.name == "label":
            array = pa.array(labels.astype(np.int32), mask=labels == NO_LABEL)
        else:
            array = pa.array(frame[field.name].to_numpy(), from_pandas=True).cast(field.type)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _spelt(batch: "pa.RecordBatch") -> Iterable[bytes]:
    """All values of each row in one, in which every value tells where it ends: equal rows, and no others, are spelt alike."""
    import pyarrow as pa
    import pyarrow.compute as pc

    spelt = []
    for column in batch.columns:
        if pa.types.is_floating(column.type):
            column = column.view(pa.int64())  # noqa: PLW2901 - to the bit, as texts of floats are
        elif pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())  # noqa: PLW2901 - without a calendar
        values = column.cast(pa.large_string())
        lengths = pc.binary_length(values).cast(pa.large_string())
        joined = pc.binary_join_element_wise(lengths, values, pa.scalar(":", pa.large_string()))
        spelt.append(joined.fill_null(pa.scalar("-", pa.large_string())))
    whole = pc.binary_join_element_wise(*spelt, pa.scalar("", pa.large_string()))
    spelt_bytes: list[bytes] = whole.cast(pa.large_binary()).to_pylist()
    return spelt_bytes
