"""Who stood where when: the ledger's pointers read as stays."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.cli.history import history as history_command
from platform_assets.governance import release as releases
from platform_assets.governance import verdict as verdicts
from platform_assets.governance.errors import LineageError
from platform_assets.governance.history import Stay, at, history, told
from platform_assets.governance.release import ACTIVATION, STAGED, Release
from platform_assets.governance.verdict import Verdict, Waiver
from platform_assets.ledger.ledger import GENESIS, Entry, Ledger
from platform_assets.references import (
    CardVersion,
    DatasetVersion,
    FeaturesVersion,
    ModelVersion,
    RegisteredVersion,
    ReportVersion,
    TableSnapshot,
)
from tests.governance.conftest import example
from tests.ledger.conftest import Clock

LINE = "chest_xray_detector"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
FAR = NOON + timedelta(days=1000)


@dataclass
class Book:
    """A ledger in which releases of a line are moved."""

    ledger: Ledger
    clock: Clock
    judged: list[Entry] = field(default_factory=list)

    def release(self, number: int) -> Release:
        """Version `number` of the line, recorded."""
        snapshot = example(TableSnapshot, table=f"datasets.{LINE}", snapshot_id=f"s{number}")
        dataset = example(DatasetVersion, line=LINE, snapshot=snapshot)
        model = example(
            ModelVersion,
            fingerprint=f"f{number}",
            features=example(FeaturesVersion, dataset=dataset),
            source_commit=f"{number}" * 40,
            source_author="Ada <ada@acme.com>",
            started_by="grace",
        )
        report = example(ReportVersion, model=model)
        registered = RegisteredVersion(report=report, name=LINE, number=number)
        made = Release(
            line=LINE,
            card=example(CardVersion, registered=registered),
            deployment={},
            verdicts=(self.verdict().hash,),
        )
        releases.record(self.ledger, made)
        return made

    def verdict(self, outcome: str = "pass") -> Entry:
        """A verdict that speaks for a version."""
        return verdicts.record(
            self.ledger,
            Verdict(
                subject=f"{LINE}_model@f1",
                rule_set="gate.auc",
                rule_set_hash="rules",
                outcome=outcome,
                evidence={},
                producer={},
                waiver=Waiver(by="Dr. Lee", reason="two cases", expires_at=FAR)
                if outcome == "waived"
                else None,
            ),
            evaluation_id=outcome,
        )

    def move(self, number: int, kind: str = ACTIVATION, act: str = "", **more: Any) -> Entry:
        """Moves a pointer to a version, as a deployment does, or as a person's act."""
        current = self.ledger.latest(kind, LINE)
        promotion = {"promotion": {"act": act, "by": "Dr. Lee", "reviews": []}} if act else {}
        return self.ledger.append(
            kind,
            LINE,
            fingerprint=current.hash if current else GENESIS,
            body={
                "release_id": self.release(number).release_id,
                "previous": None,
                "reason": f"number {number}",
                "pinned": False,
                "verdicts": [self.verdict().hash],
            }
            | promotion
            | more,
        )


@contextmanager
def new_book() -> Iterator[Book]:
    """An empty one."""
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        ledger = Ledger.open(Path(folder) / "ledger.db", principal="runner", clock=clock)
        with ledger.kept_open():
            yield Book(ledger, clock)


@pytest.fixture
def book() -> Iterator[Book]:
    """An empty one."""
    with new_book() as book:
        yield book


def shown(stays: list[Stay]) -> list[tuple[str, int, int, int | None, str, str]]:
    """Stage, version, hours from noon, act and person of each stay."""

    def hours(moment: datetime | None) -> int | None:
        return None if moment is None else round((moment - NOON) / timedelta(hours=1))

    return [
        (each.stage, each.number, hours(each.since), hours(each.until), each.act, each.by) for each in stays
    ]


def test_a_line_without_staging_has_a_history_too(book):
    """Every activation of older ledgers is a stay; one that pinned says so."""
    for number, pinned in ((1, False), (2, False), (1, True)):
        book.move(number, pinned=pinned)
        book.clock.advance(hours=1)

    assert shown(history(book.ledger, LINE)) == [
        ("production", 1, 0, 1, "deploy", "runner"),
        ("production", 2, 1, 2, "deploy", "runner"),
        ("production", 1, 2, None, "pin", "runner"),
    ]


def test_a_promoted_line_goes_through_staging(book):
    """Staging ends where its release gets to production, or another one comes; a demotion leaves it alone."""
    acts = [
        (1, STAGED, ""),
        (1, ACTIVATION, "promote"),
        (2, STAGED, ""),
        (3, STAGED, ""),
        (3, ACTIVATION, "promote"),
        (4, STAGED, ""),
        (1, ACTIVATION, "demote"),
    ]
    for number, kind, act in acts:
        book.move(number, kind, act)
        book.clock.advance(hours=1)

    assert shown(history(book.ledger, LINE)) == [
        ("staging", 1, 0, 1, "deploy", "runner"),
        ("production", 1, 1, 4, "promote", "Dr. Lee"),
        ("staging", 2, 2, 3, "deploy", "runner"),
        ("staging", 3, 3, 4, "deploy", "runner"),
        ("production", 3, 4, 6, "promote", "Dr. Lee"),
        ("staging", 4, 5, None, "deploy", "runner"),
        ("production", 1, 6, None, "demote", "Dr. Lee"),
    ]
    ends = {each.entry.seq: each.ended_by for each in history(book.ledger, LINE)}
    assert list(ends.values()) == [
        "promote by Dr. Lee",
        "promote by Dr. Lee",
        "deploy by runner",
        "promote by Dr. Lee",
        "demote by Dr. Lee",
        None,
        None,
    ]


def test_one_moment_has_one_version_in_each_stage(book):
    """The very moment of an act belongs to what it made; the one before it does not."""
    book.move(1)
    book.clock.advance(hours=1)
    book.move(2, STAGED)
    book.clock.advance(hours=1)
    book.move(2, ACTIVATION, "promote")

    def numbers(moment: datetime) -> tuple[int | None, int | None]:
        standing = at(book.ledger, LINE, moment, now=FAR)
        return tuple(each and each.number for each in (standing.production, standing.staging))

    hour, instant = timedelta(hours=1), timedelta(microseconds=1)
    assert numbers(NOON) == (1, None)
    assert numbers(NOON + hour - instant) == (1, None)
    assert numbers(NOON + hour) == (1, 2)
    assert numbers(NOON + 2 * hour - instant) == (1, 2)
    assert numbers(NOON + 2 * hour) == (2, None)
    assert numbers(FAR) == (2, None)


def test_what_nobody_can_know_is_said_so(book):
    """Before the first entry, after now, and of a line that has none."""
    with pytest.raises(LineageError, match="it has no entry at all"):
        at(book.ledger, LINE, NOON, now=FAR)
    book.move(1)
    with pytest.raises(LineageError, match=r"is not known: its first entry is of 2026-11-22 12:00:00 UTC"):
        at(book.ledger, LINE, NOON - timedelta(microseconds=1), now=FAR)
    with pytest.raises(LineageError, match="is to come"):
        at(book.ledger, LINE, FAR + timedelta(seconds=1), now=FAR)
    with pytest.raises(LineageError, match="it has no entry at all"):
        at(book.ledger, "other", NOON, now=FAR)


MOVES = st.tuples(
    st.sampled_from([(ACTIVATION, ""), (ACTIVATION, "promote"), (ACTIVATION, "rollback"), (STAGED, "")]),
    st.integers(1, 3),
    st.integers(-2, 3),
)


@settings(max_examples=25)
@given(st.lists(MOVES, min_size=1, max_size=10))
def test_stays_follow_one_another(moves):
    """Whatever was done, in whatever order, also by machines whose clocks disagree.

    What stood after each act is what the pointers said then; stays of a stage never meet, and production has no gap from
    its first entry on.
    """
    with new_book() as book:
        stood: list[tuple[datetime, dict[str, int | None]]] = []
        for (kind, act), number, hours in moves:
            book.clock.advance(hours=hours)
            entry = book.move(number, kind, act)
            time = max([entry.time, *(time for time, _ in stood)])
            pointers = {stage: releases.active(book.ledger, LINE, stage) for stage in releases.POINTERS}
            stood.append(
                (time, {stage: each and each.card.registered.number for stage, each in pointers.items()})
            )
        found = history(book.ledger, LINE)

        for stage in releases.POINTERS:
            stays = [each for each in found if each.stage == stage]
            for before, after in pairwise(stays):
                assert before.until is not None
                assert before.since <= before.until <= after.since
                assert stage == "staging" or before.until == after.since
            assert all(each.until is None for each in stays[-1:] if stage == "production")
        for (time, numbers), (following, _) in pairwise([*stood, (FAR, {})]):
            if time < following:
                for moment in (time, following - timedelta(microseconds=1)):
                    standing = at(book.ledger, LINE, moment, now=FAR)
                    there = {"staging": standing.staging, "production": standing.production}
                    assert {stage: each and each.number for stage, each in there.items()} == numbers


def test_a_stay_tells_what_it_stood_on(book):
    """Commit, author, who started the training, data, and each verdict with who waived it: all of it fits into JSON."""
    waived = book.verdict("waived")
    book.move(7, STAGED, verdicts=[book.verdict().hash, waived.hash])

    (stay,) = history(book.ledger, LINE)
    record = told(book.ledger, stay)

    assert record["source_commit"] == "7" * 40
    assert (record["source_author"], record["started_by"]) == ("Ada <ada@acme.com>", "grace")
    assert record["data_snapshot"] == {"table": f"datasets.{LINE}", "snapshot_id": "s7"}
    assert [each["outcome"] for each in record["verdicts"]] == ["pass", "waived"]
    assert (record["verdicts"][1]["waived_by"], record["verdicts"][1]["waived_until"]) == ("Dr. Lee", FAR)
    assert json.dumps(record, default=str)


def test_the_command_answers_for_a_moment(tmp_path, monkeypatch, capsys):
    """As text and as JSON, and nothing where nothing stood."""
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    clock = Clock()
    book = Book(Ledger.open(tmp_path / "ledger" / "ledger.sqlite", principal="runner", clock=clock), clock)
    book.move(1)
    clock.advance(hours=1)
    book.move(2, STAGED)

    history_command(LINE, moment=NOON + timedelta(minutes=30))
    text = capsys.readouterr().out
    history_command(LINE, moment=NOON + timedelta(minutes=30), as_json=True)
    machine = json.loads(capsys.readouterr().out)
    history_command(LINE)
    both = capsys.readouterr().out

    assert "production\n  version 1    2026-11-22 12:00:00 to now" in text
    assert "staging  nothing" in text
    assert [each["version"] for each in machine["stays"]] == [1]
    assert machine["chain"]["ok"] is True
    assert [
        line.split()[:3] for line in both.splitlines() if line.startswith("  ") and "version" in line
    ] == [
        ["production", "version", "1"],
        ["staging", "version", "2"],
    ]
