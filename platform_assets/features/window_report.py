"""What the windows of a transformer hold over some rows, and why values are null: for people who choose days and periods."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from platform_assets.features.external_sort import entity_ranks
from platform_assets.features.file_output import own_scratch, refuse_full_disk
from platform_assets.features.fitting import OnProgress, placed
from platform_assets.features.history import History, counted
from platform_assets.features.memory_budget import DEFAULT_LIMIT_BYTES, Budget, budget_for
from platform_assets.features.overlap import read_ahead
from platform_assets.features.row_files import RowFiles, open_rows
from platform_assets.features.row_order import keys_of, whole_instants
from platform_assets.features.table_columns import decoded
from platform_assets.features.transformer_spec import LagSpec, TransformerSpec, ZscoreSpec

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.features.transformer_spec import FeatureTransformer

NO_VALUE: Final = "the row has no value"
NO_ANSWER: Final = "its window has no answer"
TOO_FEW: Final = "fewer than minPeriods known values"
EQUAL: Final = "its known values are equal, to within 1e-140"
NOT_YET: Final = "no known value that old"
TOO_OLD: Final = "older than the tolerance"
_DAY_US: Final = 86_400_000_000


@dataclass(frozen=True, slots=True)
class WindowReport:
    """What was found."""

    rows: int
    entities: int
    fewest_rows: int
    """Of an entity."""
    most_rows: int
    mean_gap_days: float | None
    """Between a row and the one before it, of the same entity; None where no entity has two rows."""
    longest_gap_days: float | None
    ties: int
    """Rows of the same entity and instant as the row before."""
    nulls: dict[str, dict[str, int]]
    """Rows without a value by feature and reason."""


def window_report(
    transformer: "FeatureTransformer",
    source: Path | Sequence[Path] | RowFiles,
    *,
    memory_limit_bytes: int = DEFAULT_LIMIT_BYTES,
    threads: int = 1,
    scratch: Path | None = None,
    on_progress: OnProgress = lambda *_: None,
    budget: Budget | None = None,
) -> WindowReport:
    """Look at the windows of a z-score or lag; the parameters are those of `engine.run_transformer`.

    Rows that are sorted on disk lie in a folder of their own, in that of temporary files if no other is named. One that
    was killed leaves it there; the next one removes it.

    Raises:
        FeatureError: the rows do not fit the spec, cannot be read, or there is no room to sort them.
    """
    spec = transformer.spec
    rows = source if isinstance(source, RowFiles) else open_rows(source, spec)
    read = [*spec.columns, *filter(None, (spec.entity_key, spec.timestamp_column, spec.available_column))]
    rows.refuse_missing(read)
    if budget is None:
        held = 0 if rows.table is None else rows.table.nbytes
        # Reasons are found by a second computation beside the first, of rows and columns of its own.
        row_bytes = 4 * rows.row_bytes(read).most
        budget = budget_for(memory_limit_bytes, row_bytes, held_bytes=held, name=rows.name)
        budget = replace(budget, sort=replace(budget.sort, run_bytes=budget.sort.run_bytes // 2))
    found = _Found(spec)
    done = 0
    with own_scratch(scratch) as folder:
        history = History(rows, spec, budget, threads, on_progress, read)
        history.look()
        if needed := history.disk_bytes:
            refuse_full_disk([(folder, needed, "rows that are sorted")])
        told = counted(on_progress, "computing", rows.rows)
        with read_ahead(history.chunks(folder), threads=threads) as chunks:
            for chunk in whole_instants(chunks, found.stream):
                with placed(rows, done):
                    found.look(chunk)
                done += chunk.num_rows
                told(chunk.num_rows)
    return found.report()


class _Found:
    """Counts along sorted rows."""

    def __init__(self, spec: TransformerSpec) -> None:
        from platform_assets.features.windows import WindowStream

        self._spec, self._keys_of = spec, keys_of(spec)
        self.stream = WindowStream(spec, keep="newest")
        self._other = WindowStream(_without_tolerance(spec), keep="newest")
        self._rows = self._ties = self._gaps = 0
        self._fewest = self._most = self._entities = self._of_newest = 0
        self._gap_sum = self._longest = 0.0
        self._before: tuple[Any, int] | None = None
        self._nulls: dict[str, dict[str, int]] = {name: {} for name in spec.outputs.values()}

    def look(self, chunk: "pa.Table") -> None:
        """At the next rows."""
        self._count_entities(chunk)
        features, others = self.stream.process(chunk), self._other.process(self._varied(chunk))
        for column, name in self._spec.outputs.items():
            nulls = features.column(name).is_null()
            other = others.column(name).is_null()
            if isinstance(self._spec.of_type(), ZscoreSpec):
                missing = decoded(chunk.column(column)).is_null(nan_is_null=True)
                counts = {NO_VALUE: _count(missing), TOO_FEW: _count(other) - _count(missing)}
                last = EQUAL
            else:
                counts, last = {NOT_YET: _count(other)}, TOO_OLD
            counts[last] = _count(nulls) - sum(counts.values())
            for reason, count in counts.items():
                self._nulls[name][reason] = self._nulls[name].get(reason, 0) + count

    def report(self) -> WindowReport:
        """Of all rows."""
        if self._of_newest:
            self._end_entity()
        return WindowReport(
            self._rows,
            self._entities,
            self._fewest,
            self._most,
            self._gap_sum / self._gaps / _DAY_US if self._gaps else None,
            self._longest / _DAY_US if self._gaps else None,
            self._ties,
            self._nulls,
        )

    def _varied(self, chunk: "pa.Table") -> "pa.Table":
        """Of a z-score, rows whose known values all differ: what is null of them has too few."""
        import pyarrow as pa

        if not isinstance(self._spec.of_type(), ZscoreSpec):
            return chunk
        numbers = np.arange(self._rows - chunk.num_rows, self._rows, dtype=np.float64)
        for name in self._spec.columns:
            missing = np.asarray(decoded(chunk.column(name)).is_null(nan_is_null=True))
            chunk = chunk.set_column(chunk.column_names.index(name), name, pa.array(numbers, mask=missing))
        return chunk

    def _count_entities(self, chunk: "pa.Table") -> None:
        keys = self._keys_of(chunk)
        ranks, times = entity_ranks(keys.entity), keys.time_us
        self._rows += times.size
        same = ranks[1:] == ranks[:-1]
        gaps = (times[1:] - times[:-1])[same]
        first = (keys.entity[0].as_py(), int(times[0]))
        if self._before is not None and self._before[0] == first[0]:
            gaps = np.append(gaps, first[1] - self._before[1])
        elif self._before is not None:
            self._end_entity()
        self._before = keys.entity[len(keys.entity) - 1].as_py(), int(times[-1])
        self._count_gaps(gaps)
        for size in np.diff([0, *(np.flatnonzero(~same) + 1)]).tolist():
            self._of_newest += size
            self._end_entity()
        self._of_newest += int(times.size - (np.flatnonzero(~same)[-1] + 1 if not same.all() else 0))

    def _count_gaps(self, gaps: NDArray[np.int64]) -> None:
        self._gaps += gaps.size
        self._gap_sum += float(gaps.sum(dtype=np.float64))
        self._longest = max(self._longest, float(gaps.max(initial=0)))
        self._ties += int((gaps == 0).sum())

    def _end_entity(self) -> None:
        self._entities += 1
        self._fewest = min(self._fewest or self._of_newest, self._of_newest)
        self._most = max(self._most, self._of_newest)
        self._of_newest = 0


def _count(mask: "pa.ChunkedArray") -> int:
    import pyarrow.compute as pc

    return int(pc.sum(mask).as_py() or 0)


def _without_tolerance(spec: TransformerSpec) -> TransformerSpec:
    of_type = spec.of_type()
    if not isinstance(of_type, LagSpec):
        return spec
    return spec.model_copy(update={"lag": of_type.model_copy(update={"tolerance": None})})
