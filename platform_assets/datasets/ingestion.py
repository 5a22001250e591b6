"""What a task does with its data: raw sources become the rows of one table, each in a split.

The sources, their order and their roles are the same for all tasks, and so is what surrounds a table (contract,
schema breaker, versions). What a row is, whose it is, and which rows must stay together is the task's.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from platform_assets.datasets.batches import MOST_BATCH_ROWS
from platform_assets.datasets.large_files import LargeRows, LargeSource, large_source, read_large
from platform_assets.datasets.sources import Hashed, Source, open_source, read_frame, sources_hash
from platform_assets.datasets.spec import DatasetSpec
from platform_assets.governance.subjects import Subject
from resources.object_store import ObjectStore
from resources.row_batches import RowBatches

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SPLITS = ("train", "validation", "test", "shift", "reserve")
"""`shift` is of a source that is never trained on; `reserve` is what was not asked for."""
S_contra = TypeVar("S_contra", bound=DatasetSpec, contravariant=True)


class SubjectColumn(NamedTuple):
    """Whose a row is. Erasing a subject removes its rows from every table that names its namespace."""

    namespace: str
    """The kind of subject, e.g. `applicant`."""
    name: str
    """The column that holds its id."""


class NamedSource(Hashed, Protocol):
    """What rows were read from."""

    @property
    def uri(self) -> str:
        """Where it lies."""
        ...

    @property
    def name(self) -> str:
        """What its rows are called where they name no source themselves."""
        ...

    @property
    def suffix(self) -> str:
        """Of the form that it is written in, which tells what types its cells may have."""
        ...


@dataclass(frozen=True, slots=True)
class RawSource:
    """One source as it was read, before anything touched it."""

    source: NamedSource
    role: str
    """train, test or shift."""
    rows: "pd.DataFrame | LargeRows"

    @property
    def num_rows(self) -> int:
        """How many there are."""
        return self.rows.num_rows if isinstance(self.rows, LargeRows) else len(self.rows)

    @property
    def frame(self) -> "pd.DataFrame":
        """All rows at once, in memory, however many."""
        return self.rows.whole() if isinstance(self.rows, LargeRows) else self.rows

    def frames(self) -> "Iterator[pd.DataFrame]":
        """The rows from the first one on, in parts; one where they are few."""
        if isinstance(self.rows, LargeRows):
            yield from self.rows.frames()
            return
        for start in range(0, len(self.rows), MOST_BATCH_ROWS):
            yield self.rows.iloc[start : start + MOST_BATCH_ROWS].reset_index(drop=True)


@dataclass(frozen=True, slots=True)
class PreparedRows:
    """The rows of a dataset, and what preparing left out of the raw ones; each raw row is counted once."""

    rows: RowBatches
    """Columns `label` (int32), `source`, `split` (one of `SPLITS`), the subject's, and the task's own."""
    first_sources: tuple[str, ...]
    """Values of `source` in the line's own rows: those of the first training URI, and those that only the
    given test file has. Gates measure on these."""
    source_hash: str
    raw_rows: int
    erased: int
    """Rows left out because their subject was erased."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Further rows left out, by reason."""
    judged: RowBatches | None = None
    """What the contract is about, where that is more than the rows: those that were held back among them."""
    held_back: "pa.Table | None" = None
    """What the gate of a task has set aside, as `quarantine_schema` has it, with the subject's column."""

    def rows_by_split(self) -> dict[str, int]:
        """Row count of each split that has rows."""
        counts = Counter[str]()
        for batch in self.rows.batches(["split"]):
            counts.update(
                {each["values"]: each["counts"] for each in batch.column(0).value_counts().to_pylist()}
            )
        return {split: counts[split] for split in SPLITS if split in counts}


class Ingestion(Protocol[S_contra]):
    """How a task reads its data. Equal sources and equal values of the spec give equal rows."""

    @property
    def code(self) -> str:
        """Version of the code that prepares rows."""
        ...

    @property
    def description(self) -> str:
        """What a row is, for people."""
        ...

    @property
    def fields(self) -> Collection[str]:
        """Fields of the spec that decide, besides those of `DatasetSpec`."""
        ...

    def subject(self, spec: S_contra) -> SubjectColumn:
        """Whose the rows are."""
        ...

    def prepare(
        self,
        spec: S_contra,
        sources: Sequence[RawSource],
        *,
        is_erased: Callable[[Sequence[str]], Sequence[bool]],
    ) -> PreparedRows:
        """Normalise and split each source, then leave out what was erased or is known from another.

        A source may be larger than memory: who goes by its `frames`, and gives rows in batches, takes such ones.

        Splits are frozen: whatever else is read, a row stays in the split that it always was in, or is gone.

        Args:
            spec: What the line says about its data.
            sources: As they were read, in the order of `sources_of`.
            is_erased: Tells of subjects' ids which of them must not come back.

        Raises:
            DatasetError: the sources do not fit together, or there are too few rows to split.
        """
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What reading may need to know besides the spec."""

    contract: Path
    """The line's contract."""
    salt: bytes = field(repr=False)
    """Of the hashes that stand in for what must not be seen."""
    objects: ObjectStore
    """Where sources may lie."""
    cache: Path
    """A folder for what can be made again."""
    releases: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Rules in spite of which a person has let a file in, by the file's SHA-256."""


@runtime_checkable
class Gated(Protocol[S_contra]):
    """An ingestion whose sources are no tables: it reads them itself, and a gate may hold some of what it reads back."""

    @property
    def domains(self) -> Collection[str]:
        """Domains of contracts about what the files are like: where one fails, they have changed shape."""
        ...

    def gate_hash(self, surroundings: Surroundings) -> str:
        """Identity of the rules of its gate.

        Raises:
            DatasetError: they cannot be read.
        """
        ...

    def source_hash(self, spec: S_contra, surroundings: Surroundings) -> str:
        """Hash of the sources as they are now, as reading would find it.

        Raises:
            DatasetError: a source is not there.
        """
        ...

    def read(self, spec: S_contra, surroundings: Surroundings) -> list[RawSource]:
        """Every source of the spec, judged by its gate: a raw row for each thing that was looked at.

        Raises:
            DatasetError: a source is missing or garbled.
        """
        ...


@runtime_checkable
class HoldsBack(Protocol[S_contra]):
    """An `Ingestion` that does not let every file in: what it holds back is the line's quarantine."""

    def released_by(self, spec: S_contra) -> str:
        """The group of those who may let a file in all the same."""
        ...


@runtime_checkable
class TellsWhose(Protocol):
    """An `Ingestion` whose sources may lie in the platform's store as files that name their subject in a way of their own."""

    def is_about(self, subject: Subject, content: bytes) -> bool:
        """Whether a file with these bytes is about a subject.

        Raises:
            DatasetError: it is of a kind that cannot be read here, so nobody knows.
        """
        ...


def sources_of(spec: DatasetSpec) -> list[tuple[str, str]]:
    """(URI, role) of every source; the role is train, test or shift."""
    others = ((spec.val_data_uri, "test"), (spec.shift_data_uri, "shift"))
    return [*((uri, "train") for uri in spec.train_data_uri), *((uri, role) for uri, role in others if uri)]


def opened(uri: str) -> Source | LargeSource:
    """The source behind a URI: the bytes, or a file of this machine that is too large to be read whole.

    Raises:
        DatasetError: As `open_source` has it.
    """
    return large_source(uri) or open_source(uri)


def current_source_hash(spec: DatasetSpec, ingestion: "Ingestion[Any]", surroundings: Surroundings) -> str:
    """Hash of the sources as they are now.

    Raises:
        DatasetError: a source is missing.
    """
    if isinstance(ingestion, Gated):
        return ingestion.source_hash(spec, surroundings)
    return sources_hash(opened(uri) for uri, _ in sources_of(spec))


def raw_sources(
    spec: DatasetSpec, ingestion: "Ingestion[Any]", surroundings: Surroundings
) -> list[RawSource]:
    """Every source of the spec, raw.

    Raises:
        DatasetError: a source is missing or garbled.
    """
    return ingestion.read(spec, surroundings) if isinstance(ingestion, Gated) else read_sources(spec)


def read_sources(spec: DatasetSpec) -> list[RawSource]:
    """Every source of the spec that is a table, raw.

    Raises:
        DatasetError: a source is missing or garbled.
    """
    sources = [(opened(uri), role) for uri, role in sources_of(spec)]
    return [
        RawSource(source, role, read_large(source) if isinstance(source, LargeSource) else read_frame(source))
        for source, role in sources
    ]


def first_sources_of(
    roles: "pd.Series[str]", sources: "pd.Series[str]", positions: "pd.Series[int]"
) -> tuple[str, ...]:
    """Values of column `source` in the line's own rows.

    Args:
        roles: Role of the source of each raw row.
        sources: What each raw row calls its source.
        positions: Which of the sources, in order, each raw row is of.
    """
    only_tested = set(sources[roles == "test"]) - set(sources[roles == "train"])
    return tuple(sorted(only_tested.union(sources[positions == 0])))
