"""Drift of many columns at once: events against a reference, from memory or from files."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from platform_assets.drift.column_files import ColumnFile, opened
from platform_assets.drift.errors import DriftError
from platform_assets.drift.pairs import EVENTS, REFERENCE, Pair, Side, SideName, alone, emptiness, paired
from platform_assets.drift.texts import share_a_text
from platform_assets.reading.errors import shown_name
from platform_assets.sketch.binning import kernels_for
from platform_assets.sketch.shares import share_p_value
from platform_assets.sketch.significance import holm
from platform_assets.sketch.sketch import Histogram, compare

_DISTANCE: Final = "distance"
_SIDES: Final = (REFERENCE, EVENTS)
_COMPARED: Final = ("ks", "ks_lower", "ks_upper", "p_value", "alarm", "alarm_because", "compared_as", *_SIDES)
_UNCOMPARED: Final = ("missing", "positive_infinity", "negative_infinity")


@dataclass(frozen=True, slots=True)
class ColumnReport:
    """How far a column lies from its reference."""

    ks: float | None
    """Middle of the interval; none where no value can be compared."""
    ks_lower: float
    ks_upper: float
    p_value: float
    alarm: bool
    """Whether anything in `alarm_because`."""
    alarm_because: tuple[str, ...]
    """What is significant among all columns: `distance`, or the shares of `missing`, `positive_infinity`,
    `negative_infinity`; or that the events have nothing that can be compared, and the reference has."""
    compared_as: str | None
    """Such as `float64`, `decimal`; the less precise of the two types. None where columns came without types."""
    not_compared_because: str | None
    reference: Side | None
    events: Side | None
    """Rows, and how many of them are missing or infinite; None where a side lacks the column."""


def report(histograms: Mapping[str, Histogram], *, false_alarm_rate: float = 0.01) -> dict[str, ColumnReport]:
    """The verdict on each column.

    Args:
        histograms: Events by column, each over the bins of its reference.
        false_alarm_rate: Chance that any column at all alarms while none drifts, held by Holm's procedure.

    Raises:
        DriftError: The rate is not between 0 and 1.
    """
    pairs = {}
    for name, histogram in histograms.items():
        profile = histogram.profile
        events = Side.of(histogram.rows, histogram.missing)
        pairs[name] = Pair(
            Side.of(profile.rows, profile.missing),
            events,
            found=compare(profile, histogram),
            because=emptiness(EVENTS, events),
        )
    return judged(pairs, false_alarm_rate=false_alarm_rate)


def judged(pairs: Mapping[str, Pair], *, false_alarm_rate: float) -> dict[str, ColumnReport]:
    """The verdict on each column.

    Distances and shares are tested together: of each column its distance, and the shares of missing and of infinite
    values (Fisher's exact test). A share that cannot have changed, as nothing is missing on either side, is no test;
    whether it is depends on the sum of both sides alone, which Fisher's test takes as given. So the rate holds.

    Args:
        pairs: Columns as both sides have them.
        false_alarm_rate: As of `report`.

    Raises:
        DriftError: The rate is not between 0 and 1.
    """
    if not 0 < false_alarm_rate < 1:
        raise DriftError(f"false alarm rate {false_alarm_rate}: must lie between 0 and 1")
    p_values = {(name, test): p for name, pair in pairs.items() for test, p in _tests(pair)}
    significant = holm(p_values, false_alarm_rate)
    return {
        name: _verdict(
            pair, tuple(test for column, test in p_values if (column, test) in significant and column == name)
        )
        for name, pair in pairs.items()
    }


def compare_files(reference: Path, events: Path, *, false_alarm_rate: float = 0.01) -> dict[str, Any]:
    """What `platform-assets drift replay` prints: `{"columns": {NAME: {"ks": …, …, "alarm": …}}, "not_compared": …}`.

    Every column of either file is in one of the two: compared, or with the reason why not; and what of it is missing or
    infinite on either side. One column of the reference is in memory at a time, and one row group of the events.

    Args:
        reference: A file of rows.
        events: Another one.
        false_alarm_rate: As of `report`.

    Raises:
        DriftError: A file cannot be read, has a column twice, or names of the two differ in case only.
    """
    with opened(reference) as of_reference, opened(events) as of_events:
        _refuse_other_case(of_reference, of_events, reference, events)
        pairs = dict(_pairs(of_reference, of_events))
        rows = {REFERENCE: of_reference.rows, EVENTS: of_events.rows}
    found = judged(pairs, false_alarm_rate=false_alarm_rate)
    return {
        "columns": {name: _told(each) for name, each in found.items() if each.not_compared_because is None},
        "not_compared": {
            name: {"because": each.not_compared_because} | _told(each, ("alarm", "alarm_because", *_SIDES))
            for name, each in found.items()
            if each.not_compared_because is not None
        },
        "rows": rows,
        "false_alarm_rate": false_alarm_rate,
    }


def _told(column: ColumnReport, names: Iterable[str] = _COMPARED) -> dict[str, Any]:
    values = {name: getattr(column, name) for name in names}
    return {name: each._asdict() if isinstance(each, Side) else each for name, each in values.items()}


def _pairs(reference: ColumnFile, events: ColumnFile) -> Iterator[tuple[str, Pair]]:
    of_reference, of_events = reference.types, events.types
    # Each piece is small; together they may be worth the compiled loops.
    kernels_for(events.rows * len(of_reference))
    sides: tuple[tuple[SideName, ColumnFile], ...] = (REFERENCE, reference), (EVENTS, events)
    for name in of_reference:
        if name in of_events:
            odd: dict[SideName, str] = {side: file.odd[name] for side, file in sides if name in file.odd}
            known, texts = reference.column(name), events.texts.get(name)
            # A few codes may all look like numbers, or most of them.
            if texts is not None and REFERENCE not in odd and share_a_text(known, texts):
                yield name, paired(known, texts.chunks, texts.type)
            else:
                yield name, paired(known, events.pieces(name), of_events[name], odd)
        else:
            yield name, alone(reference.pieces(name), REFERENCE)
    for name in of_events:
        if name not in of_reference:
            yield name, alone(events.pieces(name), EVENTS)


def _refuse_other_case(
    reference: ColumnFile, events: ColumnFile, reference_path: Path, events_path: Path
) -> None:
    of_reference, of_events = reference.types, events.types
    lacking = {name.casefold(): name for name in of_reference if name not in of_events}
    for name in of_events:
        if name not in of_reference and (other := lacking.get(name.casefold())):
            raise DriftError(
                f"{events_path}: has the column {shown_name(name)} where the reference {reference_path} has "
                f"{shown_name(other)}; names count as they are written: rename one of them"
            )


def _tests(pair: Pair) -> Iterator[tuple[str, float]]:
    if pair.found is not None and pair.because is None:
        yield _DISTANCE, pair.found.p_value
    if pair.reference is None or pair.events is None:
        return
    for odd in _UNCOMPARED:
        counts = getattr(pair.reference, odd), getattr(pair.events, odd)
        if 0 < sum(counts) < pair.reference.rows + pair.events.rows:
            yield odd, share_p_value(counts[0], pair.reference.rows, counts[1], pair.events.rows)


def _verdict(pair: Pair, significant: tuple[str, ...]) -> ColumnReport:
    found = pair.found
    nothing_came = pair.is_lost or (
        pair.reference is not None
        and pair.events is not None
        and pair.reference.compared > 0
        and pair.events.compared == 0
    )
    because = (*significant, *(("nothing to compare",) if nothing_came else ()))
    return ColumnReport(
        ks=None if found is None or math.isnan(found.ks) else found.ks,
        ks_lower=found.ks_lower if found else 0.0,
        ks_upper=found.ks_upper if found else 1.0,
        p_value=found.p_value if found else 1.0,
        alarm=bool(because),
        alarm_because=because,
        compared_as=pair.compared_as,
        not_compared_because=pair.because,
        reference=pair.reference,
        events=pair.events,
    )
