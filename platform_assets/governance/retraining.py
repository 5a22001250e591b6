"""Requests to train a line anew: who asked, why, and with exactly which values.

A request is one ledger entry, keyed by what triggered it: asking again changes nothing, whoever asks and
however often a daemon dies in between. The run that follows carries the entry's hash.

A retraining deviates from the spec that the definitions were made of: other sources after drift, the
values of a pushed commit. Once a release that it made is active, the deviation is the line's state: later
runs go on from it, until the spec itself changes (`basis`).
"""

from datetime import timedelta
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from platform_assets.governance.errors import GovernanceError
from platform_assets.governance.release import newest_move
from platform_assets.ledger.ledger import Entry, Ledger

KIND = "retraining"
UNSERVED_FOR = timedelta(days=7)
"""So long, what is asked of a line waits where nobody serves it: its spec is broken or not loaded yet."""


class Retraining(BaseModel):
    """One request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(min_length=1)
    """What triggered it: `git:<repository>:<ref>:<sha>:<line>`, `drift:<hash of the ledger entry>`."""
    line: str
    trigger: Literal["git", "drift"]
    config: dict[str, dict[str, JsonValue]]
    """Every value of the training spec that one run may change, by stage and field."""
    basis: str
    """Identity of the spec that the definitions were made of when this was asked for."""
    source_commit: str | None = None
    """The pushed commit whose spec this is, or goes on from; None where the line's file is followed."""
    source_author: str | None = None
    """Who changed that spec last, as `Name <address>`; None where nobody can tell, and in older requests."""
    evidence: dict[str, JsonValue]
    """Repository, author and changed paths of a push; columns, window and ledger entries of a drift."""

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """The request that an entry records."""
        return cls.model_validate(entry.body)


def request(ledger: Ledger, retraining: Retraining) -> Entry:
    """The ledger entry of a request, appended now or there already.

    Raises:
        LedgerConflictError: The same trigger has asked for something else.
    """
    # Left out where it is not known: asked again, an older request is still the same one.
    unknown = {"source_author"} if retraining.source_author is None else set()
    body = retraining.model_dump(mode="json", exclude=unknown)
    return ledger.append(KIND, retraining.line, fingerprint=retraining.key, body=body)


def asked_before(ledger: Ledger, line: str, key: str) -> Entry | None:
    """The request of a line that this trigger made."""
    return ledger.find(KIND, line, key)


def requested(ledger: Ledger, line: str, entry_hash: str) -> Retraining:
    """The request that a run says it follows.

    Raises:
        GovernanceError: The ledger has no such request for this line.
    """
    entry = ledger.get(entry_hash)
    if entry is None or entry.kind != KIND or entry.subject != line:
        raise GovernanceError(f"{line}: {entry_hash} is no request to retrain it that the ledger knows")
    return Retraining.of(entry)


def followed(ledger: Ledger, line: str, *, basis: str) -> tuple[str, Retraining] | None:
    """The request (and its entry's hash) that made the release deployed last, if it deviates from this very spec.

    Of a line that is promoted that is the one in staging: a run must not put another in its place while people look
    at it.
    """
    moved = newest_move(ledger, line)
    entry_hash = moved.body.get("retraining") if moved else None
    if entry_hash is None:
        return None
    retraining = requested(ledger, line, entry_hash)
    return (entry_hash, retraining) if retraining.basis == basis else None
