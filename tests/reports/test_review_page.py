"""The review sheet: all that a reviewer should see, of nobody who was erased, and not without a record of who looks."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from platform_assets.governance.access import ACCESS, AccessLog
from platform_assets.governance.release import ERASURE
from platform_assets.governance.reviewing import ReviewDesk, card_of
from platform_assets.governance.subjects import Subject
from platform_assets.governance.suppression import erasures
from platform_assets.ledger.errors import LedgerError
from platform_assets.reports.pages import review_page
from platform_assets.validation.review_sheet import ReviewSheet, review_sheet
from resources.policed_object_store import AccessDeniedError
from resources.settings import PlatformSettings, Principal
from tests.erasures import erase_subject
from tests.reports.conftest import PNG
from tests.reviewed_line import LINE, StagedVersion, reviewed_line


@pytest.fixture
def version(tmp_path: Path) -> StagedVersion:
    """Version 12, in staging."""
    return StagedVersion(PlatformSettings(home=tmp_path / "home"), reviewed_line(tmp_path / "spec"))


class Pictured:
    """The line's evaluator, which also shows rows."""

    legend = "What is to be seen."

    def __init__(self, evaluator: Any) -> None:
        self._evaluator = evaluator
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._evaluator, name)

    def shown(
        self, scorer: Any, features: Any, scored: Any, rows: list[int], spec: Any
    ) -> Mapping[int, bytes]:
        """A picture of each; the row of features must be that of the scores."""
        assert features["review_id"].equals(scored["review_id"])
        self.asked = [scored["review_id"][row].as_py() for row in rows]
        return dict.fromkeys(rows, PNG)


class AnyTrainer:
    """Loads a model that nobody asks."""

    def load(self, folder: Path) -> None:
        """Nothing."""


def sheet_of(version: StagedVersion, evaluator: Any = None, **given: Any) -> ReviewSheet:
    """The sheet of the version for lee."""
    outside, line = version.outside, version.line
    desk = ReviewDesk(outside, line.name, line.promotion, 12)
    return review_sheet(
        outside,
        desk.release,
        card_of(outside, desk.release),
        desk.criteria(),
        evaluator or line.task.evaluator,
        AnyTrainer(),
        line.spec,
        log=AccessLog(outside),
        **{"by": "lee", "per_stratum": 2, "most_pictures": 100} | given,
    )


def test_the_page_shows_what_a_reviewer_should_see(version):
    """Criteria with values, limits, figures, slices, what is not known, every missed case, and what to type."""
    version.judge("fail")
    page = review_page(sheet_of(version))

    for told in (
        "A demonstration.",
        "Trained on &lt;b&gt;320&lt;/b&gt; sentences.",
        "gate.auc",
        "0.61",
        "gate.auc: fail.",
        "other (test): not measured, 3 rows, 50 are needed.",
        "view: AP: not judged, 20 rows, 50 are needed.",
        f"(all): {len(version.missed)} of {len(version.missed)}",
        "Label 0, score 0.8 to 1",
        "&lt;i&gt;AP&lt;/i&gt;",
        f"platform-assets review {LINE} --version 12 --by lee --decision approve",
        "Ada &lt;ada@example.org&gt;",
    ):
        assert told in page, told
    assert version.missed
    assert all(who in page for who in version.missed)


def test_the_page_is_whole_in_itself(version):
    """It has no script, asks nobody for anything, and its policy forbids both."""
    page = review_page(sheet_of(version, Pictured(version.line.task.evaluator)))

    assert "<script" not in page
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page
    assert "data:image/png;base64," in page
    assert "What is to be seen." in page
    assert ":root {" in page


def test_who_is_shown_which_cases_is_recorded_first(version):
    """The entry names all of them by salted hashes, before any picture is made; a second sheet adds nothing."""
    evaluator = Pictured(version.line.task.evaluator)
    sheet = sheet_of(version, evaluator)
    (entry,) = version.outside.ledger.entries(kind=ACCESS)
    subjects = {case.subject for group in sheet.groups for case in group.cases}
    hashed = sorted(Subject("review", who).hashed(version.outside.salt) for who in subjects)

    assert (entry.body["objects"], entry.body["by"]) == (hashed, "lee")
    assert set(version.missed) <= subjects
    assert evaluator.asked[: len(version.missed)] == [case.subject for case in sheet.groups[0].cases]
    sheet_of(version, evaluator)
    assert len(list(version.outside.ledger.entries(kind=ACCESS))) == 1


def test_what_cannot_be_recorded_is_not_shown(version, monkeypatch):
    """No picture is made, and no sheet."""
    evaluator = Pictured(version.line.task.evaluator)

    def refuse(*args: object, **kwargs: object) -> None:
        raise LedgerError("the disk is full")

    monkeypatch.setattr(version.outside.ledger, "append", refuse)
    with pytest.raises(LedgerError):
        sheet_of(version, evaluator)

    assert evaluator.asked == []


def test_the_policy_decides_by_the_class_of_the_data(tmp_path, version):
    """Somebody without consent for personal data sees no case, and leaves no entry of a look."""
    eve = PlatformSettings(home=version.outside.settings.home, principal=Principal(user="eve", consent=False))
    version.outside = type(version.outside)(eve)
    with pytest.raises(AccessDeniedError):
        sheet_of(version)

    assert list(version.outside.ledger.entries(kind=ACCESS)) == []


def test_nobody_who_was_erased_is_on_it(version):
    """Nor is anybody whose erasure has not come to the stored scores yet."""
    gone, waiting = version.missed[:2]
    erase_subject(version.outside, "review", gone)
    erased = next(iter(erasures(version.outside.ledger, version.outside.salt)))
    version.outside.ledger.append(
        ERASURE,
        Subject("review", waiting).hashed(version.outside.salt),
        fingerprint="waiting",
        body=erased.body | {"versions": []},
    )
    sheet = sheet_of(version, Pictured(version.line.task.evaluator))
    page = review_page(sheet)

    assert sheet.shown_cases
    assert gone not in page
    assert waiting not in page


def test_only_so_many_cases_have_a_picture(version):
    """Missed ones first; the others are rows of a table."""
    evaluator = Pictured(version.line.task.evaluator)
    sheet = sheet_of(version, evaluator, most_pictures=3)

    assert evaluator.asked == [case.subject for case in sheet.groups[0].cases][:3]
    assert any("The first 3 of" in note for note in sheet.notes)
    assert review_page(sheet).count("<figure>") == 3
