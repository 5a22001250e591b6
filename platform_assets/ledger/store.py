"""What the ledger asks of a database, and nothing more. `sqlite_store` and `postgres_store` offer it.

And the one way from a row of it to an entry.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from platform_assets.ledger.entry import Entry
from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.head import Head

Row = tuple[int, str, str, str, str, bytes]
"""seq, hash, kind, subject, fingerprint, raw: columns of the database, and the first fields of an `Entry`."""

COLUMNS = ("seq", "hash", "kind", "subject", "fingerprint", "raw")


class Session(Protocol):
    """One connection, used by one caller. Whatever fails raises LedgerError."""

    def keep_still(self) -> None:
        """From here on the session sees one state of the database, whatever others append.

        The first thing to be asked of a session that is not exclusive.
        """

    def stream(
        self,
        where: Mapping[str, str],
        *,
        after: int | None = None,
        until: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[Row]:
        """Rows in the order of the chain, or against it, in bounded memory.

        Args:
            where: The values that their columns must have.
            after: Only rows with a greater `seq`.
            until: Only rows with no greater `seq`.
            newest_first: Whether to go backwards.
        """

    def at(self, seq: int) -> Row | None:
        """The row with this number."""

    def first(self, where: Mapping[str, str], *, newest: bool = False) -> Row | None:
        """The oldest row whose columns have these values, or the newest."""

    def head(self) -> Head:
        """The recorded head."""

    def insert(self, row: Row) -> None:
        """Adds a row at the end; an exclusive session commits it."""

    def nodes(self, numbers: Collection[int]) -> dict[int, bytes]:
        """The nodes of the checkpoint's memory with these numbers, where there are such."""

    def all_nodes(self) -> Iterator[tuple[int, bytes]]:
        """Every node, by number, in bounded memory."""

    def put_nodes(self, nodes: Iterable[tuple[int, bytes]]) -> None:
        """Adds nodes, or puts them in the place of those with their numbers."""

    def clear_nodes(self) -> None:
        """Forgets the checkpoint's memory. Entries are left alone."""


class Store(Protocol):
    """A database of entries. It can be pickled, shared among threads, and survives a fork."""

    def session(self, *, exclusive: bool = False) -> AbstractContextManager[Session]:
        """A session. An exclusive one waits for its turn, and is the only one that may insert.

        Its rows commit together when the block ends, durably, and not at all when it raises. The head
        is raised after that, in a transaction of its own: it may lag behind the rows, never lead.

        Raises:
            LedgerError: The database failed, or the turn did not come within a minute.
        """


def entry_of(row: Row) -> Entry:
    """The entry of a row.

    Raises:
        LedgerError: Its bytes are no entry, or the columns that are derived from them do not agree with them.
    """
    try:
        entry = Entry.parse(row[5])
    except LedgerError as error:
        raise LedgerError(f"entry {row[0]} was altered: {error}") from error
    if entry[:6] != row:
        column = next(name for name, told, true in zip(COLUMNS, row, entry, strict=False) if told != true)
        raise LedgerError(f"entry {row[0]} was altered: its column {column} does not match its bytes")
    return entry


def select(
    table: str,
    placeholder: str,
    where: Mapping[str, str],
    *,
    after: int | None = None,
    until: int | None = None,
    newest_first: bool = False,
) -> tuple[str, list[str | int]]:
    """The query of `Session.stream` and `Session.first`, and its parameters."""
    conditions: dict[str, str | int | None] = {
        **{f"{column} =": value for column, value in where.items()},
        "seq >": after,
        "seq <=": until,
    }
    given = {condition: value for condition, value in conditions.items() if value is not None}
    condition = " AND ".join(f"{each} {placeholder}" for each in given) or "TRUE"
    order = "DESC" if newest_first else "ASC"
    query = f"SELECT {', '.join(COLUMNS)} FROM {table} WHERE {condition} ORDER BY seq {order}"  # noqa: S608  # no values
    return query, list(given.values())
