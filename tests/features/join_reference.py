"""The point-in-time join as its definition reads: each label row looks at every feature row."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

Row = dict[str, Any]


def joined_slowly(
    labels: pa.Table,
    features: pa.Table,
    *,
    entity: Sequence[str],
    time: str,
    available: str | None = None,
    max_age: Any = None,
    include_current: bool = False,
) -> tuple[list[Row], dict[str, int]]:
    """The rows, and how many had which outcome. Both tables call their times `time`; no two columns may clash.

    Args:
        labels: Rows to answer.
        features: Rows to look at.
        entity: Columns of the entity.
        time: The labels' time, and the features'.
        available: Of the features; null is never.
        max_age: A timedelta, or None.
        include_current: Whether the label's own instant is seen.
    """
    made = [name for name in features.column_names if name not in {*entity, time, available}]
    rows, outcomes = [], dict.fromkeys(("found", "no_row", "not_yet", "too_old"), 0)
    candidates = features.to_pylist()
    for label in labels.to_pylist():
        own = [
            (row[time], row[available or time], at)
            for at, row in enumerate(candidates)
            if all(row[name] == label[name] for name in entity)
        ]
        known = [
            each
            for each in own
            if each[1] is not None
            and (max(each[:2]) <= label[time] if include_current else max(each[:2]) < label[time])
        ]
        newest = max(known, default=None)
        if newest is None:
            outcome = "not_yet" if own else "no_row"
        elif max_age is not None and label[time] - newest[0] > max_age:
            outcome = "too_old"
        else:
            outcome = "found"
        outcomes[outcome] += 1
        chosen = candidates[newest[2]] if newest is not None and outcome == "found" else {}
        rows.append(label | {name: chosen.get(name) for name in made})
    return rows, outcomes
