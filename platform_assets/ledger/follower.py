"""A follower: what the entries of some kinds add up to, kept up to date by reading what is new alone."""

import threading
from collections.abc import Callable, Iterable
from heapq import merge
from typing import Generic, TypeVar

from platform_assets.ledger.head import EMPTY
from platform_assets.ledger.ledger import Entry, Ledger

State = TypeVar("State")


class Follower(Generic[State]):
    """Remembers up to where it has read. For a process that looks again and again, as a sensor does.

    Threads take turns. Where the ledger is no longer the one that was read, it is read from its first entry.

    Args:
        kinds: Of the entries that count, whatever their subject.
        begin: The state without any entry.
        take: Takes one entry into the state, in the order of the chain.
    """

    def __init__(
        self, kinds: Iterable[str], begin: Callable[[], State], take: Callable[[State, Entry], None]
    ) -> None:
        self._kinds = tuple(kinds)
        self._begin = begin
        self._take = take
        self._turn = threading.Lock()
        self._seen, self._state = EMPTY, begin()

    def look(self, ledger: Ledger) -> State:
        """The state as the ledger is now. It goes on changing at later looks: copy what is to stay.

        Raises:
            LedgerError: An entry is not what was written.
        """
        with self._turn:
            if not self._is_where_it_was(ledger):
                self._forget()
            # Read first: of one kind and of the next, no entry is taken that is newer.
            end = ledger.tail()
            new = (ledger.entries(kind=kind, after=self._seen.count, until=end.count) for kind in self._kinds)
            try:
                for entry in merge(*new, key=lambda each: each.seq):
                    self._take(self._state, entry)
            except BaseException:
                self._forget()
                raise
            self._seen = end
            return self._state

    def _is_where_it_was(self, ledger: Ledger) -> bool:
        if self._seen == EMPTY:
            return True
        last = ledger.at(self._seen.count)
        return last is not None and last.hash == self._seen.hash

    def _forget(self) -> None:
        self._seen, self._state = EMPTY, self._begin()
