"""The quarantine of a line as people look at it: what its table holds now, with what the ledger says about each file."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from platform_assets.datasets.errors import QuarantineError
from platform_assets.datasets.quarantine import (
    NO_BYTES,
    TABLE,
    Decision,
    Held,
    Verdict,
    decisions,
    history,
    may_come_in,
)
from platform_assets.ledger.ledger import Ledger
from resources.warehouse import Snapshot, Warehouse

State = Literal["waiting", "released", "rejected"]
STATES: Final[tuple[State, ...]] = ("waiting", "released", "rejected")
FEWEST_DIGITS: Final = 6
"""Of an id's beginning that stands for it."""
_DIGITS: Final = re.compile(rf"(?:{NO_BYTES})?[0-9a-f]{{{FEWEST_DIGITS},64}}")
_MOST_NAMED: Final = 5
_TOLD: Final = ("file_id", "name", "source", "verdict", "rules", "findings", "size_bytes")


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that a file breaks."""

    rule: str
    verdict: Verdict
    tags: tuple[str, ...]
    """What of the file decided, by name; never a value."""
    count: int
    """How often."""


@dataclass(frozen=True, slots=True)
class Case:
    """A file that is held, and what was decided about it."""

    held: Held
    name: str | None
    """None where the name itself may identify somebody."""
    sources: tuple[str, ...]
    """Where it lies; equal files are one case."""
    findings: tuple[Finding, ...]
    size_bytes: int
    decision: Decision | None
    """The newest one."""

    @property
    def file_id(self) -> str:
        """Its identity."""
        return self.held.file_id

    @property
    def state(self) -> State:
        """What becomes of it: it waits for a person, comes in with the next materialization, or stays out.

        One that was released for other rules than it breaks now is waiting again.
        """
        if self.held.verdict == "reject":
            return "rejected"
        if self.decision is None:
            return "waiting"
        if self.decision.decision == "reject":
            return "rejected"
        return "released" if may_come_in(self.held, {self.file_id: self.decision.rules}) else "waiting"


@dataclass(frozen=True)
class Quarantine:
    """All files of a line that are held."""

    line: str
    snapshot: Snapshot | None
    """The version of the table; None where the dataset was never materialized."""
    cases: tuple[Case, ...]
    """Those that wait first, each kind by id."""
    decisions: Mapping[str, Decision]
    """The newest decision on each file that there was one about, also of files that are no longer held."""

    @property
    def by_state(self) -> dict[State, int]:
        """How many files are in each state."""
        found = Counter(case.state for case in self.cases)
        return {state: found[state] for state in STATES}

    @property
    def by_rule(self) -> dict[str, dict[State, int]]:
        """How many files that break a rule are in each state, the most frequent rule first."""
        found: dict[str, Counter[State]] = {}
        for case in self.cases:
            for rule in case.held.rules:
                found.setdefault(rule, Counter())[case.state] += 1
        ordered = sorted(found.items(), key=lambda each: (-each[1].total(), each[0]))
        return {rule: {state: counts[state] for state in STATES} for rule, counts in ordered}

    def verdicts_of(self, rule: str) -> tuple[Verdict, ...]:
        """What a rule has led to, `quarantine` before `reject`."""
        return tuple(
            sorted({each.verdict for case in self.cases for each in case.findings if each.rule == rule})
        )

    def case(self, text: str) -> Case:
        """The one file that is held with this name, this id, or an id that begins so.

        Raises:
            QuarantineError: There is none, or there are several.
        """
        found = [case for case in self.cases if _is_called(text, case.file_id, case.name)]
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(case.file_id for case in found[:_MOST_NAMED])
            raise QuarantineError(
                f"{len(found)} files in the quarantine of {self.line} are called so: name one by more of its id "
                f"({ids}{', …' if len(found) > _MOST_NAMED else ''})"
            )
        raise QuarantineError(
            f"the quarantine of {self.line} holds no file of this name or id ({FEWEST_DIGITS} digits of an id suffice); "
            f"see what it holds: platform-assets quarantine list {self.line}. It is as {self.line}_dataset was "
            "materialized last: a file that was replaced or has come in is no longer held, and a new one not yet"
        )


def read_quarantine(warehouse: Warehouse, ledger: Ledger, line: str) -> Quarantine:
    """The quarantine of a line as it is now; no thumbnail is read.

    Raises:
        WarehouseError: The table cannot be read.
        LedgerError: The ledger cannot be read.
    """
    known, snapshot = decisions(ledger, line), warehouse.current(TABLE.format(line=line))
    by_id: dict[str, list[dict[str, Any]]] = {}
    if snapshot is not None:
        for row in warehouse.read(snapshot.table, snapshot.snapshot_id, columns=_TOLD).to_pylist():
            by_id.setdefault(row["file_id"], []).append(row)
    cases = [_case(line, rows, known.get(file_id)) for file_id, rows in by_id.items()]
    cases.sort(key=lambda case: (STATES.index(case.state), case.file_id))
    return Quarantine(line, snapshot, tuple(cases), known)


def decidable(quarantine: Quarantine, ledger: Ledger, text: str) -> Held:
    """What a decision may be about: a file that is held, or one that was let in by a release.

    Args:
        quarantine: As it is now.
        ledger: Knows what was released.
        text: As `Quarantine.case` takes it; a file that was let in goes by its id.

    Raises:
        QuarantineError: There is no such file, or there are several.
    """
    try:
        return quarantine.case(text).held
    except QuarantineError:
        about = [file_id for file_id in quarantine.decisions if _is_called(text, file_id, None)]
        held = {case.file_id for case in quarantine.cases}
        if len(about) != 1 or about[0] in held:
            raise
        released = [each for each in history(ledger, quarantine.line, about[0]) if each.decision == "release"]
        if not released:
            raise
        return released[-1].held


def thumbnails(warehouse: Warehouse, snapshot: Snapshot) -> Iterator[tuple[str, bytes]]:
    """Id and PNG of each file of a version of the table that has a thumbnail."""
    for batch in warehouse.batches(snapshot.table, snapshot.snapshot_id).batches(["file_id", "thumbnail"]):
        for file_id, png in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
            if png is not None:
                yield file_id, png


def _case(line: str, rows: Sequence[Mapping[str, Any]], decision: Decision | None) -> Case:
    """One case of the rows of equal files, which may break other rules at other places.

    Where one of them could come in, it is what a person decides on: a copy that is refused for being one takes it from
    nobody.
    """
    first = rows[0]
    doubted = [row for row in rows if row["verdict"] != "reject"]
    findings = {
        Finding(each["rule"], each["verdict"], tuple(each["tags"]), each["count"])
        for row in rows
        for each in row["findings"]
    }
    return Case(
        held=Held(
            line=line,
            file_id=first["file_id"],
            verdict="quarantine" if doubted else "reject",
            rules=tuple(sorted({rule for row in doubted or rows for rule in row["rules"]})),
        ),
        name=first["name"],
        sources=tuple(sorted({row["source"] for row in rows})),
        findings=tuple(sorted(findings, key=lambda each: (each.rule, each.tags, each.count))),
        size_bytes=first["size_bytes"],
        decision=decision,
    )


def _is_called(text: str, file_id: str, name: str | None) -> bool:
    if text in (file_id, name):
        return True
    wanted = text.lower()
    return bool(_DIGITS.fullmatch(wanted)) and (
        file_id.startswith(wanted) or file_id.removeprefix(NO_BYTES).startswith(wanted)
    )
