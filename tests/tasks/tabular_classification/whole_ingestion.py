"""How the rows of a table were prepared when all of them lay in memory: the reference that preparing in parts must equal."""

# As it was, with what it says about itself.

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from platform_assets.datasets.errors import DatasetError
from platform_assets.datasets.ingestion import PreparedRows, RawSource, first_sources_of
from platform_assets.datasets.sources import sources_hash
from platform_assets.datasets.splits import GUARD, block_splits, drawn_splits, keep_evenly, time_splits
from platform_assets.tasks.tabular_classification.derived import with_derived
from platform_assets.tasks.tabular_classification.ingestion import TabularIngestion
from platform_assets.tasks.tabular_classification.spec import ROW_ID, TableDatasetSpec
from platform_assets.tasks.tabular_classification.values import numbers, plain_texts, text_of, texts, times
from resources.row_batches import RowBatches

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

INGESTION: Final = TabularIngestion()
_CLASSES: Final = 2
_ROLE, _AT = "\0role", "\0source"
"""Role and number of the source of a raw row; no column of a source is called so."""


def prepare_whole(
    spec: TableDatasetSpec,
    sources: Sequence[RawSource],
    *,
    is_erased: Callable[[Sequence[str]], Sequence[bool]],
) -> PreparedRows:
    """What `TabularIngestion.prepare` makes of these sources, of which each is one frame."""
    import pandas as pd

    _refuse_one_name(sources)
    frames = [_typed(each, spec) for each in sources]
    for at, (frame, each) in enumerate(zip(frames, sources, strict=True)):
        frame[_ROLE], frame[_AT] = each.role, at
    raw = pd.concat(frames, ignore_index=True)
    subject = INGESTION.subject(spec).name
    raw["label"] = _labels(raw["label"], spec)
    gone = pd.Series(is_erased(raw[subject].tolist()), index=raw.index, dtype=bool)
    unlabelled = raw["label"].isna()
    raw["split"] = _frozen_splits(raw, spec)
    guarded = raw["split"] == GUARD
    units = _units(raw, spec)
    if spec.val_data_uri is not None:
        _refuse_overlap(raw[~gone & ~unlabelled], units[~gone & ~unlabelled], spec.val_data_uri)
    repeated = _row_hashes(raw, spec).duplicated() if spec.key else raw[_AT] < 0
    elsewhere = _settled_elsewhere(raw["split"], units, ~guarded & ~unlabelled & ~repeated)
    left = ~gone & ~unlabelled & ~repeated & ~guarded & ~elsewhere
    frame = raw.loc[left, INGESTION.columns(spec)].reset_index(drop=True)
    subjects = frame[subject].to_numpy()
    keep_evenly(frame, "train", spec.train_rows, seed=spec.split.seed, ids=subjects)
    keep_evenly(frame, "shift", spec.shift_rows, seed=spec.split.seed, ids=subjects)
    _refuse_empty_splits(frame["split"])
    return PreparedRows(
        rows=RowBatches.of(_as_table(frame, spec)),
        first_sources=first_sources_of(raw[_ROLE], raw["source"], raw[_AT]),
        source_hash=sources_hash(each.source for each in sources),
        raw_rows=len(raw),
        erased=int(gone.sum()),
        left_out={
            "without_target_removed": int((unlabelled & ~gone).sum()),
            "duplicates_removed": int((repeated & ~unlabelled & ~gone).sum()),
            "guard_rows_left_out": int((guarded & ~repeated & ~unlabelled & ~gone).sum()),
            "in_another_split_removed": int((elsewhere & ~gone).sum()),
        },
    )


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


def _typed(given: RawSource, spec: TableDatasetSpec) -> "pd.DataFrame":
    """Raw frame → the subject's column, the used columns with their types, the target as text in `label`, `source`."""
    import pandas as pd

    source, raw = given.source, with_derived(given.frame, spec.derived, given.source.uri)
    missing = [name for name in spec.columns if name not in raw.columns]
    if missing:
        found = ", ".join(str(column) for column in given.frame.columns)
        raise DatasetError(
            f"{source.uri}: column {' and '.join(map(repr, missing))} is missing ({len(raw)} rows, columns: {found})"
        )
    typed: dict[str, Any] = {}
    for name, column in spec.columns.items():
        where = f"{source.uri}: column {name!r}"
        match column.role:
            case "numeric":
                typed[name] = numbers(raw[name], where)
            case "time" | "available":
                typed[name] = times(raw[name], where)
            case "target":
                typed["label"] = texts(raw[name], where)
            case _:
                typed[name] = texts(raw[name], where)
        if column.role in {"key", "group"} or (column.role, spec.split.by) == ("time", "time"):
            _refuse_missing(typed[name], where)
        if column.role == "ordinal":
            _refuse_unknown(typed[name], [text_of(value) for value in column.order], where)
    frame = pd.DataFrame(typed).assign(source=source.name)
    if spec.key is None:
        frame[ROW_ID] = _row_ids(given.frame.drop(columns=list(spec.lineage.raw(spec.target))), source.uri)
    return frame


def _row_ids(raw: "pd.DataFrame", where: str) -> list[str]:
    """SHA-256 of each raw row's values by column; missing ones do not count.

    Of all columns, whatever the spec uses, for what as, and in which order: else another recipe would not know whom
    to leave out as erased, nor in which split a row has been.
    """
    spelt: dict[str, Sequence[str | None]] = {
        str(name): plain_texts(raw[name], f"{where}: column {str(name)!r}")
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


def _labels(target: "pd.Series[Any]", spec: TableDatasetSpec) -> "pd.Series[Any]":
    """1 where the target has its positive value, 0 where it has the other, null where it has none."""
    positive = text_of(spec.columns[spec.target].positive)
    values = set(target.dropna())
    if positive not in values or len(values) != _CLASSES:
        raise DatasetError(
            f"column {spec.target!r}: has {len(values)} different values, {positive!r} "
            f"{'among them' if positive in values else 'not among them'}; a target has two, and states one as `positive`"
        )
    return (target == positive).astype("Int32").where(target.notna())


def _refuse_missing(values: Any, where: str) -> None:
    import pandas as pd

    absent = pd.isna(pd.Series(values)).to_numpy()
    if absent.any():
        raise DatasetError(
            f"{where}: {int(absent.sum())} of {len(absent)} rows have no value (first: row {int(absent.argmax()) + 1}); "
            "a key, a group, and a time to split by is needed in every row"
        )


def _refuse_unknown(values: Sequence[str | None], order: Sequence[str], where: str) -> None:
    wrong = [row for row, value in enumerate(values, start=1) if value is not None and value not in order]
    if wrong:
        raise DatasetError(
            f"{where}: {len(wrong)} of {len(values)} values do not stand in `order` (first: row {wrong[0]})"
        )


def _row_hashes(frame: "pd.DataFrame", spec: TableDatasetSpec) -> "pd.Series[Any]":
    """SHA-256 of each row's values by the spec's columns, and the label; missing ones count."""
    import pandas as pd

    names = [*(name for name in spec.columns if name != spec.target), "label"]
    columns = [[None if pd.isna(value) else str(value) for value in frame[name].tolist()] for name in names]
    return pd.Series(
        [hashlib.sha256(json.dumps(row).encode()).hexdigest() for row in zip(*columns, strict=True)],
        index=frame.index,
        dtype=object,
    )


def _units(raw: "pd.DataFrame", spec: TableDatasetSpec) -> "pd.DataFrame":
    """What must not be divided between splits, a column each: keys and groups; by time only equal rows."""
    import pandas as pd

    if spec.split.by == "time":
        # The newest rows of a key are what is asked about: its older ones are what is known.
        return pd.DataFrame({"row": _row_hashes(raw, spec)})
    names = [INGESTION.subject(spec).name, *spec.named("group")]
    return raw[names]


def _refuse_overlap(raw: "pd.DataFrame", units: "pd.DataFrame", val_uri: str) -> None:
    train, test = raw[_ROLE] == "train", raw[_ROLE] == "test"
    for name in units:
        shared = units[name][test].isin(set(units[name][train]))
        if shared.any():
            raise DatasetError(
                f"{val_uri}: {int(shared.sum())} of {len(shared)} rows have a {name} that is also in train_data_uri; "
                "remove them from one of the two, or the test measures memory"
            )


def _settled_elsewhere(
    splits: "pd.Series[Any]", units: "pd.DataFrame", counted: "pd.Series[bool]"
) -> "pd.Series[bool]":
    """Which rows are of a key or group whose first row, of those that count, is in another split."""
    found = ~counted & counted
    for name in units:
        first = splits[counted].groupby(units[name][counted], sort=False).first()
        found |= counted & (units[name].map(first) != splits)
    return found


def _frozen_splits(raw: "pd.DataFrame", spec: TableDatasetSpec) -> "pd.Series[Any]":
    """One split name per row, of each source by itself; `guard` for rows that separate two splits."""
    import pandas as pd

    plan, cut_test = spec.split, spec.val_data_uri is None
    splits = np.array(raw[_ROLE], dtype=object)
    for rows in raw.groupby(_AT, sort=True).indices.values():
        of_source = raw.iloc[rows]
        if of_source[_ROLE].iloc[0] != "train":
            continue
        name = str(of_source["source"].iloc[0])
        match plan.by:
            case "time":
                given = of_source[spec.named("time")[0]].to_numpy()
                splits[rows] = time_splits(given, plan, name=name, cut_test=cut_test)
            case "blocks":
                splits[rows] = block_splits(len(rows), name, plan, cut_test=cut_test)
            case "group" if spec.named("group"):
                splits[rows] = drawn_splits(
                    of_source[spec.named("group")[0]].tolist(), plan, cut_test=cut_test
                )
            case _:
                subjects = of_source[spec.key or ROW_ID].tolist()
                splits[rows] = drawn_splits(subjects, plan, cut_test=cut_test)
    return pd.Series(splits, index=raw.index)


def _refuse_empty_splits(splits: "pd.Series[Any]") -> None:
    found = splits.value_counts()
    for split in ("train", "validation", "test"):
        if not found.get(split, 0):
            raise DatasetError(
                f"no row is left for split {split!r} of {len(splits)} rows; give more rows or other shares under split"
            )


def _as_table(frame: "pd.DataFrame", spec: TableDatasetSpec) -> "pa.Table":
    import pyarrow as pa

    instant = pa.timestamp("us", tz="UTC")
    kinds = {"numeric": pa.float64(), "time": instant, "available": instant}
    arrays, fields = [], []
    for name in frame.columns:
        column = None if name == "label" else spec.columns.get(name)
        kind = pa.int32() if name == "label" else kinds.get(column.role if column else "", pa.string())
        values = frame[name].to_numpy()
        arrays.append(pa.array(values, from_pandas=True).cast(kind))
        fields.append(pa.field(name, kind))
    return pa.table(arrays, schema=pa.schema(fields))
