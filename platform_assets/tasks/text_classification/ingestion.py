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
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from platform_assets.datasets.errors import DatasetError
from platform_assets.datasets.ingestion import PreparedRows, RawSource, SubjectColumn, first_sources_of
from platform_assets.datasets.sources import sources_hash
from platform_assets.datasets.splits import GUARD, block_splits, keep_evenly
from platform_assets.fingerprint import code_version
from platform_assets.tasks.text_classification.spec import TextDatasetSpec
from resources.row_batches import RowBatches

if TYPE_CHECKING:
    import pandas as pd

SUBJECT: Final = SubjectColumn("review", "review_id")
COLUMNS = ("review_id", "text", "label", "source", "split")
REQUIRED_COLUMNS = ("text", "label")
_LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_LABELS = ("0", "1")
_LABEL_LIMIT = 2**31
"""Labels are stored as 32 bits; even an odd one must fit, or no contract could refuse it."""


class TextIngestion:
    """Rows of labelled texts. A text is its own subject: its author is known by nothing else."""

    description: Final = "Labelled texts, normalised, split and published after their contract passed."
    fields: Final = ("split",)

    @cached_property
    def code(self) -> str:
        """See `Ingestion.code`."""
        return code_version(
            "text dataset",
            "platform_assets.tasks.text_classification.ingestion",
            "platform_assets.datasets.splits",
        )

    def subject(self, spec: TextDatasetSpec) -> SubjectColumn:  # noqa: ARG002 - the same for every line
        """See `Ingestion.subject`."""
        return SUBJECT

    def prepare(
        self,
        spec: TextDatasetSpec,
        sources: Sequence[RawSource],
        *,
        is_erased: Callable[[Sequence[str]], Sequence[bool]],
    ) -> PreparedRows:
        """See `Ingestion.prepare`; duplicates and texts under both labels are left out, too.

        Rows of the same text and label as an earlier one are duplicates. Of a text that stands under both labels,
        all rows are left out within one URI; between two URIs those of the later one, so that no other URI can
        take rows from a frozen test split.

        Raises:
            DatasetError: a source lacks a column or has labels that are no numbers, the test source shares
                texts with the training sources, or there are too few rows to split.
        """
        import pandas as pd
        import pyarrow as pa

        raw = pd.concat(
            [_normalised(each).assign(role=each.role, uri=at) for at, each in enumerate(sources)],
            ignore_index=True,
        )
        gone = pd.Series(is_erased(raw["review_id"].fillna("").tolist()), index=raw.index, dtype=bool)
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
        guarded = left & (raw["split"] == GUARD)
        frame = raw.loc[left & ~guarded, list(COLUMNS)].reset_index(drop=True)
        ids = frame["review_id"].to_numpy()
        keep_evenly(frame, "train", spec.train_rows, seed=spec.split.seed, ids=ids)
        keep_evenly(frame, "shift", spec.shift_rows, seed=spec.split.seed, ids=ids)
        return PreparedRows(
            rows=RowBatches.of(
                pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
            ),
            first_sources=first_sources_of(raw["role"], raw["source"], raw["uri"]),
            source_hash=sources_hash(each.source for each in sources),
            raw_rows=len(raw),
            erased=int(gone.sum()),
            left_out={
                "duplicates_removed": int((repeated & ~gone).sum()),
                "conflicting_labels_removed": int((conflicting & ~gone).sum()),
                "guard_rows_left_out": int(guarded.sum()),
            },
        )


def review_id(text: str) -> str:
    """Identity of a text, whatever its case and spacing."""
    return hashlib.sha256(clean(text).casefold().encode()).hexdigest()


def clean(text: str) -> str:
    """`text` without HTML line breaks, white space folded to single blanks."""
    return " ".join(_LINE_BREAK.sub(" ", text).split())


def _normalised(given: RawSource) -> "pd.DataFrame":
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
            "label": _integer_labels(source.uri, raw["label"]),
            "source": raw["source"].fillna(source.name).astype(str)
            if "source" in raw.columns
            else source.name,
        }
    )


def _integer_labels(uri: str, labels: "pd.Series[Any]") -> "pd.Series[Any]":
    import pandas as pd

    numbers = pd.to_numeric(labels, errors="coerce")
    wrong = labels.notna() & (numbers.isna() | (numbers % 1 != 0) | (numbers.abs() >= _LABEL_LIMIT))
    if wrong.any():
        raise DatasetError(
            f"{uri}: {int(wrong.sum())} of {len(labels)} rows have a label that is not a whole number "
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


def _frozen_splits(frame: "pd.DataFrame", spec: TextDatasetSpec) -> "pd.Series[Any]":
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
            splits[rows] = block_splits(
                len(rows), f"{source}|{label}", spec.split, cut_test=spec.val_data_uri is None
            )
    return pd.Series(splits, index=frame.index)
