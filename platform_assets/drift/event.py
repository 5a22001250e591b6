"""Prediction events: one answer of a deployed model, and many of them side by side."""

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from platform_assets.drift.errors import DriftError

Column = NDArray[np.float64] | NDArray[np.object_]
"""Numbers (NaN where missing), or strings (None where missing)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_TIMES_MS = (
    (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND,
    (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND,
)
"""All that a datetime can be."""
_TEXT_MAX_LENGTH = 256


@dataclass(frozen=True, slots=True)
class PredictionEvent:
    """One answer of a model.

    A label that becomes known later comes in an event of its own that repeats `event_id`, `event_time`
    and `score`.
    """

    event_id: str
    event_time: datetime
    """When the answer was given; with a time zone."""
    line: str
    model_version: int
    columns: dict[str, float | str]
    """What the monitor may watch beside the score; a missing number is NaN."""
    score: float
    """Probability of label 1."""
    label: int | None = None
    """0 or 1; None: not known yet."""

    def __post_init__(self) -> None:
        if self.event_time.tzinfo is None:
            raise DriftError(
                f"event {self.event_id}: event_time has no time zone; write it as 2026-01-31T12:00:00Z"
            )

    def to_json(self) -> dict[str, Any]:
        """The event as JSON values. JSON has no NaN and no infinity: both are written as null."""
        return {
            "event_id": self.event_id,
            "event_time": self.event_time.astimezone(UTC).isoformat(),
            "line": self.line,
            "model_version": self.model_version,
            "columns": {name: _json_value(value) for name, value in self.columns.items()},
            "score": _json_value(self.score),
            "label": self.label,
        }

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """The event that `to_json` wrote; null is read as NaN, and no label as not known yet.

        A whole number may be written as 1.0: programs in which a column with gaps holds floats write it so.

        Raises:
            DriftError: a field is missing, unknown, or of another type.
        """
        if not isinstance(content, Mapping):
            raise DriftError("a prediction event must be a JSON object")
        if unknown := sorted(map(str, content.keys() - _FIELDS)):
            raise DriftError(f"a prediction event has no field {', '.join(unknown)[:_TEXT_MAX_LENGTH]}")
        columns = content.get("columns")
        if not isinstance(columns, Mapping):
            raise DriftError("columns of a prediction event must be an object of numbers and strings")
        return cls(
            event_id=_text(content, "event_id"),
            event_time=_time(content),
            line=_text(content, "line"),
            model_version=_integer(content, "model_version"),
            columns={_column_name(name): _column_value(name, value) for name, value in columns.items()},
            score=_number(content.get("score", "missing"), "score"),
            label=None if _is_missing(content.get("label")) else _integer(content, "label", within=(0, 1)),
        )


_FIELDS = frozenset(PredictionEvent.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events of one line and model version, a column beside the other; all of one length."""

    event_ids: NDArray[np.uint64]
    """64 bits of a hash of each id, as `hashed` gives them."""
    event_time_ms: NDArray[np.int64]
    """Since the epoch."""
    score: NDArray[np.float64]
    label: NDArray[np.float64]
    """NaN where not known yet."""
    columns: Mapping[str, Column] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {
            "event_time_ms": len(self.event_time_ms),
            "score": len(self.score),
            "label": len(self.label),
            **{name: len(values) for name, values in self.columns.items()},
        }
        if wrong := [name for name, length in lengths.items() if length != len(self)]:
            raise DriftError(f"a batch of {len(self)} events has other lengths in: {', '.join(wrong)}")

    def __len__(self) -> int:
        return len(self.event_ids)

    def __getitem__(self, rows: slice | NDArray[np.bool_] | NDArray[np.intp]) -> "EventBatch":
        """These rows, in order."""
        return EventBatch(
            self.event_ids[rows],
            self.event_time_ms[rows],
            self.score[rows],
            self.label[rows],
            {name: values[rows] for name, values in self.columns.items()},
        )

    @classmethod
    def joined(cls, batches: Sequence["EventBatch"]) -> Self:
        """All events of the batches, which have the same columns, in their order."""
        return cls(
            np.concatenate([each.event_ids for each in batches]),
            np.concatenate([each.event_time_ms for each in batches]),
            np.concatenate([each.score for each in batches]),
            np.concatenate([each.label for each in batches]),
            {name: np.concatenate([each.columns[name] for each in batches]) for name in batches[0].columns},
        )

    @classmethod
    def of(cls, events: Sequence[PredictionEvent], *, columns: Container[str] | None = None) -> Self:
        """The events in their order.

        A column that holds a string anywhere is one of strings; one that no event has a value of is left out.

        Args:
            events: Of one line and model version.
            columns: Names of those to take; None for all.
        """
        names = dict.fromkeys(
            name
            for event in events
            for name, value in event.columns.items()
            if not _is_missing(value) and (columns is None or name in columns)
        )
        return cls(
            event_ids=hashed(event.event_id for event in events),
            event_time_ms=np.array([milliseconds(event.event_time) for event in events], np.int64),
            score=np.array([event.score for event in events], np.float64),
            label=np.array(
                [math.nan if event.label is None else event.label for event in events], np.float64
            ),
            columns={name: _column([event.columns.get(name) for event in events]) for name in names},
        )


def hashed(event_ids: Iterable[str]) -> NDArray[np.uint64]:
    """64 bits of BLAKE2b of each id: two of 10^5 ids held at once collide with probability 3·10^-10."""
    # JSON can spell lone surrogates, which UTF-8 cannot.
    encoded = (each.encode(errors="surrogatepass") for each in event_ids)
    digests = b"".join(blake2b(each, digest_size=8).digest() for each in encoded)
    return np.frombuffer(digests, dtype=np.uint64)


def milliseconds(moment: datetime) -> int:
    """Whole milliseconds from the epoch to `moment`."""
    return (moment - _EPOCH) // _MILLISECOND


def moment(time_ms: int) -> datetime:
    """The time in UTC that lies so many milliseconds after the epoch; within the years 1 to 9999."""
    earliest, latest = _TIMES_MS
    return _EPOCH + min(max(time_ms, earliest), latest) * _MILLISECOND


def _column(values: list[float | str | None]) -> Column:
    if any(isinstance(value, str) for value in values):
        texts = np.empty(len(values), dtype=object)
        texts[:] = [None if _is_missing(value) else str(value) for value in values]
        return texts
    return np.array([math.nan if value is None else value for value in values], np.float64)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _json_value(value: float | str) -> float | str | None:
    return value if isinstance(value, str) or math.isfinite(value) else None


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _TEXT_MAX_LENGTH:
        raise DriftError(f"{name} of a prediction event must be a text of 1 to {_TEXT_MAX_LENGTH} characters")
    return _without_nul(value, name)


def _column_name(name: Any) -> str:
    return _without_nul(str(name), "the name of one of the columns")


def _column_value(name: str, value: Any) -> float | str:
    field = f"columns.{name}"
    if isinstance(value, str) and len(value) <= _TEXT_MAX_LENGTH:
        return _without_nul(value, field)
    return _number(value, field)


def _without_nul(text: str, name: str) -> str:
    """The text itself: others end a text at this character, or drop it."""
    if "\0" in text:
        raise DriftError(
            f"{name[:_TEXT_MAX_LENGTH]} of a prediction event holds the character NUL, which is no text; remove it"
        )
    return text


def _time(content: Mapping[str, Any]) -> datetime:
    with suppress(ValueError, OverflowError):
        time = datetime.fromisoformat(_text(content, "event_time"))
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    raise DriftError("event_time of a prediction event must be a time with its zone, as 2026-01-31T12:00:00Z")


def _integer(content: Mapping[str, Any], name: str, *, within: tuple[int, ...] = ()) -> int:
    value = content.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or (within and value not in within):
        expected = " or ".join(map(str, within)) or "a whole number"
        raise DriftError(f"{name} of a prediction event must be {expected}")
    return value


def _number(value: Any, name: str) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DriftError(
            f"{name[:_TEXT_MAX_LENGTH]} of a prediction event must be a number, null"
            + (f" or a text of at most {_TEXT_MAX_LENGTH} characters" if name.startswith("columns.") else "")
        )
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
