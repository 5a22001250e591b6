"""The table of what is held, read with the decisions; who looks into it; and what an erasure takes out of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from platform_assets.datasets.errors import QuarantineError
from platform_assets.datasets.quarantine import TABLE, decisions
from platform_assets.datasets.quarantine_cases import decidable, read_quarantine, thumbnails
from platform_assets.datasets.quarantine_reading import ACCESS, QuarantineReader
from platform_assets.governance.errors import ErasureError
from platform_assets.outside_systems import OutsideSystems
from resources.policed_object_store import AccessDeniedError
from resources.settings import PlatformSettings, Principal
from tests.datasets.quarantine_factory import (
    LINE,
    PNG,
    READER,
    decided,
    file_id,
    held,
    held_file,
    names,
    publish,
)
from tests.erasures import erase_subject
from tests.ledger.conftest import Clock
from tests.warehouse_factory import files_of, local


@pytest.fixture
def outside(tmp_path: Path) -> OutsideSystems:
    """An empty platform, in the name of a reader."""
    return OutsideSystems(local(tmp_path / "home").model_copy(update={"principal": READER}))


def read(outside: OutsideSystems):
    """The quarantine as it is now."""
    return read_quarantine(outside.warehouse, outside.ledger, LINE)


def accesses(outside: OutsideSystems) -> list[dict]:
    """Bodies of the entries about who looked."""
    return [entry.body for entry in outside.ledger.entries(kind=ACCESS)]


def test_a_line_that_never_held_anything(outside: OutsideSystems) -> None:
    """It is empty, and no error."""
    found = read(outside)
    assert (found.snapshot, found.cases) == (None, ())
    assert found.by_state == {"waiting": 0, "released": 0, "rejected": 0}


def test_files_are_counted_by_state_and_rule(outside: OutsideSystems) -> None:
    """Those that wait come first; a verdict of reject is no decision to wait for."""
    publish(
        outside,
        held_file("a", "shape.wrong"),
        held_file("b", "shape.wrong", "size.small"),
        held_file("c", "size.small"),
        held_file("d", "file.unreadable", verdict="reject"),
    )
    decided(outside.ledger, held("b", "shape.wrong", "size.small"))
    decided(outside.ledger, held("c", "size.small"), "reject")
    found = read(outside)
    assert found.by_state == {"waiting": 1, "released": 1, "rejected": 2}
    assert names(found.cases)[:2] == ["a", "b"]
    assert found.by_rule == {
        "shape.wrong": {"waiting": 1, "released": 1, "rejected": 0},
        "size.small": {"waiting": 0, "released": 1, "rejected": 1},
        "file.unreadable": {"waiting": 0, "released": 0, "rejected": 1},
    }
    assert found.verdicts_of("file.unreadable") == ("reject",)


def test_a_file_that_breaks_another_rule_waits_again(outside: OutsideSystems) -> None:
    """What was released is these bytes for these rules."""
    publish(outside, held_file("a", "shape.wrong"))
    decided(outside.ledger, held("a", "shape.wrong"))
    assert read(outside).case("a").state == "released"
    publish(outside, held_file("a", "shape.wrong", "size.small"))
    assert read(outside).case("a").state == "waiting"


def test_equal_files_are_one_case(outside: OutsideSystems) -> None:
    """It is held for all that they break; a copy that is refused for being one leaves the first to a person."""
    publish(
        outside,
        held_file("a", "shape.wrong"),
        held_file("a", "size.small", source="again"),
        held_file("a", "twice.there", verdict="reject", source="archive"),
        held_file("b", "file.unreadable", verdict="reject"),
        held_file("b", "twice.there", verdict="reject", source="archive"),
    )
    waiting, refused = read(outside).cases
    assert waiting.held == held("a", "shape.wrong", "size.small")
    assert waiting.sources == ("again", "archive", "folder")
    assert {each.rule for each in waiting.findings} == {"shape.wrong", "size.small", "twice.there"}
    assert refused.held == held("b", "file.unreadable", "twice.there", verdict="reject")
    decided(outside.ledger, waiting.held)
    assert read(outside).case("a").state == "released"


def test_a_file_goes_by_name_id_or_six_digits(outside: OutsideSystems) -> None:
    """In either case of letters; five digits are too few."""
    publish(outside, held_file("a"), held_file("b", name=None))
    found = read(outside)
    for text in ("a", file_id("a"), file_id("a")[:6], file_id("a")[:20].upper()):
        assert found.case(text).name == "a"
    assert found.case(file_id("b")[:6]).name is None
    for text in (file_id("a")[:5], "c", "", "None"):
        with pytest.raises(QuarantineError, match=f"quarantine list {LINE}"):
            found.case(text)


def test_an_ambiguous_name_lists_ids(outside: OutsideSystems) -> None:
    """Two files of one name, in two sources."""
    publish(outside, held_file("a"), held_file("b", name="a"))
    with pytest.raises(QuarantineError) as refusal:
        read(outside).case("a")
    assert file_id("a") in str(refusal.value)
    assert file_id("b") in str(refusal.value)


def test_a_file_of_which_no_byte_was_read_goes_by_its_id(outside: OutsideSystems) -> None:
    """With or without what its id begins with."""
    of_name = f"name:{file_id('a')}"
    publish(outside, held_file("a", verdict="reject", file_id=of_name, name=None, thumbnail=None))
    found = read(outside)
    assert found.case(of_name[:11]) == found.case(file_id("a")[:6]) == found.case(of_name)


def test_a_release_can_be_taken_back_once_the_file_has_come_in(outside: OutsideSystems) -> None:
    """It is no longer in the table then; and what is taken back can be released again."""
    publish(outside, held_file("a"))
    decided(outside.ledger, held("a"))
    publish(outside)
    for choice in ("reject", "release"):
        about = decidable(read(outside), outside.ledger, file_id("a")[:8])
        assert about == held("a")
        decided(outside.ledger, about, choice)
    assert decisions(outside.ledger, LINE)[file_id("a")].decision == "release"


def test_what_was_only_rejected_and_is_gone_cannot_be_decided_on(outside: OutsideSystems) -> None:
    """One error that says what to do, as for what was never held."""
    publish(outside, held_file("a"))
    decided(outside.ledger, held("a"), "reject")
    publish(outside)
    for text in (file_id("a"), file_id("b")):
        with pytest.raises(QuarantineError, match="no longer held"):
            decidable(read(outside), outside.ledger, text)


def test_erasing_a_subject_takes_files_and_thumbnails_out_of_every_version(outside: OutsideSystems) -> None:
    """No byte of a thumbnail stays; decisions do, which hold hashes."""
    theirs = PNG + b"theirs" * 99
    publish(outside, held_file("a", thumbnail=theirs), held_file("b"))
    publish(outside, held_file("a", thumbnail=theirs))
    decided(outside.ledger, held("a"))
    reader = QuarantineReader(outside)
    assert reader.thumbnail(LINE, file_id("a")) == theirs
    erase_subject(outside, "visitor", "visitor of a")
    assert read(outside).cases == ()
    assert reader.thumbnail(LINE, file_id("a")) is None
    assert list(decisions(outside.ledger, LINE)) == [file_id("a")]
    versions = outside.warehouse.versions(TABLE.format(line=LINE), unpublished=True)
    left = {file for version in versions for file, _ in thumbnails(outside.warehouse, version)}
    assert left == {file_id("b")}
    stored = [Path(file.removeprefix("file://")).read_bytes() for file in files_of(outside.settings)]
    assert not any(b"theirs" * 9 in content for content in stored)


def test_who_was_erased_meanwhile_does_not_come_back(outside: OutsideSystems) -> None:
    """A materialization that has read the files before is refused."""
    publish(outside, held_file("a"))
    erase_subject(outside, "visitor", "visitor of a")
    with pytest.raises(ErasureError, match="erased meanwhile"):
        publish(outside, held_file("a"))
    assert read(outside).cases == ()


def test_a_look_is_one_entry_a_person_file_and_hour(outside: OutsideSystems) -> None:
    """So no reader makes the ledger grow, also from several processes; who looks in the next hour is told again."""
    clock = Clock(datetime(2026, 11, 22, 12, 30, tzinfo=UTC))
    snapshot = publish(outside, held_file("a"), held_file("b"))
    for _ in range(2):
        reader = QuarantineReader(outside, clock=clock)
        for _ in range(3):
            reader.look_at(LINE, snapshot, [file_id("b"), file_id("a")], "page")
            assert reader.thumbnail(LINE, file_id("a")) == PNG
    both = sorted([file_id("a"), file_id("b")])
    assert accesses(outside) == [{"line": LINE, "act": "page", "files": both, "hour": "2026-11-22T12 UTC"}]
    clock.advance(hours=1)
    reader.look_at(LINE, snapshot, [file_id("a")], "case")
    [_, later] = accesses(outside)
    assert (later["act"], later["files"]) == ("case", [file_id("a")])
    assert {entry.principal for entry in outside.ledger.entries(kind=ACCESS)} == {READER.user}


def test_what_is_not_held_leaves_no_entry(outside: OutsideSystems) -> None:
    """Whoever guesses ids writes nothing."""
    reader = QuarantineReader(outside)
    assert reader.thumbnail(LINE, file_id("a")) is None
    publish(outside, held_file("a", thumbnail=None))
    assert reader.thumbnail(LINE, file_id("a")) is None
    assert reader.thumbnail(LINE, file_id("b")) is None
    assert accesses(outside) == []


def test_the_policy_is_asked_before_anything_is_shown(tmp_path: Path) -> None:
    """Somebody who may not read personal data sees no case, which is counted; and no entry says that they did."""
    settings = PlatformSettings(home=tmp_path / "home", principal=Principal(user="eve", consent=False))
    outside = OutsideSystems(settings)
    snapshot = publish(outside, held_file("a"))
    reader = QuarantineReader(outside)
    with pytest.raises(AccessDeniedError):
        reader.look_at(LINE, snapshot, [file_id("a")], "page")
    with pytest.raises(AccessDeniedError):
        reader.thumbnail(LINE, file_id("a"))
    assert accesses(outside) == []
    assert outside.denials.report(newest=1)["waiting"]["denials"] == 2


def test_thumbnails_beyond_what_memory_may_hold_are_read_again(
    outside: OutsideSystems, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is shown all the same."""
    monkeypatch.setattr("platform_assets.datasets.quarantine_reading._MOST_BYTES", len(PNG))
    snapshot = publish(outside, *(held_file(name, thumbnail=PNG + name.encode()) for name in "abc"))
    reader = QuarantineReader(outside)
    assert reader.with_thumbnail(snapshot) == {file_id(name) for name in "abc"}
    for name in "abcabc":
        assert reader.thumbnail(LINE, file_id(name)) == PNG + name.encode()
    reader.forget()
    assert reader.thumbnail(LINE, file_id("a")) == PNG + b"a"


def test_a_clock_that_crosses_the_hour_forgets_who_was_noted(outside: OutsideSystems) -> None:
    """What is remembered of an hour does not grow beyond it."""
    clock = Clock()
    snapshot = publish(outside, *(held_file(str(at)) for at in range(3)))
    reader = QuarantineReader(outside, clock=clock)
    for at in range(3):
        reader.look_at(LINE, snapshot, [file_id(str(at))], "case")
        clock.time += timedelta(hours=1)
    assert len(accesses(outside)) == 3
    assert len(reader._log._noted) == 1
