"""Looks at cases: recorded before anything is shown, once an hour, and not where the policy denies them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from platform_assets.governance.access import ACCESS, AccessLog, Look, review_look, viewed_by
from platform_assets.ledger.errors import LedgerError
from platform_assets.outside_systems import OutsideSystems
from resources.policed_object_store import AccessDeniedError
from resources.settings import PlatformSettings, Principal
from tests.ledger.conftest import Clock

PATH = "/reports/dev/chest/1/scores.parquet"
LOOK = review_look("chest", "f" * 8, act="sheet", by="lee")


@pytest.fixture
def outside(tmp_path: Path) -> OutsideSystems:
    """A home of somebody who may read personal data."""
    return OutsideSystems(PlatformSettings(home=tmp_path / "home", principal=Principal(user="ada")))


def bodies(outside: OutsideSystems) -> list[dict[str, object]]:
    """What the entries say."""
    return [entry.body for entry in outside.ledger.entries(kind=ACCESS)]


def test_a_look_names_who_what_when_and_why(outside):
    """One entry for all objects of a look."""
    clock = Clock(datetime(2026, 11, 22, 12, 30, tzinfo=UTC))
    AccessLog(outside, clock=clock).look_at(LOOK, ["b", "a", "b"], path=PATH, gdpr_class="personal")
    (entry,) = outside.ledger.entries(kind=ACCESS)

    assert (entry.principal, entry.subject) == ("ada", "chest_model@ffffffff")
    assert entry.body == {
        "line": "chest",
        "act": "sheet",
        "purpose": "review",
        "by": "lee",
        "outcome": "shown",
        "objects": ["a", "b"],
        "hour": "2026-11-22T12 UTC",
    }


def test_the_same_look_within_the_hour_adds_nothing(outside):
    """Neither in this process nor in another; a further object, another purpose and another hour do."""
    clock = Clock(datetime(2026, 11, 22, 12, 30, tzinfo=UTC))
    for _ in range(2):
        log = AccessLog(outside, clock=clock)
        for _ in range(3):
            log.look_at(LOOK, ["a"], path=PATH, gdpr_class="personal")
    assert len(bodies(outside)) == 1
    log.look_at(LOOK, ["a", "b"], path=PATH, gdpr_class="personal")
    assert bodies(outside)[-1]["objects"] == ["b"]
    log.look_at(Look("chest", {"act": "read"}), ["a"], path=PATH, gdpr_class="personal")
    clock.advance(hours=1)
    log.look_at(LOOK, ["a"], path=PATH, gdpr_class="personal")

    assert len(bodies(outside)) == 4


def test_a_denied_look_is_counted_and_recorded_as_no_look(tmp_path):
    """Who may not read data of the class is refused before anything is written."""
    eve = Principal(user="eve", consent=False)
    outside = OutsideSystems(PlatformSettings(home=tmp_path / "home", principal=eve))
    with pytest.raises(AccessDeniedError):
        AccessLog(outside).look_at(LOOK, ["a"], path=PATH, gdpr_class="personal")

    assert bodies(outside) == []
    assert outside.denials.report(newest=1)["waiting"]["denials"] == 1


def test_what_could_not_be_recorded_is_not_taken_for_recorded(outside, monkeypatch):
    """The look fails, and the next one tries again."""
    log = AccessLog(outside)

    def refuse(*args: object, **kwargs: object) -> None:
        raise LedgerError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(outside.ledger, "append", refuse)
        with pytest.raises(LedgerError):
            log.look_at(LOOK, ["a"], path=PATH, gdpr_class="personal")
    log.look_at(LOOK, ["a"], path=PATH, gdpr_class="personal")

    assert len(bodies(outside)) == 1


def test_what_a_reviewer_was_shown_is_counted_by_person(outside):
    """Cases once each, whoever else has looked at the same model."""
    log = AccessLog(outside)
    log.look_at(LOOK, ["a", "b"], path=PATH, gdpr_class="personal")
    log.look_at(LOOK, ["b", "c"], path=PATH, gdpr_class="personal")
    log.look_at(review_look("chest", "f" * 8, act="sheet", by="kay"), ["d"], path=PATH, gdpr_class="personal")
    seen = viewed_by(outside.ledger, "chest", "f" * 8, "lee")

    assert seen.cases == {"a", "b", "c"}
    assert len(seen.entries) == 2
    assert viewed_by(outside.ledger, "chest", "e" * 8, "lee").cases == frozenset()
