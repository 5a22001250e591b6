"""Changes of a line's drift states in the ledger. The newest entry of a column *is* its state.

So a monitor that starts, after a kill or for a new release, goes on from where the line is.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from platform_assets.drift.alarms import ALARM, CLEAR, CONFIRMED, State
from platform_assets.drift.source_names import MIX, hashed_mix
from platform_assets.ledger.follower import Follower
from platform_assets.ledger.ledger import GENESIS, Entry, Ledger, fingerprint_of

if TYPE_CHECKING:
    from platform_assets.drift.monitor import StateChange

KIND = "drift"
# A second monitor of the line, which is behind, does not take back what has been confirmed.
_NO_CHANGE: dict[State, set[State]] = {CLEAR: {CLEAR}, ALARM: {ALARM}, CONFIRMED: {CONFIRMED, ALARM}}


def record_change(ledger: Ledger, line: str, release_id: str, change: "StateChange", *, salt: bytes) -> Entry:
    """The ledger entry of a change, appended now or there already.

    A change succeeds the entry before it of the same column, and to the state that it names. Telling the
    same change again, or by a second monitor of the line, is no change any more and appends nothing.

    Args:
        ledger: Where it goes.
        line: The line.
        release_id: The release whose answers the monitor has seen.
        change: What the monitor found. Of its mix the entry holds hashes, since whatever a stream calls its sources
            could never be erased from a ledger; `source_names` keeps what they stand for.
        salt: Of these hashes.
    """
    with ledger.exclusive() as writer:
        entries = ledger.entries(kind=KIND, subject=line, newest_first=True)
        before = next((entry for entry in entries if entry.body["column"] == change.column), None)
        if before is not None and change.state in _NO_CHANGE[before.body["state"]]:
            return before
        body = {
            "column": change.column,
            "state": change.state,
            "previous_state": before.body["state"] if before else CLEAR,
            "release_id": release_id,
            MIX: hashed_mix(change.mix, salt),
            **_evidence(change),
        }
        succeeded = before.hash if before else GENESIS
        return writer.append(
            KIND,
            line,
            fingerprint=fingerprint_of(column=change.column, state=change.state, succeeds=succeeded),
            body=body,
        )


def newest_changes(ledger: Ledger, line: str) -> dict[str, Entry]:
    """The newest entry of each column of a line."""
    return {entry.body["column"]: entry for entry in ledger.entries(kind=KIND, subject=line)}


def newest_changes_follower() -> Follower[dict[str, dict[str, Entry]]]:
    """Keeps the newest entry of each column, by line, between looks: each reads only what is new."""

    def take(found: dict[str, dict[str, Entry]], entry: Entry) -> None:
        found.setdefault(entry.subject, {})[entry.body["column"]] = entry

    return Follower([KIND], dict, take)


def states(ledger: Ledger, line: str) -> dict[str, State]:
    """The state of each column that ever changed; any other is clear."""
    return {column: entry.body["state"] for column, entry in newest_changes(ledger, line).items()}


def newest_alarm(ledger: Ledger, line: str) -> Entry | None:
    """The newest entry with which a column of the line went into alarm."""
    entries = ledger.entries(kind=KIND, subject=line, newest_first=True)
    return next((each for each in entries if each.body["state"] == ALARM), None)


def onsets(ledger: Ledger, line: str) -> dict[str, Entry]:
    """Of each column that is not clear, the entry with which it left `clear`."""
    found: dict[str, Entry] = {}
    for entry in ledger.entries(kind=KIND, subject=line):
        if entry.body["state"] == CLEAR:
            found.pop(entry.body["column"], None)
        else:
            found.setdefault(entry.body["column"], entry)
    return found


def _evidence(change: "StateChange") -> dict[str, Any]:
    verdict = change.verdict
    if verdict is None:
        return {}
    return {
        "model_version": int(verdict.model_version),
        "window": verdict.window,
        "window_start": verdict.window_start.isoformat(),
        "window_end": verdict.window_end.isoformat(),
        "events": int(verdict.events),
        "sample_rate": float(verdict.sample_rate),
        **dict(_finite(change)),
    }


def _finite(change: "StateChange") -> Iterator[tuple[str, float | None]]:
    """Numbers as JSON can hold them; None for what could not be measured."""
    for name in ("ks", "ks_lower", "ks_upper", "p_value", "threshold", "psi"):
        value = float(getattr(change.verdict, name))
        yield name, value if math.isfinite(value) else None
