"""Whether a chain of entries is whole: in a store, in an export, in a file.

A chain is verified stretch by stretch: each may be read by a process of its own, and they must join.
"""

import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise, repeat
from pathlib import Path
from typing import Self

from platform_assets.ledger.entry import GENESIS, Entry
from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.head import EMPTY, Head, HeadDocument
from platform_assets.ledger.store import Store, entry_of
from resources.process_tree import die_with_parent

_UNSIGNED = (
    "Unsigned: this shows that entries were not altered, removed or reordered one by one. It does not "
    "protect against somebody who rewrites the whole chain and its head; keep a head elsewhere for that."
)
_SIGNED = (
    "Signed: whoever holds the key {document.public_key} vouched at {document.time} for the first "
    "{document.count} entries. Whose key that is, only a copy of it from elsewhere can tell."
)
_ENTRIES_WORTH_A_PROCESS = 25_000
_BYTES_WORTH_A_PROCESS = 25_000_000


@dataclass(frozen=True)
class VerifyReport:
    """Whether a chain is whole."""

    ok: bool
    entries: int
    """How many entries are sound, counted from the first."""
    head_hash: str
    """Hash of the last sound entry."""
    ahead_of_head: int
    """Entries behind the recorded head: a process died after its entry and before its head."""
    first_bad_seq: int | None
    problem: str | None
    signed: bool = False
    """Whether it had to reach a head whose signature holds."""
    note: str = _UNSIGNED

    @classmethod
    def refused(cls, problem: str) -> Self:
        """Of a chain that could not be looked at at all."""
        return cls(
            ok=False, entries=0, head_hash=GENESIS, ahead_of_head=0, first_bad_seq=None, problem=problem
        )


def verify_store(store: Store, anchor: HeadDocument | None = None, *, processes: int = 1) -> VerifyReport:
    """As `Ledger.verify`, of the entries in this store."""
    with store.session() as session:
        head = session.head()  # first, as in `Ledger.replay`
        newest = session.first({}, newest=True)
    shares = _shares(newest[0] if newest else 0, processes, worth=_ENTRIES_WORTH_A_PROCESS)
    reads = [partial(_stored_entries, store, after, until) for after, until in shares]
    return _report(reads, heads=[head] if anchor is None else [head, anchor])


def verify_export(stream: Iterable[bytes], head: Head | HeadDocument | None = None) -> VerifyReport:
    """Verifies exported JSON Lines offline.

    Args:
        stream: The lines with their line ends, e.g. a file opened as binary.
        head: What they must reach, e.g. what `Ledger.export` returned; without it, a missing tail goes
            unnoticed.
    """
    return _report([partial(_exported_entries, stream)], heads=[head or EMPTY])


def verify_file(path: Path, head: Head | HeadDocument | None = None, *, processes: int = 1) -> VerifyReport:
    """As `verify_export`, of a file, by as many processes as `Ledger.verify` would use."""
    shares = _shares(path.stat().st_size, processes, worth=_BYTES_WORTH_A_PROCESS)
    reads = [partial(_filed_entries, path, after or 0, until) for after, until in shares]
    return _report(reads, heads=[head or EMPTY])


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
            raise LedgerError(_gap(Head(count, last), _before(entry)))
        count, last = entry.seq, entry.hash
        if count in recorded and recorded[count] != {last}:
            raise LedgerError(f"entry {count} is not the one that the head recorded")
        yield entry


def end_of(entry: Entry | None) -> Head:
    """The head of a chain whose last entry this is; None: of an empty one."""
    return Head(entry.seq, entry.hash) if entry else EMPTY


def shortfall(end: Head, head: Head) -> str | None:
    """Why a chain that ends here does not reach its head."""
    if end.count < head.count:
        return f"the chain ends at entry {end.count}, its head was at entry {head.count}"
    if head.count == 0 and head != EMPTY:
        return "the head has a hash and no entries"
    return None


# --- Reading -----------------------------------------------------------------------------------------


def _stored_entries(store: Store, after: int | None, until: int | None) -> Iterator[Entry]:
    with store.session() as session:
        yield from map(entry_of, session.stream({}, after=after, until=until))


def _exported_entries(lines: Iterable[bytes]) -> Iterator[Entry]:
    for line in lines:
        if not line.endswith(b"\n"):
            raise LedgerError("its line is incomplete")
        try:
            yield Entry.parse(line[:-1])
        except LedgerError as error:
            raise LedgerError(f"its line was altered: {error}") from error


def _filed_entries(path: Path, after: int, until: int | None) -> Iterator[Entry]:
    """The entries of the lines that begin at byte `after` or later, and before byte `until`."""

    def lines() -> Iterator[bytes]:
        with path.open("rb") as stream:
            begin = after
            if after:  # the line that goes on here began before
                stream.seek(after - 1)
                begin += len(stream.readline()) - 1
            for line in stream:
                if until is not None and begin >= until:
                    return
                yield line
                begin += len(line)

    return _exported_entries(lines())


# --- Stretches ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stretch:
    start: Head | None = None
    """What its first entry continues; None where not even that one is sound."""
    end: Head | None = None
    """Its last sound entry."""
    problem: str | None = None
    """Why it does not go on, if it should."""


def _before(entry: Entry) -> Head:
    return Head(entry.seq - 1, entry.previous_hash)


def _gap(end: Head, start: Head) -> str:
    """Why what continues `start` does not continue `end`."""
    if start.count != end.count:
        return f"entry {end.count + 1} is missing: entry {start.count + 1} stands in its place"
    return f"entry {end.count + 1} does not continue the entry before it"


def _stretch(read: Callable[[], Iterator[Entry]], heads: Sequence[Head]) -> _Stretch:
    start, last, problem = None, None, None
    try:
        entries = read()
        for first in entries:
            start = _before(first)
            for entry in chained(chain([first], entries), after=start, heads=heads):
                last = entry
    except LedgerError as error:
        problem = str(error)
    return _Stretch(start, last and end_of(last), problem)


def _stretches(reads: Sequence[Callable[[], Iterator[Entry]]], heads: Sequence[Head]) -> list[_Stretch]:
    if len(reads) == 1:
        return [_stretch(reads[0], heads)]
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(len(reads), mp_context=context, initializer=die_with_parent) as pool:
        try:
            return list(pool.map(_stretch, reads, repeat(heads)))
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()  # the pool would wait for stretches that nobody wants any more
            raise


def _shares(total: int, processes: int, *, worth: int) -> list[tuple[int | None, int | None]]:
    """Where each process begins (after) and ends (until); open at both ends of the whole."""
    count = max(1, min(processes, total // worth))
    inner = [total * number // count for number in range(1, count)]
    return list(pairwise([None, *inner, None]))


def _report(
    reads: Sequence[Callable[[], Iterator[Entry]]], *, heads: Sequence[Head | HeadDocument]
) -> VerifyReport:
    """Of consecutive stretches of a chain that must reach all these heads; the first is the recorded one."""
    ends = [each.head if isinstance(each, HeadDocument) else each for each in heads]
    signed = [each for each in heads if isinstance(each, HeadDocument) and each.signature]
    end, problem = EMPTY, None
    for stretch in _stretches(reads, ends):
        if stretch.start not in (None, end):
            problem = _gap(end, stretch.start)
        else:
            end, problem = stretch.end or end, stretch.problem
        if problem is not None:
            break
    else:
        problem = next(filter(None, (shortfall(end, each) for each in ends)), None)
    return VerifyReport(
        ok=problem is None,
        entries=end.count,
        head_hash=end.hash,
        ahead_of_head=max(0, end.count - ends[0].count),
        first_bad_seq=None if problem is None else end.count + 1,
        problem=problem,
        signed=bool(signed),
        note=_SIGNED.format(document=signed[0]) if signed else _UNSIGNED,
    )
