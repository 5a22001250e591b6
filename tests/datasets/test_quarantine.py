"""What people decide about files that are held: who may, what a release holds for, and what supersedes what."""

import multiprocessing
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from platform_assets.datasets.errors import QuarantineDeniedError, QuarantineError
from platform_assets.datasets.quarantine import (
    Held,
    decisions,
    history,
    may_come_in,
    releases,
    releases_hash,
)
from platform_assets.ledger.ledger import Ledger
from resources.settings import Principal
from tests.datasets.quarantine_factory import LINE, READER, decided, file_id, held, kinds_of
from tests.ledger.conftest import Clock


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty ledger."""
    return Ledger.open(tmp_path / "ledger.db", principal=READER.user, clock=Clock())


def test_a_release_names_person_role_reason_and_what_it_is_for(ledger: Ledger) -> None:
    """All that an auditor asks is in the one entry."""
    entry = decided(ledger, held("a", "size.small", "shape.wrong"))
    found = decisions(ledger, LINE)[file_id("a")]
    assert (found.by, found.role, found.reason, found.principal) == (
        "Dr. Lee",
        "readers",
        "a frame, no text",
        "lee",
    )
    assert (found.rules, found.entry_seq) == (("shape.wrong", "size.small"), entry.seq)
    assert releases(ledger, LINE) == {file_id("a"): {"shape.wrong", "size.small"}}


def test_a_decision_of_one_line_is_none_of_another(ledger: Ledger) -> None:
    """Also where one name begins with the other."""
    about = held("a")
    decided(ledger, Held(f"{LINE}_quarantine", about.file_id, "quarantine", about.rules))
    assert decisions(ledger, LINE) == {}


def test_whoever_is_not_in_the_group_is_refused_and_counted(ledger: Ledger) -> None:
    """The ledger does not grow by it."""
    denied = []
    stranger = Principal(user="eve", groups=("ml-engineers",))
    with pytest.raises(QuarantineDeniedError, match="group readers"):
        decided(ledger, held("a"), principal=stranger, denied=denied)
    [(request, decision)] = denied
    assert request["user"]["name"] == "eve"
    assert (request["method"], request["path"]) == ("RELEASE", f"/quarantine/{LINE}/{file_id('a')}")
    assert not decision.allow
    assert kinds_of(ledger) == []


@pytest.mark.parametrize("blank", [{"by": " \t"}, {"reason": ""}])
def test_a_blank_name_or_reason_is_refused(ledger: Ledger, blank: dict[str, str]) -> None:
    """Nobody takes responsibility for nothing."""
    with pytest.raises(QuarantineError, match="name who decides it, and why"):
        decided(ledger, held("a"), **blank)
    assert kinds_of(ledger) == []


@pytest.mark.parametrize(
    ("about", "why"),
    [
        (held("a", verdict="reject"), "is rejected"),
        (Held(LINE, f"name:{file_id('a')}", "quarantine", ("file.unreadable",)), "no byte of"),
    ],
)
def test_what_nobody_can_release_may_still_be_rejected(ledger: Ledger, about: Held, why: str) -> None:
    """A file of verdict reject, and one that has no hash for a release to hold for."""
    with pytest.raises(QuarantineError, match=why):
        decided(ledger, about)
    assert kinds_of(ledger) == []
    decided(ledger, about, "reject")
    assert not may_come_in(about, {about.file_id: frozenset(about.rules)})


def test_deciding_the_same_again_adds_nothing(ledger: Ledger) -> None:
    """Whoever repeats a command gets the entry that is there."""
    first = decided(ledger, held("a"))
    assert decided(ledger, held("a"), by=" Dr. Lee ") == first
    assert kinds_of(ledger) == ["quarantine_decision"]


def test_a_later_decision_supersedes_and_obscures_nothing(ledger: Ledger) -> None:
    """Release, reject, and the same release again are three entries, of which the last counts."""
    about = held("a")
    for choice in ("release", "reject", "release"):
        decided(ledger, about, choice)
        expected = {about.file_id: frozenset(about.rules)} if choice == "release" else {}
        assert releases(ledger, LINE) == expected
    assert [each.decision for each in history(ledger, LINE, about.file_id)] == [
        "release",
        "reject",
        "release",
    ]


def test_another_reader_is_another_entry_and_no_other_dataset(ledger: Ledger) -> None:
    """A second name is kept; what may come in is as before."""
    decided(ledger, held("a"))
    before = releases_hash(releases(ledger, LINE))
    decided(ledger, held("a"), by="Dr. Kim")
    assert decisions(ledger, LINE)[file_id("a")].by == "Dr. Kim"
    assert releases_hash(releases(ledger, LINE)) == before


RULES = st.frozensets(st.sampled_from(["a.one", "a.two", "b.one", "b.two"]), min_size=1)


@given(RULES, RULES, st.sampled_from(["quarantine", "reject"]))
def test_a_release_holds_for_its_rules_and_no_other(
    released: frozenset[str], broken: frozenset[str], verdict: str
) -> None:
    """A file that breaks another rule than it was released for is held again; fewer are no reason to hold it."""
    about = held("a", *broken, verdict=verdict)
    assert may_come_in(about, {about.file_id: released}) == (verdict == "quarantine" and broken <= released)
    assert not may_come_in(about, {file_id("b"): released})


@given(st.dictionaries(st.sampled_from("abc"), RULES), st.dictionaries(st.sampled_from("abc"), RULES))
def test_other_releases_are_another_identity(
    some: dict[str, frozenset[str]], others: dict[str, frozenset[str]]
) -> None:
    """In whatever order they came; none at all is empty, so that fingerprints of before stay what they were."""
    backwards = dict(reversed(some.items()))
    assert releases_hash(some) == releases_hash(backwards)
    assert (releases_hash(some) == releases_hash(others)) == (some == others)
    assert (releases_hash(some) == "") == (some == {})


def _decide_once(path: Path, at: int) -> None:
    ledger = Ledger.open(path, principal=READER.user)
    decided(ledger, held("a"), "release" if at % 2 else "reject", reason=f"reason {at}")


def test_decisions_at_once_follow_one_another(tmp_path: Path) -> None:
    """Of several processes that decide on one file, each adds an entry, and the newest counts for all."""
    path = tmp_path / "ledger.db"
    ledger = Ledger.open(path, principal=READER.user)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_decide_once, args=(path, at)) for at in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    found = history(ledger, LINE, file_id("a"))
    assert sorted(each.reason for each in found) == [f"reason {at}" for at in range(4)]
    assert decisions(ledger, LINE)[file_id("a")] == found[-1]
    assert ledger.verify().ok
