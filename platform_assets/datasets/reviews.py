"""Labelled texts: raw frames become one normalised table, split by blocks of neighbours.

Splits are frozen: a URI's rows are cut into splits by themselves, before other URIs are looked at and
erased rows leave. Whatever else is trained on, a row is in the split that it always was in, or gone.

Columns of the normalised table, in this order:

| column | type | meaning |
|---|---|---|
| review_id | string | SHA-256 of the text as compared: case and white space folded |
| text | string | the text without HTML line breaks, white space folded |
| label | int32 | 0 or 1 (anything else is for the contract to refuse) |
| source | string | where the row comes from |
| split | string | train, validation, test, shift or reserve |
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from platform_assets.datasets.errors import DatasetError
from platform_assets.datasets.sources import Source, open_source, read_frame, sources_hash
from platform_assets.datasets.spec import DatasetSpec, SplitSpec

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

COLUMNS = ("review_id", "text", "label", "source", "split")
SUBJECT_COLUMN = "review_id"
"""Who or what a row is about: erasing a subject removes its rows from every table with this column."""
REQUIRED_COLUMNS = ("text", "label")
SPLITS = ("train", "validation", "test", "shift", "reserve")
_LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_MINIMUM_BLOCKS = 3
_LABELS = ("0", "1")
_LABEL_LIMIT = 2**31
"""Labels are stored as 32 bits; even an odd one must fit, or no contract could refuse it."""


@dataclass(frozen=True, slots=True)
class ReviewsData:
    """The normalised table and what normalising it removed; each row is counted once."""

    frame: "pd.DataFrame"
    first_sources: tuple[str, ...]
    """Values of `source` in the line's own rows: those of the first training URI, and those that only the
    given test file has."""
    source_hash: str
    raw_rows: int
    erased: int
    """Rows left out because their subject was erased."""
    duplicates: int
    """Rows left out because an earlier row has the same text and label."""
    conflicts: int
    """Rows left out because the same text stands under both labels: all of them within one URI; between
    two URIs those of the later one, so that no other URI can take rows from a frozen test split."""
    guard_rows: int
    """Rows left out between blocks of different splits."""

    def rows_by_split(self) -> dict[str, int]:
        """Row count of each split that has rows."""
        counts = self.frame["split"].value_counts()
        return {split: int(counts[split]) for split in SPLITS if split in counts}


@dataclass(frozen=True, slots=True)
class RawReviews:
    """One source as it was read, before anything touched it."""

    source: Source
    role: str
    """train, test or shift."""
    frame: "pd.DataFrame"


def read_reviews(spec: DatasetSpec) -> list[RawReviews]:
    """Every source of the spec, raw.

    Raises:
        DatasetError: a source is missing or garbled.
    """
    opened = [(open_source(uri), role) for uri, role in sources_of(spec)]
    return [RawReviews(source, role, read_frame(source)) for source, role in opened]


def prepare_reviews(
    spec: DatasetSpec,
    sources: Sequence[RawReviews],
    *,
    is_erased: Callable[[Sequence[str]], Sequence[bool]] | None = None,
) -> ReviewsData:
    """Normalise, deduplicate and split each source, then leave out what was erased or is known from another.

    Args:
        spec: What the line says about its data.
        sources: What `read_reviews` has read.
        is_erased: Tells of review ids which of them must not come back.

    Raises:
        DatasetError: a source lacks a column or has labels that are no numbers, the test source shares
            texts with the training sources, or there are too few rows to split.
    """
    import pandas as pd

    raw = pd.concat(
        [_normalised(each).assign(role=each.role, uri=at) for at, each in enumerate(sources)],
        ignore_index=True,
    )
    gone = pd.Series(data=False, index=raw.index)
    if is_erased is not None:
        gone |= pd.Series(is_erased(raw["review_id"].fillna("").tolist()), index=raw.index, dtype=bool)
    if spec.val_data_uri is not None:
        _refuse_overlap(raw[~gone], spec.val_data_uri)
    conflicting = raw.groupby(["uri", "review_id"])["label"].transform("nunique") > 1
    repeated = raw["review_id"].notna() & raw.duplicated(["uri", "review_id"]) & ~conflicting
    raw["split"] = _frozen_splits(raw[~conflicting & ~repeated], spec)
    # Also of a text that the earlier URI itself left out: it is a guard row, or its label is not to be trusted.
    elsewhere = raw["uri"] > raw.groupby("review_id")["uri"].transform("min")
    known = elsewhere & ~conflicting & ~repeated
    agrees = raw.duplicated(["review_id", "label"])
    repeated |= known & agrees
    conflicting |= known & ~agrees
    left = ~gone & ~conflicting & ~repeated
    guarded = left & (raw["split"] == "guard")
    frame = raw.loc[left & ~guarded, list(COLUMNS)].reset_index(drop=True)
    _keep_evenly(frame, "train", spec.train_rows, spec.split.seed)
    _keep_evenly(frame, "shift", spec.shift_rows, spec.split.seed)
    return ReviewsData(
        frame=frame,
        first_sources=_first_sources(raw),
        source_hash=sources_hash(each.source for each in sources),
        raw_rows=len(raw),
        erased=int(gone.sum()),
        duplicates=int((repeated & ~gone).sum()),
        conflicts=int((conflicting & ~gone).sum()),
        guard_rows=int(guarded.sum()),
    )


def sources_of(spec: DatasetSpec) -> list[tuple[str, str]]:
    """(URI, role) of every source; the role is train, test or shift."""
    others = ((spec.val_data_uri, "test"), (spec.shift_data_uri, "shift"))
    return [*((uri, "train") for uri in spec.train_data_uri), *((uri, role) for uri, role in others if uri)]


def review_id(text: str) -> str:
    """Identity of a text, whatever its case and spacing."""
    return hashlib.sha256(clean(text).casefold().encode()).hexdigest()


def clean(text: str) -> str:
    """`text` without HTML line breaks, white space folded to single blanks."""
    return " ".join(_LINE_BREAK.sub(" ", text).split())


def _normalised(given: RawReviews) -> "pd.DataFrame":
    """Raw frame → review_id, text, label, source."""
    import pandas as pd

    source, raw = given.source, given.frame
    missing = [column for column in REQUIRED_COLUMNS if column not in raw.columns]
    if missing:
        found = ", ".join(str(column) for column in raw.columns)
        raise DatasetError(
            f"{source.uri}: column {' and '.join(map(repr, missing))} is missing ({len(raw)} rows, columns: {found})"
        )
    text = raw["text"].map(lambda value: clean(str(value)), na_action="ignore")
    return pd.DataFrame(
        {
            "review_id": text.map(review_id, na_action="ignore"),
            "text": text,
            "label": _integer_labels(source, raw["label"]),
            "source": raw["source"].fillna(source.name).astype(str)
            if "source" in raw.columns
            else source.name,
        }
    )


def _integer_labels(source: Source, labels: "pd.Series[Any]") -> "pd.Series[Any]":
    import pandas as pd

    numbers = pd.to_numeric(labels, errors="coerce")
    wrong = labels.notna() & (numbers.isna() | (numbers % 1 != 0) | (numbers.abs() >= _LABEL_LIMIT))
    if wrong.any():
        raise DatasetError(
            f"{source.uri}: {int(wrong.sum())} of {len(labels)} rows have a label that is not a whole number "
            f"(first: row {int(wrong.to_numpy().argmax()) + 1}); labels are 0 or 1"
        )
    return numbers.astype("Int32")


def _refuse_overlap(raw: "pd.DataFrame", val_uri: str) -> None:
    train_ids = set(raw.loc[raw["role"] == "train", "review_id"].dropna())
    shared = raw.loc[(raw["role"] == "test"), "review_id"].isin(train_ids)
    if shared.any():
        raise DatasetError(
            f"{val_uri}: {int(shared.sum())} of {len(shared)} rows have a text that is also in train_data_uri; "
            "remove them from one of the two, or the test measures memory"
        )


def _first_sources(raw: "pd.DataFrame") -> tuple[str, ...]:
    trained = raw["role"] == "train"
    only_tested = set(raw.loc[raw["role"] == "test", "source"]) - set(raw.loc[trained, "source"])
    return tuple(sorted(only_tested.union(raw.loc[raw["uri"] == 0, "source"])))


def _frozen_splits(frame: "pd.DataFrame", spec: DatasetSpec) -> "pd.Series[Any]":
    """One split name per row; `guard` for rows that separate two splits.

    Neighbours in a file are related: the reviews of one film and one label lie side by side. So whole
    blocks of neighbours go to one split, per URI, source and label, and where two splits meet, guard rows
    at least as many as the longest run of related rows are set aside. Sources name no films, so that praise
    and blame of one film meet in one split is not assured; nor is it of a run that is cut in two files.
    """
    import numpy as np
    import pandas as pd

    splits = np.full(len(frame), "train", dtype=object)
    groups: dict[Any, Any] = frame.groupby(
        ["uri", "role", "source", "label"], sort=False, dropna=False
    ).indices
    for (_, role, source, label), rows in groups.items():
        if role != "train":
            splits[rows] = role
        elif str(label) in _LABELS:
            # Rows of any other label stay where they are: the contract refuses them, and says how many.
            splits[rows] = _block_splits(
                len(rows), f"{source}|{label}", spec.split, cut_test=spec.val_data_uri is None
            )
    return pd.Series(splits, index=frame.index)


def _block_splits(rows: int, name: str, plan: SplitSpec, *, cut_test: bool) -> "NDArray[np.object_]":
    import numpy as np

    blocks = rows // plan.block_rows
    if blocks < _MINIMUM_BLOCKS:
        source, label = name.rsplit("|", 1)
        raise DatasetError(
            f"source {source!r} has {rows} rows of label {label}: {blocks} blocks of {plan.block_rows}, and a split takes "
            f"{_MINIMUM_BLOCKS}; give more rows or lower split.block_rows"
        )
    tests = max(1, round(plan.test * blocks)) if cut_test else 0
    validations = max(1, round(plan.validation * blocks))
    if tests + validations >= blocks:
        raise DatasetError(
            f"source {name!r}: test and validation take {tests + validations} of {blocks} blocks, and none is left to train on; "
            "lower split.test, split.validation or split.block_rows"
        )
    by_rank = sorted(
        range(blocks), key=lambda block: hashlib.sha256(f"{plan.seed}|{name}|{block}".encode()).digest()
    )
    of_block = np.full(blocks, "train", dtype=object)
    of_block[by_rank[:tests]] = "test"
    of_block[by_rank[tests : tests + validations]] = "validation"
    # The rows after the last whole block belong to it.
    block_of_row = np.minimum(np.arange(rows) // plan.block_rows, blocks - 1)
    splits = of_block[block_of_row]
    for block in np.flatnonzero(of_block[1:] != of_block[:-1]) + 1:
        splits[block * plan.block_rows : block * plan.block_rows + plan.guard_rows] = "guard"
    return splits


def _keep_evenly(frame: "pd.DataFrame", split: str, rows: int | None, seed: int) -> None:
    """Leave `rows` rows in `split`, an equal share of every (source, label); the rest becomes `reserve`."""
    import numpy as np

    members = np.flatnonzero(frame["split"] == split)
    if rows is None or len(members) == 0:
        return
    if rows > len(members):
        raise DatasetError(
            f"{split}_rows asks for {rows} rows and {len(members)} are left for {split}; lower it, or leave it empty for all"
        )
    review_ids = frame["review_id"].to_numpy()
    ranks = np.array([hashlib.sha256(f"{seed}|{review_ids[row]}".encode()).digest()[:8] for row in members])
    groups = frame.iloc[members].groupby(["source", "label"], sort=True, dropna=False).ngroup().to_numpy()
    # Position within the own group, by rank, relative to the group's size: taking the smallest
    # positions takes the same share of every group.
    order = np.lexsort((ranks, groups))
    sizes = np.bincount(groups)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    position = np.empty(len(members))
    position[order] = (np.arange(len(members)) - starts[groups[order]] + 0.5) / sizes[groups[order]]
    frame.loc[members[np.argsort(position, kind="stable")[rows:]], "split"] = "reserve"
