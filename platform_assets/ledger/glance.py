"""A glance at a ledger: how long it is, how old, and whether its end holds. Nothing is made, added or written."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Final

from platform_assets.ledger.chain import chained, end_of, shortfall
from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.head import EMPTY, Head
from platform_assets.ledger.sqlite_store import SqliteStore
from platform_assets.ledger.store import Session, entry_of

NEWEST: Final = 2_000
"""Entries that are read; to read all of a long chain takes minutes."""


@dataclass(frozen=True, slots=True)
class Glance:
    """What was seen."""

    entries: int
    """In the whole chain."""
    read: int
    """The newest ones, of which each was checked and follows from the one before."""
    newest_at: datetime | None
    """Time of the newest entry."""
    problem: str | None
    """Why the chain is not whole, as far as it was read."""


def glance(location: Path | str, *, newest: int = NEWEST) -> Glance | None:
    """The end of the ledger at `location`; None where there is no ledger yet.

    Args:
        location: As for `Ledger.open`.
        newest: How many entries to read.

    Raises:
        LedgerError: It cannot be read, or is no ledger.
    """
    if isinstance(location, Path):
        if not location.exists():
            return None
        # Nobody waits for a writer here, so whatever is wrong is looked at again.
        with suppress(LedgerError):
            seen = _of_file(location, newest)
            if seen.problem is None:
                return seen
        return _of_file(location, newest)
    from platform_assets.ledger.postgres_store import PostgresStore

    with PostgresStore(location).session() as session:
        return _read(session, newest) if session.check_format() else None


def _of_file(file: Path, newest: int) -> Glance:
    with SqliteStore(file.absolute(), read_only=True).session() as session:
        session.check_format()
        return _read(session, newest)


def _read(session: Session, newest: int) -> Glance:
    session.keep_still()
    head, row = session.head(), session.first({}, newest=True)
    count, read, last = (row[0] if row else 0), 0, None
    try:
        entries = map(entry_of, session.stream({}, after=max(0, count - newest)))
        first = next(entries, None)
        if first is not None:
            start = EMPTY if count <= newest else Head(count - newest, first.previous_hash)
            for entry in chained(chain([first], entries), after=start, heads=[head]):
                last, read = entry, read + 1
        problem = shortfall(end_of(last), head)
    except LedgerError as refused:
        problem = str(refused)
    return Glance(count, read, last.time if last else None, problem)
