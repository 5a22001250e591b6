"""Whether entries follow from one another, and reach the head that was recorded of them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from platform_assets.ledger.entry import Entry
from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.head import EMPTY, Head


def chained(entries: Iterable[Entry], *, after: Head, heads: Iterable[Head]) -> Iterator[Entry]:
    """The entries, as long as each follows from the one before; raises LedgerError where one does not.

    Args:
        entries: In the order of the chain.
        after: What the first one must continue.
        heads: What the entries with their numbers must be.
    """
    recorded = defaultdict(set)
    for head in heads:
        recorded[head.count].add(head.hash)
    count, last = after.count, after.hash
    for entry in entries:
        if entry.seq != count + 1 or entry.previous_hash != last:
            raise LedgerError(gap(Head(count, last), before(entry)))
        count, last = entry.seq, entry.hash
        if count in recorded and recorded[count] != {last}:
            raise LedgerError(f"entry {count} is not the one that the head recorded")
        yield entry


def before(entry: Entry) -> Head:
    """What this entry continues."""
    return Head(entry.seq - 1, entry.previous_hash)


def end_of(entry: Entry | None) -> Head:
    """The head of a chain whose last entry this is; None: of an empty one."""
    return Head(entry.seq, entry.hash) if entry else EMPTY


def gap(end: Head, start: Head) -> str:
    """Why what continues `start` does not continue `end`."""
    if start.count != end.count:
        return f"entry {end.count + 1} is missing: entry {start.count + 1} stands in its place"
    return f"entry {end.count + 1} does not continue the entry before it"


def shortfall(end: Head, head: Head) -> str | None:
    """Why a chain that ends here does not reach its head."""
    if end.count < head.count:
        return f"the chain ends at entry {end.count}, its head was at entry {head.count}"
    if head.count == 0 and head != EMPTY:
        return "the head has a hash and no entries"
    return None
