"""Prediction events on their way out: appended to a file, or posted to a watch."""

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import orjson

from platform_assets.drift.errors import DriftError
from platform_assets.drift.event import PredictionEvent

TOKEN_VARIABLE: Final = "PLATFORM_EVENTS_TOKEN"  # noqa: S105 - the name of a variable
_TIMEOUT_SECONDS: Final = 10
_EVENTS_PER_REQUEST: Final = 2000


def deliver(events: Sequence[PredictionEvent], destination: str, *, token: str | None = None) -> None:
    """Send events, as JSON Lines.

    Args:
        events: What to send.
        destination: `http(s)://…` of a watch, or a file, created where there is none.
        token: What the watch asks of senders.

    Raises:
        DriftError: They did not arrive; of several requests to a watch the first ones may have.
    """
    if not destination.startswith(("http://", "https://")):
        try:
            _append(_as_lines(events), Path(destination))
        except OSError as problem:
            raise DriftError(f"events cannot be appended to {destination}: {problem}") from None
        return
    for start in range(0, len(events), _EVENTS_PER_REQUEST):
        _post(_as_lines(events[start : start + _EVENTS_PER_REQUEST]), destination, token)


def _as_lines(events: Sequence[PredictionEvent]) -> bytes:
    return b"".join(_as_line(row, event) for row, event in enumerate(events, start=1))


def _as_line(row: int, event: PredictionEvent) -> bytes:
    try:
        return orjson.dumps(event.to_json(), option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        raise DriftError(
            f"event {row}: a text of it holds half a character (a lone surrogate), which UTF-8 cannot write"
        ) from None


def _append(lines: bytes, path: Path) -> None:
    # One write to a file opened for appending: lines of several processes do not get into each other.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        rest = memoryview(lines)
        while rest:  # of more than 2 GiB, Linux writes no more
            rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)


def _post(lines: bytes, destination: str, token: str | None) -> None:
    address = f"{destination.rstrip('/').removesuffix('/v1/events')}/v1/events"
    headers = {"Content-Type": "application/x-ndjson"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        request = urllib.request.Request(address, data=lines, headers=headers)  # noqa: S310 - http(s) was asked for
        urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS).close()  # noqa: S310
    except urllib.error.HTTPError as refusal:
        answer = refusal.read().decode(errors="replace")[:500]
        raise DriftError(f"{address} refuses the events ({refusal.code}): {answer}") from None
    except (OSError, ValueError, http.client.HTTPException) as problem:
        raise DriftError(f"{address} cannot be reached: {problem}") from None
