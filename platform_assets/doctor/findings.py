"""What a doctor finds, and how it looks at many things side by side, each for some seconds at most."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from resources.errors import PlatformError

Status = Literal["ok", "warning", "problem", "not used"]
PATIENCE_SECONDS: Final = 5.0
"""For each probe. Those that can be told to give up by themselves get a little less, and say more."""
OWN_PATIENCE_SECONDS: Final = 4
_SHOWN_CHARACTERS: Final = 300


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a diagnosis."""

    area: str
    """`machine`, `settings` or `systems`."""
    subject: str
    status: Status
    told: str
    advice: str = ""
    """What to do; empty where there is nothing to do."""
    skew_seconds: float | None = None
    """How far the clock of what was asked is ahead of this machine's, where it told the time."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Something to look at."""

    area: str
    subject: str
    look: Callable[[], Iterable[Finding]]
    advice: str = ""
    """What to do where it never answers, or fails in a way that nobody foresaw."""


def side_by_side(probes: Sequence[Probe], *, seconds: float = PATIENCE_SECONDS) -> list[Finding]:
    """What the probes find, in their order.

    One that does not come back is told as a problem. Its thread is left where it is: no thread can be ended, and it
    ends with the process.

    Args:
        probes: Each is run in a thread of its own, all at the same time.
        seconds: How long they may take.
    """
    found: dict[int, list[Finding]] = {}
    threads = [
        threading.Thread(target=_looked, args=(number, probe, found), daemon=True, name=probe.subject)
        for number, probe in enumerate(probes)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [
        finding
        for number, probe in enumerate(probes)
        for finding in found.get(number) or [_silent(probe, seconds)]
    ]


def one_line(text: object) -> str:
    """A text of somebody else's as one line that is not too long."""
    line = " ".join(str(text).split())
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]}…"


def _looked(number: int, probe: Probe, found: dict[int, list[Finding]]) -> None:
    try:
        found[number] = list(probe.look())
    except PlatformError as problem:
        found[number] = [_failed(probe, one_line(problem))]
    except Exception as problem:  # noqa: BLE001 - whatever it is, it belongs into the diagnosis and does not end it
        found[number] = [_failed(probe, f"{one_line(problem)} ({type(problem).__name__})")]


def _failed(probe: Probe, told: str) -> Finding:
    return Finding(probe.area, probe.subject, "problem", told, probe.advice)


def _silent(probe: Probe, seconds: float) -> Finding:
    return _failed(probe, f"hangs: no answer within {seconds:g} s")
