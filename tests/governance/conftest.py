"""Builders with defaults: a test names only what it is about."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_origin

import pytest

from platform_assets.governance import verdict
from platform_assets.governance.ledger import Entry, Ledger
from platform_assets.governance.release import Release
from platform_assets.governance.verdict import Requirement, ResolvedRequirement, Verdict, Waiver
from platform_assets.references import (
    CardVersion,
    DatasetVersion,
    FeaturesVersion,
    ModelVersion,
    Reference,
    RegisteredVersion,
    ReportVersion,
)

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MODEL = "reviews_sentiment_model@3f2a91c04b7e5d68"


class Clock:
    """Stands still unless a test moves it."""

    def __init__(self, time: datetime = NOON) -> None:
        self.time = time

    def __call__(self) -> datetime:  # noqa: D102
        return self.time

    def advance(self, **by: float) -> None:
        """Moves on by a `timedelta(**by)`."""
        self.time += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    """The clock of `ledger`."""
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where `ledger` lies."""
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path, clock: Clock) -> Ledger:
    """An empty ledger."""
    return Ledger.open(path, principal="ada", clock=clock)


@pytest.fixture
def tamper(ledger: Ledger, path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to the ledger's file that nothing holds back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        yield connection


@pytest.fixture
def judge(ledger: Ledger) -> Callable[..., Entry]:
    """Records a verdict."""

    def judge(
        outcome: str = "pass",
        *,
        subject: str = MODEL,
        rule_set: str = "gate.auc",
        rule_set_hash: str = "rules-1",
        observed: float = 0.9412,
        by: str = "grace",
        evaluation_id: str = "run-1",
    ) -> Entry:
        return verdict.record(
            ledger,
            Verdict(
                subject=subject,
                rule_set=rule_set,
                rule_set_hash=rule_set_hash,
                outcome=outcome,
                evidence={"observed": observed, "demanded": "> 0.92"},
                producer={"code_commit": "0c0ffee"},
                waiver=Waiver(by=by, reason="small test set") if outcome == "waived" else None,
            ),
            evaluation_id=evaluation_id,
        )

    return judge


@pytest.fixture
def require() -> Callable[..., ResolvedRequirement]:
    """A requirement that the verdicts of `judge` meet."""

    def require(
        rule_set: str = "gate.auc",
        *,
        kind: str = "model",
        subject: str = MODEL,
        max_age_days: float | None = None,
        rule_set_hash: str = "rules-1",
    ) -> ResolvedRequirement:
        requirement = Requirement(subject_kind=kind, rule_set=rule_set, max_age_days=max_age_days)
        return ResolvedRequirement(requirement, subject=subject, rule_set_hash=rule_set_hash)

    return require


def example(model: type[Reference], /, **given: object) -> Reference:
    """A reference whose required fields are blank where they are not given."""
    for name, field in model.model_fields.items():
        if name not in given and field.is_required():
            kind = get_origin(field.annotation) or field.annotation
            given[name] = example(kind) if issubclass(kind, Reference) else kind()
    return model(**given)


@pytest.fixture
def make_release() -> Callable[..., Release]:
    """A release of the model `fingerprint`."""

    def make_release(
        *verdicts: str,
        fingerprint: str = MODEL.partition("@")[2],
        line: str = "reviews_sentiment",
        made_for: str = "reviews_sentiment",
    ) -> Release:
        dataset = example(DatasetVersion, line=made_for)
        model = example(
            ModelVersion, fingerprint=fingerprint, features=example(FeaturesVersion, dataset=dataset)
        )
        report = example(ReportVersion, model=model, metrics={"auc": 0.9412, "accuracy": 1.0})
        card = example(CardVersion, registered=example(RegisteredVersion, report=report))
        return Release(line=line, card=card, deployment={"manifest_key": "isvc.yaml"}, verdicts=verdicts)

    return make_release
