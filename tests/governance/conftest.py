"""Builders with defaults: a test names only what it is about."""

from collections.abc import Callable
from typing import get_origin

import pytest

from platform_assets.governance import verdict
from platform_assets.governance.release import Release
from platform_assets.governance.verdict import Requirement, ResolvedRequirement, Verdict, Waiver
from platform_assets.ledger.ledger import Entry, Ledger
from platform_assets.references import (
    CardVersion,
    DatasetVersion,
    FeaturesVersion,
    ModelVersion,
    Reference,
    RegisteredVersion,
    ReportVersion,
)
from tests.ledger.conftest import NOON, Clock, clock, ledger, location, on_both_stores, tamper

__all__ = ["NOON", "Clock", "clock", "ledger", "location", "on_both_stores", "tamper"]
MODEL = "reviews_sentiment_model@3f2a91c04b7e5d68"


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
