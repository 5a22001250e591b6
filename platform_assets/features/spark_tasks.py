"""What executors of Spark do with rows: read slices of files, hand rows to whoever has their entity, compute, write parts.

Functions of Arrow batches, as `mapInArrow` takes them; nothing here knows Spark. A row of a batch is no row of the files but
a number of a slice, or a block of rows as an Arrow stream: so no value and no type changes on the way, and sorting is that
of the local engine.

    slices: at                        → `looks`, `samples`, `counts`, `rows with features`   → at, answer
    slices: at                        → `blocks` by entity                                   → part, slice, number, block
    part, slice, number, block        → `windows` over the blocks of a part                  → at (the part), answer

An answer is pickled, as Spark does with all that its Python workers are told; a fault in the rows is one, too: raised, Spark
would try it again, and bury it in Java.
"""

import os
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from platform_assets.features.errors import FeatureError
from platform_assets.features.external_sort import SortedRows, entity_ranks
from platform_assets.features.fitting import LocalPasses, placed
from platform_assets.features.memory_budget import Budget
from platform_assets.features.row_chunks import chunks_of, evened
from platform_assets.features.row_order import (
    Look,
    keys_of,
    look_at,
    read_checked,
    whole_instants,
    window_columns,
)
from platform_assets.features.row_size import bytes_by_row
from platform_assets.features.row_slices import RowSlice
from platform_assets.features.transformer import FittedTransformer, kernel_version
from platform_assets.features.transformer_spec import TransformerSpec, TransformerType
from resources.errors import PlatformError
from resources.outages import DiskFullError, outage_of

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.features.woe import Prebins, WoeCounts

T = TypeVar("T")
Batches = Iterable["pa.RecordBatch"]
ANSWERS: Final = "at long, answer binary"
"""What a task yields, as Spark writes a schema."""
BLOCKS: Final = "part int, slice long, number long, block binary"
_BLOCK_BYTES: Final = 1 << 22
_FAULT: Final = -1
"""In the place of the number of a block: it is none, but what is wrong with its slice."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why there is no answer."""

    said: str
    is_full: bool
    """A disk is."""

    def error(self) -> PlatformError:
        """What is raised where it is read."""
        return DiskFullError(self.said) if self.is_full else FeatureError(self.said)


@dataclass(frozen=True, slots=True)
class Release:
    """Whose kernels are to compute: executors may have been installed at another time."""

    kind: TransformerType
    kernels: str

    @classmethod
    def own(cls, kind: TransformerType) -> "Release":
        """That of this process."""
        return cls(kind, _own_kernels(kind))

    def refuse_another(self) -> None:
        """Nothing, where this process computes the same.

        Raises:
            FeatureError: it does not.
        """
        if _own_kernels(self.kind) != self.kernels:
            raise FeatureError(
                f"Spark's executors have another release of platform-assets, which computes {self.kind} otherwise; install "
                "the same one there"
            )


@lru_cache
def _own_kernels(kind: TransformerType) -> str:
    return kernel_version(kind)


@dataclass(frozen=True, slots=True)
class OnSlices(Generic[T]):
    """An answer for each slice whose number comes."""

    work: Callable[[RowSlice], T]
    slices: Sequence[RowSlice]
    release: Release

    def __call__(self, batches: Batches) -> Iterator["pa.RecordBatch"]:
        """The answers."""
        for batch in batches:
            for at in batch.column(0).to_pylist():
                yield _answered(at, _attempted(lambda at=at: self._of(at)))  # type: ignore[misc]

    def _of(self, at: int) -> T:
        self.release.refuse_another()
        _refuse_unseen(*self.slices[at].rows.files)
        return self.work(self.slices[at])


@dataclass(frozen=True, slots=True)
class SliceLook:
    """What a slice looks like."""

    order: Look | None
    """None where a time cannot be read."""
    entities: "pa.Array | None"
    """Some of its entities, at even distances; None where something is wrong."""
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Looking:
    """Looks at order and values of windows' columns, as the local engine does before anything is written."""

    spec: TransformerSpec
    budget: Budget
    every: int
    """Of so many rows the entity of one is told."""

    def __call__(self, part: RowSlice) -> SliceLook:
        """What was seen; what is wrong with a value is told beside it: a null in another slice is told first."""
        found = _attempted(
            lambda: look_at(part.rows, self.spec, start=part.start, budget=self.budget, threads=1)
        )
        if isinstance(found, Fault):
            return SliceLook(None, None, found)
        if any(count for count, _ in found.nulls.values()):
            return SliceLook(found, None)
        entities = _attempted(lambda: self._entities(part))
        if isinstance(entities, Fault):
            return SliceLook(found, None, entities)
        return SliceLook(found, entities)

    def _entities(self, part: RowSlice) -> "pa.Array":
        import pyarrow as pa

        keys = keys_of(self.spec)
        names = list(dict.fromkeys(window_columns(self.spec)))
        chunks = read_checked(part.rows, self.spec, names, start=part.start, budget=self.budget, threads=1)
        return pa.concat_arrays(
            [
                _plain(keys(chunk).entity).take(pa.array(np.arange(0, chunk.num_rows, self.every)))
                for chunk in chunks
            ]
        )


@dataclass(frozen=True, slots=True)
class Sampling:
    """Rows of a slice that are of the sample of all rows."""

    names: list[str]
    taken: NDArray[np.int64]
    budget: Budget

    def __call__(self, part: RowSlice) -> "pa.Table":
        """They, in their order."""
        passes = LocalPasses(part.rows, self.budget, 1, lambda *_: None, part.start)
        return passes.sample(self.names, self.taken)


@dataclass(frozen=True, slots=True)
class Counting:
    """Rows of a slice, counted into fine bins."""

    fine: "Prebins"
    budget: Budget

    def __call__(self, part: RowSlice) -> "WoeCounts":
        """The counts, which add up."""
        return LocalPasses(part.rows, self.budget, 1, lambda *_: None, part.start).count(self.fine)


@dataclass(frozen=True, slots=True)
class PartFile:
    """Rows with their features, as an Arrow stream in the folder that driver and executors share."""

    file: Path
    rows: int
    runs: int = 0
    """Sorted ones that were written to disk on the way."""


@dataclass(frozen=True, slots=True)
class ByRow:
    """Features of each row by itself."""

    fitted: FittedTransformer
    budget: Budget
    folder: Path

    def __call__(self, part: RowSlice) -> PartFile:
        """The slice with its features."""

        def computed() -> Iterator["pa.Table"]:
            seen = part.start
            for chunk in chunks_of(part.rows, budget=self.budget, threads=1):
                with placed(part.rows, seen):
                    features = self.fitted.transform(chunk)
                seen += chunk.num_rows
                yield _beside(chunk, features)

        return _written(computed(), self.folder)


@dataclass(frozen=True, slots=True)
class Dealing:
    """Hands each row to the part that its entity is of: parts are ranges of entities, in their order."""

    spec: TransformerSpec
    slices: Sequence[RowSlice]
    budget: Budget
    bounds: "pa.Array"
    """The first entity of each part but the first, ascending."""

    def __call__(self, batches: Batches) -> Iterator["pa.RecordBatch"]:
        """Blocks of rows, each of one part; in a part, rows of a slice stay in their order."""
        for batch in batches:
            for at in batch.column(0).to_pylist():
                blocks = self._blocks(self.slices[at].rows)
                number = 0
                while (found := _attempted(lambda: next(blocks, None))) is not None:  # noqa: B023 - called at once
                    if isinstance(found, Fault):
                        yield _block(0, at, _FAULT, pickle.dumps(found))
                        break
                    yield _block(found[0], at, number, found[1])
                    number += 1

    def _blocks(self, rows: Any) -> Iterator[tuple[int, bytes]]:
        import pyarrow as pa

        from platform_assets.features import window_kernels

        keys = keys_of(self.spec)
        count = len(self.bounds) + 1
        for chunk in chunks_of(rows, budget=self.budget, threads=1):
            parts = parts_of(keys(chunk).entity, self.bounds)
            dealt = chunk
            if count > 1:
                order = window_kernels.grouped(parts, count)
                dealt = chunk.unify_dictionaries().combine_chunks().take(pa.array(order))
            ends = np.cumsum(np.bincount(parts, minlength=count))
            row_bytes = bytes_by_row(chunk)[0] / max(1, chunk.num_rows)
            step = max(1, int(_BLOCK_BYTES / max(row_bytes, 1.0)))
            for part in range(count):
                begin, end = int(ends[part - 1]) if part else 0, int(ends[part])
                for start in range(begin, end, step):
                    yield part, _bytes_of(dealt.slice(start, min(step, end - start)))


@dataclass(frozen=True, slots=True)
class Windows:
    """Features of the rows of a part along the history of their entities."""

    spec: TransformerSpec
    budget: Budget
    folder: Path

    def __call__(self, batches: Batches) -> Iterator["pa.RecordBatch"]:
        """One answer, if there are rows."""
        blocks = _blocks_of(batches)
        first = next(blocks, None)
        if first is None:
            return
        yield _answered(first[0], _attempted(lambda: self._part(first, blocks)))

    def _part(self, first: "Block", rest: Iterator["Block"]) -> PartFile:
        # Beside what Spark itself has on disk, which is removed with it.
        beside = os.environ.get("SPARK_LOCAL_DIRS", "").partition(",")[0] or None
        with tempfile.TemporaryDirectory(prefix="platform-assets-", dir=beside) as scratch:
            sorted_rows = SortedRows(
                _rows_of(first, rest),
                keys_of(self.spec),
                scratch=Path(scratch, "sort"),
                budget=self.budget.sort,
            )
            written = _written(self._computed(sorted_rows), self.folder)
        return PartFile(written.file, written.rows, sorted_rows.runs)

    def _computed(self, sorted_rows: SortedRows) -> Iterator["pa.Table"]:
        from platform_assets.features.windows import WindowStream

        stream = WindowStream(self.spec, keep="newest")
        chunks = evened(sorted_rows.chunks(batch_rows=self.budget.batch_rows), self.budget)
        for chunk in whole_instants(chunks, stream):
            yield _beside(chunk, stream.process(chunk))


Block = tuple[int, int, bytes]
"""Part, number and rows."""


def parts_of(entity: "pa.Array", bounds: "pa.Array") -> NDArray[np.int32]:
    """The part of each entity: how many bounds are not above it; shape (rows,)."""
    import pyarrow as pa

    ranks = entity_ranks(pa.concat_arrays([bounds, _plain(entity)]))
    count = len(bounds)
    return np.searchsorted(ranks[:count], ranks[count:], side="right").astype(np.int32)


def bounds_of(entities: "pa.Array", parts: int) -> "pa.Array":
    """The first entity of each part but the first, so that parts have about equally many rows; fewer where one has most.

    Args:
        entities: Those of some rows, at even distances.
        parts: How many there are to be at most.
    """
    import pyarrow as pa

    ranks = entity_ranks(entities)
    order = np.argsort(ranks, kind="stable")
    places = order[np.arange(1, parts) * order.size // parts] if order.size else order
    _, firsts = np.unique(ranks[places], return_index=True)
    # Of the least entity of all no part may begin: nothing would be below it.
    least = ranks.min() if ranks.size else 0
    return entities.take(
        pa.array([int(place) for place in places[firsts] if ranks[place] > least], pa.int64())
    )


def read_answer(content: bytes) -> Any:
    """What a task has answered.

    Raises:
        FeatureError: something is wrong with the rows.
        DiskFullError: a disk is full.
    """
    found = pickle.loads(content)  # noqa: S301 - of executors that were told what to execute
    if isinstance(found, Fault):
        raise found.error()
    return found


def _attempted(work: Callable[[], T]) -> T | Fault:
    try:
        return work()
    except PlatformError as problem:
        return Fault(str(problem), isinstance(problem, DiskFullError))
    except OSError as problem:
        full = outage_of(problem)
        if full is None:
            raise
        return Fault(str(full), is_full=True)


def _refuse_unseen(*paths: Path) -> None:
    """Refuse what the driver has seen, or made, and this executor does not see: it looks at another disk."""
    for path in paths:
        if not path.exists():
            raise FeatureError(
                f"{path}: Spark's executors do not see it; they have to see input, output and scratch under the same paths, "
                "as on a shared volume"
            )


def _answered(at: int, answer: Any) -> "pa.RecordBatch":
    import pyarrow as pa

    columns = {"at": pa.array([at], pa.int64()), "answer": pa.array([pickle.dumps(answer)], pa.binary())}
    return pa.RecordBatch.from_pydict(columns)


def _block(part: int, at: int, number: int, rows: bytes) -> "pa.RecordBatch":
    import pyarrow as pa

    return pa.RecordBatch.from_pydict(
        {
            "part": pa.array([part], pa.int32()),
            "slice": pa.array([at], pa.int64()),
            "number": pa.array([number], pa.int64()),
            "block": pa.array([rows], pa.binary()),
        }
    )


def _blocks_of(batches: Batches) -> Iterator[Block]:
    for batch in batches:
        for part, number, block in zip(
            batch.column("part").to_pylist(),
            batch.column("number").to_pylist(),
            batch.column("block"),
            strict=True,
        ):
            yield part, number, block.as_py()


def _rows_of(first: Block, rest: Iterator[Block]) -> Iterator["pa.Table"]:
    """The rows of blocks, in the order of slices.

    Raises:
        PlatformError: whatever was wrong where they come from.
    """
    import pyarrow as pa

    block: Block | None = first
    while block is not None:
        if block[1] == _FAULT:
            read_answer(block[2])
        with pa.ipc.open_stream(block[2]) as stream:
            yield stream.read_all()
        block = next(rest, None)


def _plain(entity: Any) -> "pa.Array":
    """In one piece, without a dictionary or views."""
    import pyarrow as pa

    if isinstance(entity, pa.ChunkedArray):
        entity = pa.concat_arrays(entity.chunks) if entity.num_chunks else pa.array([], entity.type)
    if pa.types.is_dictionary(entity.type):
        entity = entity.dictionary_decode()
    return entity


def _beside(rows: "pa.Table", features: "pa.Table") -> "pa.Table":
    for name in features.column_names:
        rows = rows.append_column(name, features.column(name))
    return rows


def _bytes_of(rows: "pa.Table") -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows.combine_chunks())
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _written(chunks: Iterator["pa.Table"], folder: Path) -> PartFile:
    """A part, under a name that no other attempt at it has."""
    import pyarrow as pa

    _refuse_unseen(folder)
    file = folder / f"{uuid4().hex}.arrows"
    writer, rows = None, 0
    with pa.OSFile(str(file), "wb") as sink:
        try:
            for chunk in chunks:
                writer = writer or pa.ipc.new_stream(sink, chunk.schema)
                writer.write_table(chunk)
                rows += chunk.num_rows
        finally:
            if writer is not None:
                writer.close()
    return PartFile(file, rows)
