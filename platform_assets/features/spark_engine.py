"""Features on Spark: its executors read, deal out by entity, sort and compute; this process puts together what they hand over.

Everything that decides about a bit is the local engine's: how slices are read and checked, the external sort, kernels, fine
bins and counts. Spark moves blocks of rows between executors, and does again what a lost one has not done (docs/adr/0054).
Driver and executors see input, output and scratch under the same paths.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import uuid4

from platform_assets.features.errors import FeatureError
from platform_assets.features.fitting import COUNTING, SAMPLING, OnProgress
from platform_assets.features.history import Sorting
from platform_assets.features.memory_budget import Budget
from platform_assets.features.row_chunks import evened
from platform_assets.features.row_files import RowFiles
from platform_assets.features.row_order import judged, refuse_wrong_columns
from platform_assets.features.row_slices import RowSlice, slices_of
from platform_assets.features.spark_tasks import (
    ANSWERS,
    BLOCKS,
    ByRow,
    Counting,
    Dealing,
    Looking,
    OnSlices,
    PartFile,
    Release,
    Sampling,
    SliceLook,
    Windows,
    bounds_of,
    read_answer,
)
from platform_assets.features.transformer import FittedTransformer
from platform_assets.features.transformer_spec import TransformerSpec, TransformerType
from resources.spark import job_errors

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from pyspark.sql import SparkSession

    from platform_assets.features.woe import Prebins, WoeCounts

T = TypeVar("T")
SLICE_ROWS: Final = 1 << 19
"""Of a task that reads, unless a row group has more."""
PART_ROWS: Final = 1 << 20
"""Of a task that computes windows, about; an entity is in one, whatever it has."""
_FEWEST_PARTS: Final = 4
_FEW_ROWS: Final = 50_000
"""So many are not worth a second part."""
_TOLD_ENTITIES: Final = 1 << 16
"""By which ranges of entities are made."""
_BY_SPARK: Final = "computing on Spark"


@dataclass(frozen=True, slots=True)
class SparkEngine:
    """Computes in a session's executors what `engine` writes."""

    session: "SparkSession"
    slice_rows: int = SLICE_ROWS
    parts: int | None = None
    """Of windows; by the number of rows if None."""

    def passes(self, rows: RowFiles, budget: Budget, scratch: Path, on_progress: OnProgress) -> "SparkPasses":
        """The passes of a fit.

        Args:
            rows: All that may be learnt from.
            budget: Of each executor's worker.
            scratch: A folder that executors see, too; for rows that are in no file.
            on_progress: Is told how far it has come.
        """
        return SparkPasses(self, rows, budget, scratch, on_progress)

    def by_row(
        self,
        fitted: FittedTransformer,
        rows: RowFiles,
        budget: Budget,
        scratch: Path,
        on_progress: OnProgress,
    ) -> "Generator[tuple[pa.Table, pa.Table], None, None]":
        """Rows and, behind them, their features, in the order of the rows; the parameters are those of `passes`.

        Raises:
            FeatureError: the rows do not fit, or cannot be read; the message is that of the local engine.
            SparkError: Spark gives up.
        """
        slices = self.slices(rows, scratch)
        on_progress(_BY_SPARK, 0, rows.rows)
        folder = _folder(scratch)
        parts = self.answers(ByRow(fitted, budget, folder), slices, fitted.spec.transformer_type)
        on_progress(_BY_SPARK, rows.rows, rows.rows)
        yield from _joined(parts, rows, fitted.spec, budget)

    def by_history(
        self,
        spec: TransformerSpec,
        rows: RowFiles,
        budget: Budget,
        scratch: Path,
        on_progress: OnProgress,
    ) -> "SparkHistory":
        """Features along the history of entities, once rows were looked at; the parameters are those of `passes`.

        Raises:
            FeatureError: as `by_row`.
            SparkError: Spark gives up.
        """
        refuse_wrong_columns(rows, spec)
        slices = self.slices(rows, scratch)
        told = "looking at the order"
        on_progress(told, 0, rows.rows)
        work = Looking(spec, budget, max(1, rows.rows // _TOLD_ENTITIES))
        looks: list[SliceLook] = self.answers(work, slices, spec.transformer_type)
        on_progress(told, rows.rows, rows.rows)
        for unreadable in (look.fault for look in looks if look.order is None and look.fault):
            raise unreadable.error()
        is_sorted = judged(rows, [look.order for look in looks if look.order is not None])
        for wrong in (look.fault for look in looks if look.fault):
            raise wrong.error()
        return SparkHistory(self, spec, rows, slices, looks, budget, scratch, on_progress, is_sorted)

    def slices(self, rows: RowFiles, scratch: Path) -> list[RowSlice]:
        """What tasks read; rows that are in no file, or in one that is read whole, are written to one."""
        import pyarrow.parquet as pq

        if rows.table is not None:
            scratch.mkdir(exist_ok=True)
            file = scratch / f"{uuid4().hex}.parquet"
            pq.write_table(rows.table, file, row_group_size=self.slice_rows)
            rows = replace(rows, files=(file.resolve(),), table=None)
        # Executors work in folders of their own.
        rows = replace(rows, files=tuple(file.resolve() for file in rows.files))
        return slices_of(rows, most_rows=self.slice_rows)

    def answers(
        self, work: Callable[[RowSlice], T], slices: Sequence[RowSlice], kind: TransformerType
    ) -> list[T]:
        """What each slice's task answers, in their order.

        Raises:
            FeatureError: something is wrong with the rows; it is what is wrong with the first slice of which anything is.
            SparkError: Spark gives up.
        """
        if not slices:
            return []
        task = OnSlices(work, slices, Release.own(kind))
        with job_errors():
            found = self._numbers(len(slices)).mapInArrow(task, ANSWERS).collect()
        return _read(found)

    def windows(self, dealing: Dealing, computing: Windows) -> list[PartFile]:
        """The parts, in the order of their entities.

        Raises:
            FeatureError, SparkError: as `answers`.
        """
        if not dealing.slices:
            return []
        count = len(dealing.bounds) + 1
        with job_errors():
            dealt = self._numbers(len(dealing.slices)).mapInArrow(dealing, BLOCKS)
            by_part = dealt.repartitionById(count, "part").sortWithinPartitions("slice", "number")
            found = by_part.mapInArrow(computing, ANSWERS).collect()
        return _read(found)

    def parts_for(self, rows: int) -> int:
        """Among how many tasks windows are shared out."""
        if self.parts is not None:
            return self.parts
        return 1 if rows < _FEW_ROWS else max(_FEWEST_PARTS, -(-rows // PART_ROWS))

    def _numbers(self, count: int) -> Any:
        """A frame of the numbers from 0 on, each in a partition of its own."""
        return self.session.range(0, count, 1, count)


@dataclass(frozen=True, slots=True)
class SparkPasses:
    """The passes of a fit; see `fitting.Passes`. Samples are put together and counts added in the order of slices."""

    engine: SparkEngine
    rows: RowFiles
    budget: Budget
    scratch: Path
    on_progress: OnProgress
    _slices: list[RowSlice] = field(default_factory=list)

    def sample(self, names: list[str], taken: "NDArray[np.int64]") -> "pa.Table":
        """See `Passes.sample`."""
        import pyarrow as pa

        self.on_progress(SAMPLING, 0, self.rows.rows)
        found = self.engine.answers(Sampling(names, taken, self.budget), self._all(), "woe")
        return pa.concat_tables(found)

    def count(self, fine: "Prebins") -> "WoeCounts":
        """See `Passes.count`."""
        self.on_progress(COUNTING, 0, self.rows.rows)
        counts = self.engine.answers(Counting(fine, self.budget), self._all(), "woe")
        self.on_progress(COUNTING, self.rows.rows, self.rows.rows)
        return reduce(add, counts)

    def _all(self) -> list[RowSlice]:
        if not self._slices:
            self._slices.extend(self.engine.slices(self.rows, self.scratch))
        return self._slices


@dataclass
class SparkHistory:
    """Rows along the history of their entities; as `history.History`, for what is told of a run."""

    engine: SparkEngine
    spec: TransformerSpec
    rows: RowFiles
    slices: Sequence[RowSlice]
    looks: Sequence[SliceLook]
    budget: Budget
    scratch: Path
    on_progress: OnProgress
    is_sorted: bool
    """Whether they came in order."""
    runs: int = 0
    """Sorted ones that executors wrote to disk."""
    sort_seconds: float = 0.0
    """Spent by Spark: on reading, dealing out, sorting and computing."""

    @property
    def sorting(self) -> Sorting:
        """How they came into order."""
        return "on Spark"

    def computed(self) -> "Generator[tuple[pa.Table, pa.Table], None, None]":
        """Rows and, behind them, their features, in the order of entity, time and input.

        Raises:
            FeatureError: a file cannot be read.
            SparkError: Spark gives up.
        """
        import pyarrow as pa

        entities = [look.entities for look in self.looks if look.entities is not None]
        if not entities:
            return
        began = time.monotonic()
        self.on_progress(_BY_SPARK, 0, self.rows.rows)
        bounds = bounds_of(pa.concat_arrays(entities), self.engine.parts_for(self.rows.rows))
        folder = _folder(self.scratch)
        parts = self.engine.windows(
            Dealing(self.spec, self.slices, self.budget, bounds), Windows(self.spec, self.budget, folder)
        )
        self.runs = sum(part.runs for part in parts)
        self.sort_seconds = time.monotonic() - began
        self.on_progress(_BY_SPARK, self.rows.rows, self.rows.rows)
        yield from _joined(parts, self.rows, self.spec, self.budget)


def _read(found: Sequence[Any]) -> list[Any]:
    """Answers, in the order of what they are of."""
    return [read_answer(bytes(row["answer"])) for row in sorted(found, key=lambda row: int(row["at"]))]


def _folder(scratch: Path) -> Path:
    """One of this run alone: what is left of the workers of a killed one knows it not."""
    folder = scratch / uuid4().hex
    folder.mkdir(parents=True)
    return folder.resolve()


def _joined(
    parts: Sequence[PartFile], rows: RowFiles, spec: TransformerSpec, budget: Budget
) -> "Generator[tuple[pa.Table, pa.Table], None, None]":
    """Rows and features of parts, one part behind the other; each is removed once it was read.

    Raises:
        FeatureError: they are not as many rows as there are.
    """
    if (found := sum(part.rows for part in parts)) != rows.rows:
        raise FeatureError(
            f"{rows.name}: has {rows.rows:,} rows, and Spark's executors have found {found:,} there; see that nobody writes "
            "the files, and that executors see the same ones under these paths"
        )
    for chunk in evened(_parts_read(parts), budget):
        yield chunk.select(rows.schema.names), chunk.select(list(spec.outputs.values()))


def _parts_read(parts: Sequence[PartFile]) -> Iterator["pa.Table"]:
    import pyarrow as pa

    for part in parts:
        if part.rows:
            with pa.memory_map(str(part.file)) as source, pa.ipc.open_stream(source) as batches:
                for batch in batches:
                    yield pa.Table.from_batches([batch])
        part.file.unlink()
