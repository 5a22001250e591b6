"""Metrics in what a trial prints, found as Katib's StdOut collector finds them.

A transcription of `parseLogsInTextFormat` (kubeflow/katib pkg/metricscollector/v1beta1/file-metricscollector), but for the
time of lines that begin with none: Katib has the year 1 there, and this the time when the line was read.
"""

import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Final

from platform_assets.tuning.trial_runner import Observation

_NAME, _VALUE = 1, 2
_GROUPS: Final = 2
"""Of a filter, at least."""


def collected(
    line: str, filters: Sequence[re.Pattern[str]], metrics: Collection[str], *, read_at: datetime
) -> list[Observation]:
    """The reports in a line.

    Args:
        line: As it was printed, without its end.
        filters: The Experiment's: the first group is the name, the second the value.
        metrics: Names of those that are looked for.
        read_at: When it was read, with its time zone.
    """
    if not any(name in line for name in metrics):
        return []
    time = _time_of(line) or read_at
    return [
        Observation(name, (found[_VALUE] or "").strip(), time)
        for each in filters
        if each.groups >= _GROUPS
        for found in each.finditer(line)
        if (name := (found[_NAME] or "").strip()) in metrics
    ]


def _time_of(line: str) -> datetime | None:
    """What stands before the first blank, if it is a time as RFC 3339 has it."""
    first, blank, _ = line.partition(" ")
    if not blank or "T" not in first:
        return None
    try:
        found = datetime.fromisoformat(first)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else None
