"""Labelled rows of tables: raw frames become one typed table, split so that nobody stands on two sides.

Splits are frozen: a row's split follows from its key or group and the seed alone, or, by time or by blocks, from the
source that it is in. Whatever else is trained on, a row is in the split that it always was in, or gone. A row without
a key goes by all values of its source but those that the target is made of, so that neither its split nor its erasure
depends on which of them a spec uses.

Columns of the prepared table, in this order:

| column | type | meaning |
|---|---|---|
| the key, or row_id | string | whose the row is |
| the others, as the spec lists them | float64; string; timestamp | numbers; categories, ordinals and groups; times |
| label | int32 | 1 where the target has its `positive` value, else 0 |
| source | string | where the row comes from |
| split | string | train, validation, test, shift or reserve |
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from platform_assets.datasets.errors import DatasetError
from platform_assets.datasets.ingestion import PreparedRows, RawSource, SubjectColumn, first_sources_of
from platform_assets.datasets.row_groups import RowGroups
from platform_assets.datasets.sources import sources_hash
from platform_assets.datasets.splits import GUARD, block_splits, drawn_splits, left_over, time_splits
from platform_assets.fingerprint import code_version
from platform_assets.tasks.tabular_classification.spec import ROW_ID, TableDatasetSpec
from platform_assets.tasks.tabular_classification.typed_rows import (
    NO_LABEL,
    SPLIT_CODES,
    TypedRows,
    read_typed,
)


class TabularIngestion:
    """Rows of tables. Whose they are, the key column says; a row without a key is its own subject."""

    description: Final = "Labelled rows, typed, split and published after their contract passed."
    fields: Final = ("columns", "derived", "subject", "split")

    @cached_property
    def code(self) -> str:
        """See `Ingestion.code`."""
        folder = "platform_assets.tasks.tabular_classification"
        return code_version(
            "table dataset",
            *(f"{folder}.{name}" for name in ("ingestion", "typed_rows", "derived", "values")),
            *(f"platform_assets.datasets.{name}" for name in ("splits", "row_groups", "row_spool")),
        )

    def subject(self, spec: TableDatasetSpec) -> SubjectColumn:
        """See `Ingestion.subject`."""
        return SubjectColumn(spec.subject, spec.key or ROW_ID)

    def prepare(
        self,
        spec: TableDatasetSpec,
        sources: Sequence[RawSource],
        *,
        is_erased: Callable[[Sequence[str]], Sequence[bool]],
    ) -> PreparedRows:
        """See `Ingestion.prepare`; some more rows are left out.

        Rows without a target. Where rows have a key, exact duplicates of an earlier one; without a key equal rows
        are kept as one subject, since two people may look alike. And rows of a key or group that an earlier source,
        or an earlier block, has put into another split.

        Values are read once, part by part, and typed ones kept; of each row a few numbers stay in memory.

        Raises:
            DatasetError: a source lacks a column or has values of another type, the target has more than two
                values, the test source shares subjects with the training sources, or there are too few rows.
        """
        _refuse_one_name(sources)
        raw = read_typed(spec, self.subject(spec).name, sources)
        raw.refuse_other_classes(spec)
        gone, unlabelled = raw.covered(is_erased), raw.labels == NO_LABEL
        splits = _frozen_splits(raw, spec)
        guarded = splits == SPLIT_CODES[GUARD]
        units = _units(raw, spec)
        if spec.val_data_uri is not None:
            _refuse_overlap(raw, units, ~gone & ~unlabelled, spec.val_data_uri)
        # Only by time are equal rows a unit anyway.
        rows = units["row"] if "row" in units else raw.row_groups(spec) if spec.key else None
        repeated = rows.repeated() if spec.key and rows is not None else np.zeros(len(gone), dtype=bool)
        counted = ~guarded & ~unlabelled & ~repeated
        elsewhere = np.zeros(len(gone), dtype=bool)
        for unit in units.values():
            elsewhere |= unit.strays(splits, counted)
        left = ~gone & ~unlabelled & ~repeated & ~guarded & ~elsewhere
        for split, wanted in (("train", spec.train_rows), ("shift", spec.shift_rows)):
            members = np.flatnonzero(left & (splits == SPLIT_CODES[split]))
            if wanted is not None and len(members):
                groups = 2 * raw.source_of(members) + raw.labels[members]
                over = left_over(groups, split, wanted, seed=spec.split.seed, ids=raw.subjects(members))
                splits[members[over]] = SPLIT_CODES["reserve"]
        _refuse_empty_splits(splits[left])
        return PreparedRows(
            rows=raw.kept(left, splits, self.columns(spec)),
            first_sources=_first_sources(sources),
            source_hash=sources_hash(each.source for each in sources),
            raw_rows=len(gone),
            erased=int(gone.sum()),
            left_out={
                "without_target_removed": int((unlabelled & ~gone).sum()),
                "duplicates_removed": int((repeated & ~unlabelled & ~gone).sum()),
                "guard_rows_left_out": int((guarded & ~repeated & ~unlabelled & ~gone).sum()),
                "in_another_split_removed": int((elsewhere & ~gone).sum()),
            },
        )

    def columns(self, spec: TableDatasetSpec) -> list[str]:
        """Columns of the prepared table, in order."""
        subject = self.subject(spec).name
        used = [name for name in spec.columns if name not in {subject, spec.target}]
        return [subject, *used, "label", "source", "split"]


def _refuse_one_name(sources: Sequence[RawSource]) -> None:
    """Rows are told apart by their source's name: what is of the line's own, and what another source costs."""
    first: dict[str, str] = {}
    for each in (given.source for given in sources):
        if each.name in first:
            raise DatasetError(
                f"{each.uri}: is called {each.name}, as {first[each.name]} is, so their rows cannot be told apart; "
                "rename one of the files"
            )
        first[each.name] = each.uri


def _first_sources(sources: Sequence[RawSource]) -> tuple[str, ...]:
    import pandas as pd

    return first_sources_of(
        pd.Series([each.role for each in sources]),
        pd.Series([each.source.name for each in sources]),
        pd.Series(range(len(sources))),
    )


def _units(raw: TypedRows, spec: TableDatasetSpec) -> dict[str, RowGroups]:
    """What must not be divided between splits, by name: keys and groups; by time only equal rows."""
    if spec.split.by == "time":
        # The newest rows of a key are what is asked about: its older ones are what is known.
        return {"row": raw.row_groups(spec)}
    return {name: raw.groups(name) for name in (raw.subject, *spec.named("group"))}


def _refuse_overlap(
    raw: TypedRows, units: Mapping[str, RowGroups], counted: NDArray[np.bool_], val_uri: str
) -> None:
    train, test = (counted & raw.of_role(role) for role in ("train", "test"))
    for name, unit in units.items():
        if shared := unit.shared(test, train):
            raise DatasetError(
                f"{val_uri}: {shared} of {int(test.sum())} rows have a {name} that is also in train_data_uri; "
                "remove them from one of the two, or the test measures memory"
            )


def _frozen_splits(raw: TypedRows, spec: TableDatasetSpec) -> NDArray[np.uint8]:
    """One split of each row, as `SPLIT_CODES` has it, of each source by itself; `guard` for rows that separate two."""
    plan, cut_test = spec.split, spec.val_data_uri is None
    splits = np.empty(raw.num_rows, dtype=np.uint8)
    times = raw.times(spec.named("time")[0]) if plan.by == "time" else None
    if plan.by in {"rows", "group"}:
        # Of a group where a column is one, else of a subject.
        unit = next(iter(spec.named("group")), raw.subject)
        for first, texts in raw.texts(unit):
            drawn = drawn_splits(texts, plan, cut_test=cut_test)
            splits[first : first + len(texts)] = _coded(drawn)
    for source in raw.parts:
        rows = source.rows
        if source.role != "train":
            splits[rows] = SPLIT_CODES[source.role]
        elif times is not None:
            splits[rows] = _coded(time_splits(times[rows], plan, name=source.name, cut_test=cut_test))
        elif plan.by == "blocks":
            drawn = block_splits(rows.stop - rows.start, source.name, plan, cut_test=cut_test)
            splits[rows] = _coded(drawn)
    return splits


def _coded(splits: NDArray[np.object_]) -> NDArray[np.uint8]:
    codes = np.empty(len(splits), dtype=np.uint8)
    for name, code in SPLIT_CODES.items():
        codes[splits == name] = code
    return codes


def _refuse_empty_splits(found: NDArray[np.uint8]) -> None:
    for split in ("train", "validation", "test"):
        if not (found == SPLIT_CODES[split]).any():
            raise DatasetError(
                f"no row is left for split {split!r} of {len(found)} rows; give more rows or other shares under split"
            )
