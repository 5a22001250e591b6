"""Prediction events as people and programs write them down: JSON Lines or an array of JSON, and Parquet.

The same rules hold for a request and for a file. A row that is no event is told, and where somebody asks for it the
others are read all the same.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from platform_assets.drift.errors import DriftError
from platform_assets.drift.event import PredictionEvent
from platform_assets.reading.errors import ReadingError, shown_name
from platform_assets.reading.forms import without_mark
from platform_assets.reading.json_lines import json_lines, once
from platform_assets.reading.table import read_table
from platform_assets.sketch.errors import SketchError

if TYPE_CHECKING:
    import pyarrow as pa

_PARQUET: Final = ".parquet"
_EVENT_FIELDS: Final = frozenset(PredictionEvent.__dataclass_fields__) - {"columns"}
_TICKS: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_MICROSECOND: Final = timedelta(microseconds=1)

log = logging.getLogger(__name__)


class NoEventError(DriftError):
    """A row is no prediction event, or a file holds none that could be read."""

    def __init__(self, name: str, row: int | None, problem: str) -> None:
        super().__init__(f"{name}: {problem}" if row is None else f"{name}: row {row:,}: {problem}")
        self.row, self.problem = row, problem
        """The row is counted from 1; of JSON Lines it is the line, blank ones count."""


Refused = Callable[[NoEventError], None]
"""Is told of each row that is no event, and reading goes on with the next."""


def read_events(path: Path, *, refused: Refused | None = None) -> Iterator[tuple[int, PredictionEvent]]:
    """(row, event) of a file: JSON as `json_events` has it, or Parquet with a column for each field and watched column.

    Args:
        path: Ends in `.parquet`, or is taken for JSON. Columns of Parquet that are neither numbers nor texts are no part
            of its events.
        refused: Without it the first row that is no event ends the reading.

    Raises:
        NoEventError: The file cannot be read, or a row of it is no event.
    """
    try:
        content = path.read_bytes()
        if path.suffix.lower() != _PARQUET:
            yield from json_events(content, name=str(path), refused=refused)
        else:
            rows = _rows(read_table(content, _PARQUET, name=str(path)), str(path))
            yield from _events(enumerate(rows, start=1), str(path), refused)
    except OSError as problem:
        raise NoEventError(str(path), None, f"cannot be read: {problem.strerror}") from None
    except ReadingError as problem:
        raise NoEventError(str(path), problem.row, problem.reason) from None


def json_events(
    content: bytes, *, name: str, refused: Refused | None = None
) -> Iterator[tuple[int, PredictionEvent]]:
    """(row, event) of a JSON array, or of JSON Lines.

    Args:
        content: In UTF-8; a mark before it and blank lines are passed over.
        name: What it is called in messages.
        refused: As of `read_events`; an array that is no JSON ends the reading all the same.

    Raises:
        NoEventError: It is neither, or a row is no event; the message names row and field, and no value.
    """
    text = content[without_mark(content) :]
    if text.lstrip()[:1] == b"[":
        yield from _events(enumerate(_array(text, name), start=1), name, refused)
        return

    def refused_line(problem: ReadingError) -> None:
        (refused or _raised)(NoEventError(name, problem.line, problem.reason))

    try:
        yield from _events(json_lines(content, name=name, refused=refused_line), name, refused)
    except ReadingError as problem:
        raise NoEventError(name, problem.line, problem.reason) from None


def _events(
    rows: Iterable[tuple[int, Any]], name: str, refused: Refused | None
) -> Iterator[tuple[int, PredictionEvent]]:
    for row, content in rows:
        try:
            event = PredictionEvent.from_json(content)
        except (DriftError, SketchError) as problem:
            (refused or _raised)(NoEventError(name, row, str(problem)))
        else:
            yield row, event


def _raised(problem: NoEventError) -> None:
    raise problem


def _array(text: bytes, name: str) -> list[Any]:
    try:
        # The one refuses NaN and halves of characters, the other sees that a name stands twice.
        orjson.loads(text)
        values: list[Any] = json.loads(text, object_pairs_hook=once)
    except orjson.JSONDecodeError as problem:
        raise NoEventError(
            name, 1, f"is no JSON array ({problem.msg}); send one, or an event a line"
        ) from None
    except ValueError as problem:
        raise NoEventError(name, 1, str(problem)) from None
    except RecursionError:
        raise NoEventError(name, 1, "is nested too deeply to be read") from None
    return values


def _rows(table: "pa.Table", name: str) -> Iterator[dict[str, Any]]:
    """Each row as JSON would have it."""
    fields, watched = {}, {}
    for column in table.column_names:
        if column in _EVENT_FIELDS:
            fields[column] = _times(table[column]) or _values(table[column]) or table[column].to_pylist()
        elif (values := _values(table[column])) is not None:
            watched[column] = values
        else:
            shown = shown_name(column), shown_name(str(table[column].type))
            log.warning("%s: column %s of type %s is no part of its events", name, *shown)
    for row in range(table.num_rows):
        yield {each: values[row] for each, values in fields.items()} | {
            "columns": {each: values[row] for each, values in watched.items()}
        }


def _values(column: "pa.ChunkedArray") -> list[Any] | None:
    """Numbers and texts, decimals as floats; None for a column of another type."""
    from pyarrow import types

    if types.is_decimal(column.type):
        return [None if value is None else float(value) for value in column.to_pylist()]
    plain = (types.is_integer, types.is_floating, types.is_string, types.is_large_string, types.is_null)
    return column.to_pylist() if any(is_plain(column.type) for is_plain in plain) else None


def _times(column: "pa.ChunkedArray") -> list[str | None] | None:
    """Timestamps as texts, with a zone where they have one; None for a column of another type."""
    import pyarrow as pa
    from pyarrow import types

    kind = column.type
    if not types.is_timestamp(kind):
        return None
    as_text = partial(_as_text, zone=UTC if kind.tz else None, ticks_a_second=_TICKS[kind.unit])
    return [None if ticks is None else as_text(ticks) for ticks in column.cast(pa.int64()).to_pylist()]


def _as_text(ticks: int, *, zone: tzinfo | None, ticks_a_second: int) -> str:
    epoch = datetime(1970, 1, 1, tzinfo=zone)
    try:
        return (epoch + ticks * 10**6 // ticks_a_second * _MICROSECOND).isoformat()
    except OverflowError:
        return "beyond the years 1 to 9999"
