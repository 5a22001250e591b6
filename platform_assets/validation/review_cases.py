"""Which cases somebody is shown who reviews a model: every missed one, and a sample of all the others."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

BANDS: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Edges of the bands of scores that are sampled one by one."""
MOST_PARTS: Final = 12
"""Parts that a column of names may have to be sampled by; what has more tells rows apart, or is a text."""
_SEED: Final = 20_263


@dataclass(frozen=True, slots=True)
class CaseGroup:
    """Cases that are shown together."""

    title: str
    rows: tuple[int, ...]
    """Places in the scored rows, in the order in which they are shown."""
    of: int
    """How many such rows there are."""


def case_groups(
    labels: NDArray[np.integer[np.generic]],  # type: ignore[type-var]
    scores: NDArray[np.float64],
    groupings: "Mapping[str, NDArray[np.object_]]",
    *,
    threshold: float,
    per_stratum: int,
) -> tuple[CaseGroup, ...]:
    """The groups, each case in one of them: whatever was missed, then samples by label and score, then by part.

    Equal arguments give equal groups. The sample does not depend on the order in which groupings are given.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Probability of label 1, shape (n,).
        groupings: Name of each row's part, shape (n,), by grouping; None where a row does not say.
        threshold: A score of at least this predicts label 1.
        per_stratum: How many cases of a label and band, and of a part, are shown.
    """
    missed = np.flatnonzero((labels == 1) & (scores < threshold))
    ordered = missed[np.argsort(scores[missed], kind="stable")].tolist()
    groups = [
        CaseGroup("Missed: label 1 and a score below the threshold (all)", tuple(ordered), len(ordered))
    ]
    shown = set(ordered)
    random = np.random.default_rng(_SEED)
    band = np.clip(np.digitize(scores, BANDS) - 1, 0, len(BANDS) - 2)
    for label in (1, 0):
        for at, (low, high) in enumerate(itertools.pairwise(BANDS)):
            rows = np.flatnonzero((labels == label) & (band == at))
            title = f"Label {label}, score {low:g} to {high:g}"
            groups.append(_sampled(title, rows, shown, per_stratum, random))
    for name in sorted(groupings):
        parts = groupings[name]
        for part in sorted({each for each in parts.tolist() if each is not None}):
            rows = np.flatnonzero(parts == part)
            # A part that has been shown often enough already is known.
            wanted = per_stratum - sum(1 for each in rows.tolist() if each in shown)
            groups.append(_sampled(f"{name}: {part}", rows, shown, wanted, random))
    return tuple(each for each in groups if each.rows)


def groupings_of(scored: "pa.Table", *, without: Sequence[str]) -> "dict[str, NDArray[np.object_]]":
    """Columns of few names, by which rows fall into parts: name of each row's part by column.

    Args:
        scored: Scored rows.
        without: Columns that are something else.
    """
    from pyarrow import types

    found = {}
    for name in scored.column_names:
        kind = scored.schema.field(name).type
        if name in without or not (
            types.is_string(kind)
            or types.is_large_string(kind)
            or types.is_boolean(kind)
            or types.is_dictionary(kind)
        ):
            continue
        values = scored[name].to_pylist()
        names = {each for each in values if each is not None}
        if 1 < len(names) <= MOST_PARTS:
            found[name] = np.array([None if each is None else str(each) for each in values], dtype=object)
    return found


def _sampled(
    title: str, rows: NDArray[np.intp], shown: set[int], wanted: int, random: np.random.Generator
) -> CaseGroup:
    left = [each for each in random.permutation(rows).tolist() if each not in shown]
    chosen = sorted(left[: max(wanted, 0)])
    shown.update(chosen)
    return CaseGroup(title, tuple(chosen), len(rows))
