"""Sliding z-score and lag: of a table, of chunks, and of one event at a time, with equal bits.

Time is event time in microseconds UTC; a time without a zone is UTC, and a day is 24 hours, so no day is longer for daylight
saving. Of an entity, a row at time t is given

    zscore          (its value - mean) / deviation over the known events of [t - windowDays, t) that were available before t;
                    with includeCurrent over those of (t - windowDays, t] that were available at t. Rows of one instant are
                    answered alike, in whatever order they come. Null with fewer than minPeriods events, where the deviation
                    is 0 (or below 1e-140, if multiplied by the number of events), and where the row has no value.
    lag by days     the newest known event's value of time <= t - days, and >= t - days - tolerance, available before t; of
                    equal times the one that became available last, then the later row.
    lag by rows     the value so many known events before t, in that same order, of those available before t; null if it is
                    older than the tolerance.

A row without a value, or whose `availableColumn` is null, is no event; it is answered none the less.

The bits of an answer follow from the events that it is made of, so rows may begin anywhere: those older than
`TransformerSpec.history_us` before a row change nothing of it.
"""

import operator
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np
import rfc8785
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from platform_assets.features.errors import FeatureError
from platform_assets.features.transformer_spec import TransformerSpec
from platform_assets.features.window_columns import read_window_rows
from platform_assets.features.window_entity import Answers, EntityWindow, OutOfOrderError
from platform_assets.features.window_groups import GroupedRows, group
from platform_assets.features.window_state import (
    Decided,
    SavedState,
    WindowMemory,
    read_state,
    write_state,
)

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT: Final = 1
"""Of a fitted transformer's JSON."""
_EVENTS_AT_FIRST: Final = 1024
_TEXTS, _INTEGERS = 1, 2
"""What keys are, as `window_state` writes it."""
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1]
    spec: TransformerSpec


class WindowTransformer:
    """Computes windows of whole tables. Nothing is fitted: it is its spec."""

    def __init__(self, spec: TransformerSpec, *, threads: int = 1) -> None:
        """Take up a spec.

        Args:
            spec: Of type zscore or lag.
            threads: Among which entities are shared out; the answers have equal bits whatever their number.

        Raises:
            FeatureError: the spec is of another type.
        """
        self._decided = Decided.of(spec)
        self._spec = spec
        self._threads = max(threads, 1)

    @property
    def spec(self) -> TransformerSpec:
        """What it does."""
        return self._spec

    def transform(self, rows: "pa.Table") -> "pa.Table":
        """The features of rows in any order: a float64 column for each of `spec.outputs`, row by row as they came.

        Rows that are grouped by entity, and of ascending time within each, are not sorted.

        Raises:
            FeatureError: a column is missing, of another type, or has a value that no window has place for.
        """
        grouped = group(read_window_rows(self._spec, rows), sort=True)
        shares = _shares(grouped.bounds, self._threads)
        answers = []
        for place in range(len(self._spec.columns)):
            values = grouped.column(place)
            answered = np.empty(len(values))
            if len(shares) == 1:
                _answer(self._decided, grouped, values, answered, shares[0])
            else:
                with ThreadPoolExecutor(len(shares)) as pool:
                    jobs = [
                        pool.submit(_answer, self._decided, grouped, values, answered, share)
                        for share in shares
                    ]
                    for job in jobs:
                        job.result()
            answers.append(answered)
        return _table(self._spec, grouped, answers)

    def to_bytes(self) -> bytes:
        """As canonical JSON: transformers that do the same have equal bytes."""
        kind = self._spec.transformer_type
        written = self._spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        written[kind] = self._spec.of_type().model_dump(mode="json", by_alias=True, exclude_none=True)
        written["outputNames"] = self._spec.outputs
        if kind == "lag":
            # Its section says it all.
            del written["windowDays"]
        return rfc8785.dumps({"format": FORMAT, "spec": written})

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The transformer that `to_bytes` wrote.

        Raises:
            FeatureError: it is none, or of a later format.
        """
        try:
            return cls(_Written.model_validate_json(content).spec)
        except ValidationError as problem:
            raise FeatureError(
                "fitted transformer: these bytes are no window of a format that this release reads; fit it again, or update"
                " the platform"
            ) from problem


class WindowStream:
    """Computes windows of what comes bit by bit, and remembers what later rows need.

    Not safe for several threads at once.
    """

    def __init__(
        self, spec: TransformerSpec, state: bytes | None = None, *, keep: Literal["all", "newest"] = "all"
    ) -> None:
        """Begin, or go on from a saved state.

        Args:
            spec: Of type zscore or lag.
            state: What `to_bytes` gave.
            keep: Whose events are kept. `newest`: those of the last row's entity; rows must then come entity by entity, in
                ascending order of their keys (texts by code point), and memory does not grow with entities.

        Raises:
            FeatureError: the spec is of another type, or the state is not of this spec or damaged.
        """
        saved = SavedState() if state is None else read_state(spec, state)
        self._spec = spec
        self._decided = Decided.of(spec)
        self._ordered = keep == "newest"
        if state is not None and saved.ordered != self._ordered:
            raise FeatureError(
                f"window state: it was made with keep={'newest' if saved.ordered else 'all'}, which differs; go on as it"
                " began"
            )
        self._key_kind = saved.key_kind
        self._entities = {
            name: EntityWindow(spec, self._decided, memories) for name, memories in saved.memories.items()
        }

    @classmethod
    def from_bytes(
        cls, spec: TransformerSpec, state: bytes, *, keep: Literal["all", "newest"] = "all"
    ) -> Self:
        """A stream that goes on from a saved state; see `__init__`."""
        return cls(spec, state, keep=keep)

    def to_bytes(self) -> bytes:
        """What it remembers, in the format of `window_state`; whoever goes on from it gets equal bits."""
        return write_state(
            self._spec,
            SavedState(
                {name: entity.newest for name, entity in self._entities.items()},
                {name: entity.memories for name, entity in self._entities.items()},
                self._key_kind,
                self._ordered,
            ),
        )

    @property
    def spec(self) -> TransformerSpec:
        """What it computes."""
        return self._spec

    def entity(self, key: str | int) -> EntityWindow:
        """The events of an entity, from now on kept. An integer is the same as its decimal text.

        Raises:
            FeatureError: the key is neither text nor integer.
        """
        name = _name_of(key)
        found = self._entities.get(name)
        if found is None:
            if self._ordered and self._entities:
                self._entities.clear()
            found = self._entities[name] = EntityWindow(self._spec, self._decided)
        return found

    def forget(self, before_us: int) -> None:
        """Let go of entities whose newest row was before then: no window that begins there has any event of theirs."""
        self._entities = {name: each for name, each in self._entities.items() if each.newest >= before_us}

    def update(
        self,
        entity: str | int,
        time_us: int,
        values: Sequence[float | None],
        available_us: int | None = None,
    ) -> Answers:
        """See `EntityWindow.update`."""
        return self.entity(entity).update(time_us, values, available_us)

    def observe(
        self,
        entity: str | int,
        time_us: int,
        values: Sequence[float | None],
        available_us: int | None = None,
    ) -> None:
        """See `EntityWindow.observe`."""
        self.entity(entity).observe(time_us, values, available_us)

    def query(
        self,
        entity: str | int,
        time_us: int,
        values: Sequence[float | None],
        available_us: int | None = None,
    ) -> Answers:
        """See `EntityWindow.query`; of an entity that has no events, too."""
        found = self._entities.get(_name_of(entity))
        if found is None:
            found = EntityWindow(self._spec, self._decided)
        return found.query(time_us, values, available_us)

    def complete_rows(self, batch: "pa.Table") -> int:
        """How many of the batch's first rows may be processed before the next batch is known.

        All of them, but with includeCurrent those of the last instant wait for others that may follow.

        Raises:
            FeatureError: as `process`.
        """
        if not self._decided.includes_current or not batch.num_rows:
            return int(batch.num_rows)
        rows = read_window_rows(self._spec, batch)
        last = (
            (rows.times == rows.times[-1]) & (rows.codes == rows.codes[-1])
            if self._ordered
            else (rows.times == rows.times[-1])
        )
        return int(len(last) - last[::-1].argmin()) if not last.all() else 0

    def process(self, batch: "pa.Table") -> "pa.Table":
        """The features of the next rows, which are recorded: a float64 column for each of `spec.outputs`.

        Args:
            batch: Rows of an entity in the order of their times, within the batch and since the batch before; those
                of several entities may alternate if all are kept. With includeCurrent an instant of an entity is not
                divided among batches; see `complete_rows`.

        Raises:
            OutOfOrderError: they come in another order; nothing was recorded.
            FeatureError: as `WindowTransformer.transform`; nothing was recorded.
        """
        grouped = group(read_window_rows(self._spec, batch), sort=False)
        keys = [grouped.rows.key(grouped.row(int(start))) for start in grouped.bounds[:-1]]
        self._check_order(grouped, keys)
        answers = [np.empty(batch.num_rows) for _ in self._spec.columns]
        columns = [grouped.column(place) for place in range(len(answers))]
        begin, stop = 0, len(keys)
        if self._ordered and keys:
            # All but the first and the last of the batch are over when it is.
            if keys[0] in self._entities:
                self._continue(grouped, keys, 0, columns, answers)
                begin = 1
            stop = max(len(keys) - 1, begin)
            if begin < stop:
                for values, answered in zip(columns, answers, strict=True):
                    _answer(self._decided, grouped, values, answered, (begin, stop))
            if len(keys) > 1 or begin == 0:
                self._entities.clear()
            begin, stop = stop, len(keys)
        for k in range(begin, stop):
            self._continue(grouped, keys, k, columns, answers)
        return _table(self._spec, grouped, answers)

    def _continue(
        self,
        grouped: GroupedRows,
        keys: Sequence[str],
        k: int,
        columns: Sequence[Floats],
        answers: Sequence[Floats],
    ) -> None:
        """Answer one entity's rows from what is remembered of it."""
        from platform_assets.features import window_kernels

        entity = self._entities.get(keys[k])
        if entity is None:
            entity = self._entities[keys[k]] = EntityWindow(self._spec, self._decided)
        start, stop = int(grouped.bounds[k]), int(grouped.bounds[k + 1])
        for memory, values, answered in zip(entity.memories, columns, answers, strict=True):
            at = start
            while at < stop:
                at = window_kernels.rows(
                    grouped.times, grouped.available, values, answered, at, stop, memory.ints, memory.floats
                )
                if at < stop:
                    memory.grow(_rows_at_once(self._decided, grouped.times, at, stop))

    def _check_order(self, grouped: GroupedRows, keys: Sequence[str]) -> None:
        from pyarrow import types

        from platform_assets.features import window_kernels

        fall = window_kernels.first_fall(grouped.times, grouped.bounds)
        if fall >= 0:
            self._refuse(grouped.row(fall), "is earlier than a row of its entity before it")
        kind = grouped.rows.entity.type
        kind = kind.value_type if types.is_dictionary(kind) else kind
        key_kind = _INTEGERS if types.is_integer(kind) else _TEXTS
        if self._ordered:
            if grouped.order is not None:
                codes = grouped.rows.codes
                self._refuse(
                    int((codes[1:] < codes[:-1]).argmax()) + 1, "is not beside the other rows of its entity"
                )
            if self._key_kind not in {0, key_kind} and self._entities:
                raise FeatureError(
                    f"column {self._spec.entity_key}: is of type {kind}, and was"
                    f" {'text' if key_kind == _INTEGERS else 'integers'}"
                    " in the batch before; keep to one, they are ordered differently"
                )
            convert: Any = int if key_kind == _INTEGERS else str
            known = [convert(name) for name in self._entities]
            before = known[0] if known else None
            for k, name in enumerate(keys):
                key = convert(name)
                if before is not None and (key < before if k == 0 else key <= before):
                    self._refuse(
                        grouped.row(int(grouped.bounds[k])),
                        "is of an entity that should have come earlier: keys must ascend",
                    )
                before = key
        for k, name in enumerate(keys):
            entity = self._entities.get(name)
            if entity is None:
                continue
            newest, time = entity.newest, int(grouped.times[grouped.bounds[k]])
            if time < newest:
                self._refuse(
                    grouped.row(int(grouped.bounds[k])),
                    "is earlier than its entity's newest row of the batch before",
                )
            if time == newest and self._decided.includes_current:
                self._refuse(
                    grouped.row(int(grouped.bounds[k])),
                    "is of an instant whose other rows were answered in the batch before (see complete_rows)",
                )
        self._key_kind = key_kind

    def _refuse(self, row: int, why: str) -> None:
        raise OutOfOrderError(
            f"row {row + 1} of the batch {why}; sort the rows by {self._spec.entity_key} and {self._spec.timestamp_column}"
        )


def _name_of(key: Any) -> str:
    """Whose history it is, as text: 1.0 would have another one than 1, and True or None are nobody."""
    if isinstance(key, str):
        return str(key)
    if not isinstance(key, bool | np.bool_):
        with suppress(TypeError):
            return str(operator.index(key))
    raise FeatureError(
        f"entity: is of type {type(key).__name__}; an entity is named by a text or an integer: convert the key"
    )


def _shares(bounds: Integers, threads: int) -> list[tuple[int, int]]:
    """Entities, from and to, for each thread: about as many rows."""
    entities, rows = len(bounds) - 1, int(bounds[-1])
    cuts = np.searchsorted(bounds, [rows * k // threads for k in range(1, threads)])
    edges = sorted({0, entities, *(int(min(cut, entities)) for cut in cuts)})
    return list(pairwise(edges)) or [(0, 0)]


def _answer(
    decided: Decided, grouped: GroupedRows, values: Floats, answers: Floats, share: tuple[int, int]
) -> None:
    """Answer entities without a past."""
    from platform_assets.features import window_kernels as kernels

    bounds = grouped.bounds[: share[1] + 1]
    row, last = int(bounds[share[0]]), int(bounds[-1])
    entity = share[0]
    memory = WindowMemory(decided, room=_EVENTS_AT_FIRST, waiting=_EVENTS_AT_FIRST)
    while row < last:
        row = kernels.entities(
            grouped.times,
            grouped.available,
            values,
            answers,
            bounds,
            entity,
            row,
            memory.ints,
            memory.floats,
        )
        if row < last:
            entity = int(np.searchsorted(bounds, row, side="right")) - 1
            memory.grow(_rows_at_once(decided, grouped.times, row, int(bounds[entity + 1])))


def _rows_at_once(decided: Decided, times: Integers, start: int, stop: int) -> int:
    """For how many rows there must be room before the first of them is answered."""
    if not decided.includes_current:
        return 1
    return int(np.searchsorted(times[start:stop], times[start], side="right"))


def _table(spec: TransformerSpec, grouped: GroupedRows, answers: Sequence[Floats]) -> "pa.Table":
    import pyarrow as pa

    return pa.table(
        {
            name: _with_nulls(grouped.as_they_came(answered))
            for name, answered in zip(spec.outputs.values(), answers, strict=True)
        }
    )


def _with_nulls(answers: Floats) -> "pa.Array":
    """The answers themselves, NaN being null."""
    import pyarrow as pa

    from platform_assets.features import window_kernels

    bits = np.zeros((len(answers) + 7) // 8, np.uint8)
    missing = window_kernels.valid_bits(answers, bits)
    buffers = [pa.py_buffer(bits) if missing else None, pa.py_buffer(answers)]
    return pa.Array.from_buffers(pa.float64(), len(answers), buffers, missing)
