"""Whether a chain of entries is whole: in a store, in an export, in a file.

A chain is verified stretch by stretch: each may be read by a process of its own, and they must join.
"""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, pairwise, repeat
from pathlib import Path
from typing import Self

from platform_assets.ledger import checkpoint, memory
from platform_assets.ledger.chain import before, chained, end_of, gap, shortfall
from platform_assets.ledger.checkpoint import Checkpoint
from platform_assets.ledger.entry import GENESIS, Entry
from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.head import EMPTY, Head, HeadDocument
from platform_assets.ledger.store import Session, Store, entry_of
from resources.process_tree import die_with_parent

_UNSIGNED = (
    "Unsigned: this shows that entries were not altered, removed or reordered one by one. It does not "
    "protect against somebody who rewrites the whole chain and its head; keep a head elsewhere for that."
)
_SIGNED = (
    "Signed: whoever holds the key {document.public_key} vouched at {document.time} for the first "
    "{document.count} entries. Whose key that is, only a copy of it from elsewhere can tell."
)
_UNKNOWN = (
    "completeness unknown: nothing says how far the chain must go, so nobody would notice a missing tail; "
    "give the head that was kept of it"
)
_ENTRIES_WORTH_A_PROCESS = 25_000
_BYTES_WORTH_A_PROCESS = 25_000_000


@dataclass(frozen=True)
class VerifyReport:
    """Whether a chain is whole."""

    ok: bool
    """Whether it is sound and complete. What is not known to be complete is not ok."""
    entries: int
    """How many entries are sound, counted from the first."""
    head_hash: str
    """Hash of the last sound entry."""
    ahead_of_head: int
    """Entries behind the recorded head: a process died after its entry and before its head."""
    first_bad_seq: int | None
    problem: str | None
    complete: bool | None
    """Whether it is known to reach its head; None where it is sound, and no head says how far it must go."""
    signed: bool = False
    """Whether it had to reach a head whose signature holds."""
    checkpoint: int | None = None
    """Number of the newest checkpoint, where there is one: its memory, made from the first entry on, is the same."""
    note: str = _UNSIGNED

    @classmethod
    def refused(cls, problem: str) -> Self:
        """Of a chain that could not be looked at at all."""
        return cls(
            ok=False,
            entries=0,
            head_hash=GENESIS,
            ahead_of_head=0,
            first_bad_seq=None,
            problem=problem,
            complete=False,
        )


def verify_store(store: Store, anchor: HeadDocument | None = None, *, processes: int = 1) -> VerifyReport:
    """As `Ledger.verify`, of the entries in this store."""
    with store.session() as session:
        head = session.head()  # first, as in `Ledger.replay`
        last = session.first({}, newest=True)
        seen = _newest_checkpoint(session)
    shares = _shares(last[0] if last else 0, processes, worth=_ENTRIES_WORTH_A_PROCESS)
    reads = [partial(_stored_entries, store, after, until) for after, until in shares]
    heads: list[Head | HeadDocument] = [head] if anchor is None else [head, anchor]
    if seen is None:
        return _report(reads, heads=heads)
    with memory.folder_of_notes() as folder:
        noting = _Noting([folder / str(number) for number in range(len(reads))], seen.covers.count)
        report = _report(reads, heads=heads, noting=noting)
        if not report.ok:
            return report
        if memory.root_hash_from(noting.folders) != seen.root_hash:
            return replace(
                report,
                ok=False,
                entries=seen.covers.count,
                head_hash=seen.covers.hash,
                first_bad_seq=seen.entry.seq,
                problem="the checkpoint does not hold what the entries before it say",
            )
    return replace(report, checkpoint=seen.entry.seq)


def _newest_checkpoint(session: Session) -> Checkpoint | None:
    # Altered, it breaks the chain, which tells where.
    with suppress(LedgerError):
        return checkpoint.newest(session)
    return None


def verify_export(stream: Iterable[bytes], head: Head | HeadDocument | None = None) -> VerifyReport:
    """Verifies exported JSON Lines offline.

    Args:
        stream: The lines with their line ends, e.g. a file opened as binary.
        head: What they must reach, e.g. what `Ledger.export` returned; without it nobody knows whether they
            are complete, and the report is not `ok`.
    """
    return _report([partial(_exported_entries, stream)], heads=[] if head is None else [head])


def verify_file(path: Path, head: Head | HeadDocument | None = None, *, processes: int = 1) -> VerifyReport:
    """As `verify_export`, of a file, by as many processes as `Ledger.verify` would use."""
    shares = _shares(path.stat().st_size, processes, worth=_BYTES_WORTH_A_PROCESS)
    reads = [partial(_filed_entries, path, after or 0, until) for after, until in shares]
    return _report(reads, heads=[] if head is None else [head])


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


@dataclass(frozen=True)
class _Noting:
    """Where the memory of each stretch is noted, and up to which entry."""

    folders: Sequence[Path]
    until: int

    def notes_of(self, entries: Iterable[Entry], folder: Path) -> Iterator[Entry]:
        """The entries, noted in the folder on the way."""
        folder.mkdir()
        notes = memory.Notes(folder)
        for entry in entries:
            if entry.seq <= self.until:
                notes.add(entry)
            yield entry
        notes.close()


def _stretch(
    read: Callable[[], Iterator[Entry]], heads: Sequence[Head], noting: _Noting | None, number: int
) -> _Stretch:
    start, last, problem = None, None, None
    try:
        entries = read() if noting is None else noting.notes_of(read(), noting.folders[number])
        for first in entries:
            start = before(first)
            for entry in chained(chain([first], entries), after=start, heads=heads):
                last = entry
    except LedgerError as error:
        problem = str(error)
    return _Stretch(start, last and end_of(last), problem)


def _stretches(
    reads: Sequence[Callable[[], Iterator[Entry]]], heads: Sequence[Head], noting: _Noting | None
) -> list[_Stretch]:
    if len(reads) == 1:
        return [_stretch(reads[0], heads, noting, 0)]
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(len(reads), mp_context=context, initializer=die_with_parent) as pool:
        try:
            return list(pool.map(_stretch, reads, repeat(heads), repeat(noting), range(len(reads))))
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
    reads: Sequence[Callable[[], Iterator[Entry]]],
    *,
    heads: Sequence[Head | HeadDocument],
    noting: _Noting | None = None,
) -> VerifyReport:
    """Of consecutive stretches of a chain that must reach all these heads; the first is the recorded one."""
    ends = [each.head if isinstance(each, HeadDocument) else each for each in heads]
    signed = [each for each in heads if isinstance(each, HeadDocument) and each.signature]
    end, problem = EMPTY, None
    for stretch in _stretches(reads, ends, noting):
        if stretch.start not in (None, end):
            problem = gap(end, stretch.start)
        else:
            end, problem = stretch.end or end, stretch.problem
        if problem is not None:
            break
    else:
        problem = next(filter(None, (shortfall(end, each) for each in ends)), None)
    is_unknown = problem is None and not heads
    return VerifyReport(
        ok=problem is None and not is_unknown,
        entries=end.count,
        head_hash=end.hash,
        ahead_of_head=max(0, end.count - (ends[0].count if ends else 0)),
        first_bad_seq=None if problem is None else end.count + 1,
        problem=_UNKNOWN if is_unknown else problem,
        complete=None if is_unknown else problem is None,
        signed=bool(signed),
        note=_SIGNED.format(document=signed[0]) if signed else _UNSIGNED,
    )
