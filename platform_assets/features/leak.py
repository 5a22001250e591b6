"""Whether features tell a model what it cannot know when it is asked: the rules, on rows that lie in memory.

(a) *apart*: nobody whom a transformer was fitted on is among the rows that the model is measured on.
(b) *known*: where a line splits by time, the target of every fitted row was known before its first held-out row.
(c) *past only*: a feature of a row is what it would be if only rows that were available before it had ever been.

Nothing here reads a store; `leak_gate` brings the rows. Findings are counts, and never values.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from platform_assets.features.fit_input import subject_ids
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
_MOST_HISTORY: Final = 20_000_000
"""Rows of history that are read again for them; entities with very long histories allow fewer."""
RULE_SET_HASH: Final = fingerprint_of(
    version=1,
    apart="no subject of the fitted rows is among validation, test or shift; rows, where the split divides subjects",
    known="available of every fitted row is before the first validation or test row, where rows are split by time",
    past_only="bit-equal from rows that were available before",
    sample_rows=SAMPLE_ROWS,
)
_ABOUT_ROWS: Final = ("label", "source", "split")
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


def kept_apart(label: str, fitted: FittedRows, line_rows: "pa.Table", subject_column: str) -> Finding:
    """Rule (a).

    Args:
        label: Of the transformer.
        fitted: What it learnt from; its subjects are of the line's own namespace.
        line_rows: All rows of the line's dataset, with `split`.
        subject_column: Whose each of these is.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    measured = line_rows.filter(pc.is_in(line_rows["split"], pa.array(MEASURED)))
    train = line_rows.filter(pc.equal(line_rows["split"], "train"))
    here, there = subject_ids(measured, subject_column), subject_ids(fitted.rows, fitted.subject_column)
    divided = not set(here).isdisjoint(subject_ids(train, subject_column))
    shared = _shared_columns(fitted, measured, subject_column) if divided else []
    known = set(_keys(there, fitted.rows, shared))
    met = sum(each in known for each in _keys(here, measured, shared))
    what = "are" if divided and shared else "are of subjects that are"
    return Finding(
        label,
        "apart",
        "fail" if met else "pass",
        f"{met:,} of {len(here):,} rows that are measured on {what} among the {len(there):,} that {label} was fitted on",
        {"fitted_rows": len(there), "measured_rows": len(here), "met": met},
    )


def targets_known(
    label: str, fitted: "pa.Table", available_column: str, line_rows: "pa.Table", time_column: str
) -> Finding:
    """Rule (b).

    Args:
        label: Of the transformer.
        fitted: The rows that it learnt from.
        available_column: When the target of each of them became known.
        line_rows: All rows of the line's dataset, with `split`.
        time_column: By which they are split.

    Raises:
        FeatureError: a time cannot be read.
    """
    import pyarrow.compute as pc

    from platform_assets.features.fit_input import first_held_out

    cut = first_held_out(line_rows, time_column)
    count = fitted.num_rows
    late = 0
    if cut is not None:
        known = pc.fill_null(pc.less(known_times(fitted, available_column), cut), fill_value=False)
        late = count - int(pc.sum(known).as_py() or 0)
    return Finding(
        label,
        "known",
        "fail" if late else "pass",
        f"the target of {late:,} of {count:,} rows that {label} was fitted on was not yet known when held-out rows began",
        {"fitted_rows": count, "late": late},
    )


def past_only(label: str, fitted: FittedTransformer, rows: "pa.Table") -> Finding:
    """Rule (c), on a sample of the rows.

    Args:
        label: Of the transformer.
        fitted: A z-score or a lag.
        rows: All rows of the line's dataset, as it sees them.

    Raises:
        FeatureError: a column is missing, or is of another type.
    """
    import pyarrow as pa

    spec = fitted.spec
    assert spec.entity_key is not None
    assert spec.timestamp_column is not None
    made = _bits(fitted, rows)
    pieces: list[NDArray[np.int64]] = []
    budget = _MOST_HISTORY
    history = _History(fitted, rows)
    for at in _sample(rows.num_rows):
        piece = history.of(at)
        budget -= piece.size
        if budget < 0 and pieces:
            break
        pieces.append(piece)
    taken = np.concatenate(pieces) if pieces else np.empty(0, np.int64)
    owners = np.repeat(np.arange(len(pieces)), np.array([piece.size for piece in pieces], np.int64))
    # Each row's past by itself, as if every row were asked of an entity of its own.
    alone = rows.take(pa.array(taken))
    place = alone.column_names.index(spec.entity_key)
    alone = alone.set_column(place, spec.entity_key, pa.array(owners).cast(pa.string()))
    again = _bits(fitted, alone)
    chosen = _sample(rows.num_rows)[: len(pieces)]
    asked = np.flatnonzero(taken == chosen[owners])
    differing = int((made[chosen] != again[asked]).any(axis=1).sum())
    return Finding(
        label,
        "past only",
        "fail" if differing else "pass",
        f"{differing:,} of {len(pieces):,} rows have other features of {label} if only rows that were available before "
        "them had been",
        {"sampled_rows": len(pieces), "rows": rows.num_rows, "differing": differing},
    )


class _History:
    """Which rows were available before each row, by position."""

    def __init__(self, fitted: FittedTransformer, rows: "pa.Table") -> None:
        import pyarrow.compute as pc

        spec = fitted.spec
        self._times = _known(known_times(rows, str(spec.timestamp_column)))
        self._available = (
            self._times if spec.available_column is None else _known(known_times(rows, spec.available_column))
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


def _known(times: "pa.Array") -> NDArray[np.int64]:
    """As an array; what has no time is never known."""
    known: NDArray[np.int64] = times.fill_null(np.iinfo(np.int64).max).to_numpy()
    return known


def _sample(rows: int) -> NDArray[np.int64]:
    """Positions of the rows to look at, in no order of theirs: the lowest of a hash of the position."""
    if rows <= SAMPLE_ROWS:
        return np.arange(rows)
    # SplitMix64 (Steele, Lea & Flood 2014).
    mixed = (np.arange(rows, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return np.argsort(mixed, kind="stable")[:SAMPLE_ROWS]


def _bits(fitted: FittedTransformer, rows: "pa.Table") -> NDArray[np.uint64]:
    """The outputs bit by bit, shape (rows, outputs); all missing ones are alike."""
    made = fitted.transform(rows)
    columns = [made[name].to_numpy() for name in fitted.spec.outputs.values()]
    numbers = np.stack(columns, axis=1).astype(np.float64)
    numbers[np.isnan(numbers)] = np.nan
    return numbers.view(np.uint64)


def _shared_columns(fitted: FittedRows, measured: "pa.Table", subject_column: str) -> list[str]:
    """Columns by which a row is known again on both sides."""
    types = {field.name: field.type for field in measured.schema}
    about = {*_ABOUT_ROWS, subject_column, fitted.subject_column}
    return [
        field.name
        for field in fitted.rows.schema
        if field.name not in about and types.get(field.name) == field.type
    ]


def _keys(ids: Sequence[str | None], rows: "pa.Table", columns: Sequence[str]) -> list[tuple[Hashable, ...]]:
    """Whose each row is, and then its values."""
    return list(zip(ids, *(map(_hashable, rows[name].to_pylist()) for name in columns), strict=True))


def _hashable(value: Any) -> Hashable:
    # NaN is no equal of itself.
    if isinstance(value, list | dict) or value != value:  # noqa: PLR0124
        return repr(value)
    hashable: Hashable = value
    return hashable
