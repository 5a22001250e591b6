"""Builders with defaults: a test names only what it is about."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
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


on_both_stores = pytest.mark.parametrize("location", ["sqlite", "postgres"], indirect=True)
"""Marks tests, or a module of tests, that any ledger must pass wherever it is kept."""


@pytest.fixture
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where `ledger` lies: in a SQLite file, unless the test is `on_both_stores`."""
    if getattr(request, "param", "sqlite") == "postgres":
        url: str = request.getfixturevalue("postgres_url")
        return url
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(location: Path | str, clock: Clock) -> Ledger:
    """An empty ledger."""
    return Ledger.open(location, principal="ada", clock=clock)


class Tamperer:
    """A connection to the ledger's database that no trigger holds back."""

    def __init__(self, location: Path | str) -> None:
        if isinstance(location, Path):
            self.connection = sqlite3.connect(location, isolation_level=None)
            triggers = self.connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            for (name,) in triggers.fetchall():
                self.execute(f"DROP TRIGGER {name}")
        else:
            self.connection = pytest.importorskip("psycopg2").connect(location)
            self.connection.autocommit = True
            self.execute("SET search_path = platform_ledger; ALTER TABLE entries DISABLE TRIGGER ALL")

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> None:
        """Runs it. Parameters stand as `?`; bytes are those of an entry."""
        if not isinstance(self.connection, sqlite3.Connection):
            statement = statement.replace("?", "%s")
            parameters = [each.decode() if isinstance(each, bytes) else each for each in parameters]
        self.connection.cursor().execute(statement, parameters)


@pytest.fixture
def tamper(ledger: Ledger, location: Path | str) -> Iterator[Tamperer]:
    """Alters what nobody may alter."""
    tamperer = Tamperer(location)
    with closing(tamperer.connection):
        yield tamperer


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
