"""Whether features tell a model what it cannot know when it is asked: the rules, on rows that lie in memory.

(a) *apart*: nobody whom a transformer was fitted on is among the rows that the model is measured on; nor is a group.
(b) *known*: where a line splits by time, every fitted row and its target were known before its first held-out row.
(c) *past only*: a feature of a row is what it would be if only rows that were available before it had ever been.
(d) *looked up*: what is joined of another source's table is the newest that was known before the row (`leak_join`); the
    table itself is held against (c), on the rows of that source.

Nothing here reads a store; `leak_gate` brings the rows. Findings are counts, and never values.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from platform_assets.features.errors import FeatureError
from platform_assets.features.fit_input import first_held_out, known_before, subject_ids
from platform_assets.features.transformer import FittedTransformer
from platform_assets.features.transformer_spec import ZscoreSpec
from platform_assets.features.window_columns import known_times
from platform_assets.ledger.ledger import fingerprint_of

if TYPE_CHECKING:
    import pyarrow as pa

RULE_SET: Final = "features.no_leak"
MEASURED: Final = ("validation", "test", "shift")
"""Splits that no transformer may have learnt from. `reserve` is not measured on."""
SAMPLE_ROWS: Final = 2_000
"""Rows whose features are made again; of fewer rows, all."""
MOST_HISTORY: Final = 20_000_000
"""Rows of history that are read again for them; entities with very long histories allow fewer."""
_BATCH_HISTORY: Final = 250_000
"""Rows of history that lie in memory at a time, or those of one row where it has more."""
RULE_SET_HASH: Final = fingerprint_of(
    version=3,
    apart="no subject or group of the fitted rows is among validation, test or shift; subject and time, where the split "
    "divides subjects; nobody can tell where no subject is in both, or rows without a key are not all there",
    known="time and available of every fitted row are before the first validation or test row, where rows are split by time",
    past_only="bit-equal from rows that were available before",
    looked_up="bit-equal to the newest of the table whose time and availability are before the row's time",
    sample_rows=SAMPLE_ROWS,
)
Outcome = Literal["pass", "fail", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule found about one transformer."""

    transformer: str
    """As a line pins it: `credit_woe@v3`."""
    rule: str
    outcome: Outcome
    reason: str
    """For people; counts only."""
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class FittedRows:
    """The rows that a transformer learnt from, as they are today."""

    rows: "pa.Table"
    subject_column: str


def kept_apart(
    label: str,
    fitted: FittedRows,
    line_rows: "pa.Table",
    subject_column: str,
    *,
    group_column: str | None = None,
    time_column: str | None = None,
    has_key: bool = True,
) -> Finding:
    """Rule (a).

    Args:
        label: Of the transformer.
        fitted: What it learnt from; its subjects are of the line's own namespace.
        line_rows: All rows of the line's dataset, with `split`.
        subject_column: Whose each of these is.
        group_column: What the split keeps together besides subjects; None where it does not.
        time_column: When each row was, by which rows of one subject are told apart; None where nobody says.
        has_key: Whether subjects are those of a key, rather than hashes of all values of a row.

    Raises:
        FeatureError: a column is missing, or nobody can tell rows of one subject apart.
        SubjectError: a column can hold no ids.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    measured = line_rows.filter(pc.is_in(line_rows["split"], pa.array(MEASURED)))
    train = line_rows.filter(pc.equal(line_rows["split"], "train"))
    here, there = subject_ids(measured, subject_column), subject_ids(fitted.rows, fitted.subject_column)
    learnt, present = set(there) - {None}, set(subject_ids(line_rows, subject_column))
    shared = bool(learnt & present)
    counts = {"fitted_rows": len(there), "measured_rows": len(here)}
    if divided := not set(here).isdisjoint(subject_ids(train, subject_column)):
        if time_column is None:
            raise FeatureError(
                "subjects of this line are on both sides of its split, and without a time nobody can tell their rows apart"
            )
        known = set(_at(there, fitted.rows, time_column))
        met = [each in known for each in _at(here, measured, time_column)]
    else:
        met = [each in learnt for each in here]
    if group_column is not None:
        groups = set(subject_ids(fitted.rows, group_column)) - {None}
        shared |= not groups.isdisjoint(subject_ids(line_rows, group_column))
        met = [
            each or group in groups
            for each, group in zip(met, subject_ids(measured, group_column), strict=True)
        ]
    if any(met):
        what = "are" if divided else "are of subjects that are"
        if group_column is not None:
            what = f"are of a subject or {group_column} that is"
        return Finding(
            label,
            "apart",
            "fail",
            f"{sum(met):,} of {len(here):,} rows that are measured on {what} among the {len(there):,} that {label} was "
            "fitted on",
            counts | {"met": sum(met)},
        )
    strangers = len(learnt - present)
    if not shared or (strangers and not has_key):
        because = (
            f"none of the {len(there):,} rows that it was fitted on is about anybody in this line, so their ids may be of "
            "another kind; fit it on the line's dataset, or on one of the same subjects"
            if not shared
            else f"{strangers:,} of the {len(learnt):,} rows that it was fitted on are not in this line; without a key they "
            "may be its own rows before a value was changed; fit it again"
        )
        return Finding(
            label,
            "apart",
            "error",
            f"nobody can tell of {label}: {because}",
            counts | {"met": 0, "strangers": strangers},
        )
    return Finding(
        label,
        "apart",
        "pass",
        f"0 of {len(here):,} rows that are measured on are among the {len(there):,} that {label} was fitted on",
        counts | {"met": 0},
    )


def targets_known(
    label: str, fitted: "pa.Table", known_columns: Sequence[str], line_rows: "pa.Table", time_column: str
) -> Finding:
    """Rule (b).

    Args:
        label: Of the transformer.
        fitted: The rows that it learnt from.
        known_columns: When each of them was, and when its target became known, as far as somebody says so.
        line_rows: All rows of the line's dataset, with `split`.
        time_column: By which they are split.

    Raises:
        FeatureError: a time cannot be read.
    """
    import pyarrow.compute as pc

    cut, count, late = first_held_out(line_rows, time_column), fitted.num_rows, 0
    if cut is not None:
        late = count - int(pc.sum(known_before(fitted, known_columns, cut)).as_py() or 0)
    return Finding(
        label,
        "known",
        "fail" if late else "pass",
        f"{late:,} of {count:,} rows that {label} was fitted on, or their target, were not yet known when held-out rows "
        f"began, by {' and '.join(known_columns)}",
        {"fitted_rows": count, "late": late},
    )


def past_only(label: str, fitted: FittedTransformer, rows: "pa.Table") -> Finding:
    """Rule (c), on a sample of the rows.

    Args:
        label: Of the transformer.
        fitted: A z-score or a lag.
        rows: All rows that it looks along: of the line's dataset, as it sees them, or of its own source.

    Raises:
        FeatureError: a column is missing, or is of another type.
    """
    spec = fitted.spec
    assert spec.entity_key is not None
    assert spec.timestamp_column is not None
    read = (spec.entity_key, spec.timestamp_column, spec.available_column, *spec.columns)
    # Whatever else the rows have would be copied with their histories.
    rows = rows.select([name for name in dict.fromkeys(read) if name in rows.column_names])
    made, history, budget = bits_of(fitted, rows), _History(fitted, rows), MOST_HISTORY
    batch: list[NDArray[np.int64]] = []
    looked_at, differing, size = 0, 0, 0
    chosen = sampled(rows.num_rows)
    for at in chosen:
        piece = history.of(at)
        budget -= piece.size
        if budget < 0 and looked_at + len(batch):
            break
        if batch and size + piece.size > _BATCH_HISTORY:
            differing += _differing(fitted, rows, made, batch, chosen[looked_at:])
            looked_at, batch, size = looked_at + len(batch), [], 0
        batch.append(piece)
        size += piece.size
    if batch:
        differing += _differing(fitted, rows, made, batch, chosen[looked_at:])
        looked_at += len(batch)
    return Finding(
        label,
        "past only",
        "fail" if differing else "pass",
        f"{differing:,} of {looked_at:,} rows have other features of {label} if only rows that were available before "
        "them had been",
        {"sampled_rows": looked_at, "rows": rows.num_rows, "differing": differing},
    )


def _differing(
    fitted: FittedTransformer,
    rows: "pa.Table",
    made: NDArray[np.uint64],
    pieces: Sequence[NDArray[np.int64]],
    positions: NDArray[np.int64],
) -> int:
    """How many rows have other features when each has its past by itself, as if it were of an entity of its own.

    Args:
        fitted: A z-score or a lag.
        rows: All rows.
        made: Their features, bit by bit.
        pieces: The past of some of them, with the row itself; positions.
        positions: Of these rows, and perhaps of further ones.
    """
    import pyarrow as pa

    taken, chosen = np.concatenate(pieces), positions[: len(pieces)]
    owners = np.repeat(np.arange(len(pieces)), np.array([piece.size for piece in pieces], np.int64))
    alone = rows.take(pa.array(taken))
    key = str(fitted.spec.entity_key)
    alone = alone.set_column(alone.column_names.index(key), key, pa.array(owners).cast(pa.string()))
    again = bits_of(fitted, alone)
    asked = np.flatnonzero(taken == chosen[owners])
    return int((made[chosen] != again[asked]).any(axis=1).sum())


class _History:
    """Which rows were available before each row, by position."""

    def __init__(self, fitted: FittedTransformer, rows: "pa.Table") -> None:
        import pyarrow.compute as pc

        spec = fitted.spec
        self._times = known_or_never(known_times(rows, str(spec.timestamp_column)))
        self._available = (
            self._times
            if spec.available_column is None
            else known_or_never(known_times(rows, spec.available_column))
        )
        settings = spec.of_type()
        self._current = isinstance(settings, ZscoreSpec) and settings.include_current
        column = rows[str(spec.entity_key)]
        entities = pc.index_in(column, column.unique()).to_numpy()
        self._order = np.argsort(entities, kind="stable")
        self._entities = entities
        ordered = entities[self._order]
        self._begins = np.searchsorted(ordered, ordered, side="left")
        self._ends = np.searchsorted(ordered, ordered, side="right")
        self._places = np.empty_like(self._order)
        self._places[self._order] = np.arange(self._order.size)

    def of(self, at: int) -> NDArray[np.int64]:
        """Positions of the rows that a row may know, and of itself, as they come: sums go in this order."""
        place = self._places[at]
        own = self._order[self._begins[place] : self._ends[place]]
        now = self._times[at]
        if self._current:
            known = (self._times[own] <= now) & (self._available[own] <= now)
        else:
            known = (self._times[own] < now) & (self._available[own] < now)
        chosen: NDArray[np.int64] = own[known | (own == at)]
        return chosen


def known_or_never(times: "pa.Array") -> NDArray[np.int64]:
    """As an array; what has no time is never known."""
    known: NDArray[np.int64] = times.fill_null(np.iinfo(np.int64).max).to_numpy()
    return known


def sampled(rows: int) -> NDArray[np.int64]:
    """Positions of the rows to look at, in no order of theirs: the lowest of a hash of the position."""
    if rows <= SAMPLE_ROWS:
        return np.arange(rows)
    # SplitMix64 (Steele, Lea & Flood 2014).
    mixed = (np.arange(rows, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return np.argsort(mixed, kind="stable")[:SAMPLE_ROWS]


def bits_of(fitted: FittedTransformer, rows: "pa.Table") -> NDArray[np.uint64]:
    """The outputs bit by bit, shape (rows, outputs); all missing ones are alike."""
    made = fitted.transform(rows)
    columns = [made[name].to_numpy() for name in fitted.spec.outputs.values()]
    numbers = np.stack(columns, axis=1).astype(np.float64)
    numbers[np.isnan(numbers)] = np.nan
    return numbers.view(np.uint64)


def _at(ids: Sequence[str | None], rows: "pa.Table", time_column: str) -> list[tuple[Hashable, ...]]:
    """Whose each row is, and when it was: a value of it may be corrected, and it is still the same row."""
    return list(zip(ids, known_times(rows, time_column).to_pylist(), strict=True))
