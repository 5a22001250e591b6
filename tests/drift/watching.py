"""Builders for tests of a watch: a reference, streams that follow it or not, releases that carry it."""

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np

from platform_assets.drift.event import PredictionEvent, milliseconds, moment
from platform_assets.drift.spec import DriftSpec
from platform_assets.governance import release as releases
from platform_assets.governance import verdict
from platform_assets.governance.verdict import Requirement, ResolvedRequirement, Verdict
from platform_assets.references import (
    CardVersion,
    DatasetVersion,
    FeaturesVersion,
    ModelVersion,
    RegisteredVersion,
    ReportVersion,
)
from platform_assets.sketch.sketch import ReferenceProfile
from tests.governance.conftest import example

LINE, ENV = "reviews_sentiment", "dev"
SALT = b"of all tests of a watch"
START_MS = milliseconds(datetime(2026, 11, 22, 12, tzinfo=UTC))
EVENT_MS = 5
WINDOW = 50
POLICY = DriftSpec(
    columns=("score", "words"), window_events=WINDOW, expected_run_length=100_000, cool_down_seconds=0.0
)


def make_profile() -> ReferenceProfile:
    """What the answers look like while nothing drifts."""
    rng = np.random.default_rng(0)
    scores = rng.beta(2, 2, size=2000)
    return ReferenceProfile.of(
        {
            "score": scores,
            "words": rng.lognormal(3, 0.5, size=2000),
            "source": np.array(["imdb", "rotten_tomatoes"] * 1000),
            "error": np.abs((rng.random(2000) < scores) - scores),
        },
        bins=64,
    )


class Stream:
    """Events with ids of their own, one every 5 ms."""

    def __init__(self, *, seed: int = 1, start_ms: int = START_MS, version: int = 1) -> None:
        self._rng = np.random.default_rng(seed)
        self._name = f"{seed}-{start_ms}"
        self._count = 0
        self.now_ms = start_ms
        self.version = version

    def events(
        self, count: int, *, drifted: bool = False, labelled: bool = False, wrong: bool = False
    ) -> list[PredictionEvent]:
        """The next ones; where they have drifted, texts are twice as long; where wrong, labels are turned round."""
        return [self._event(2.0 if drifted else 1.0, labelled, wrong) for _ in range(count)]

    def _event(self, factor: float, labelled: bool, wrong: bool) -> PredictionEvent:  # noqa: FBT001
        self._count += 1
        self.now_ms += EVENT_MS
        score = float(self._rng.beta(2, 2))
        return PredictionEvent(
            event_id=f"{self._name}-{self._count}",
            event_time=moment(self.now_ms),
            line=LINE,
            model_version=self.version,
            columns={"words": factor * float(self._rng.lognormal(3, 0.5)), "source": "imdb"},
            score=score,
            label=int((self._rng.random() < score) != wrong) if labelled else None,
        )


def in_batches(events: list[PredictionEvent], size: int = 4) -> Iterator[list[PredictionEvent]]:
    """The events, a few at a time."""
    return (events[start : start + size] for start in range(0, len(events), size))


def release_version(
    ledger, store, version: int, profile: ReferenceProfile | None, **deployment: object
) -> releases.Release:
    """A release of a model version, with its profile in the store, made the active one."""
    key = None
    if profile is not None:
        key = f"reports/{ENV}/{LINE}/{version}/profile.bin"
        store.put(key, profile.to_bytes(), gdpr_class="internal", retention_days=9, source_commit="0c0ffee")
    model = example(
        ModelVersion,
        fingerprint=f"model-{version}",
        features=example(FeaturesVersion, dataset=example(DatasetVersion, line=LINE)),
    )
    report = example(ReportVersion, model=model, profile_key=key)
    registered = example(RegisteredVersion, report=report, number=version)
    subject = f"{LINE}_model@{model.version}"
    passed = verdict.record(
        ledger,
        Verdict(
            subject=subject,
            rule_set="gate.auc",
            rule_set_hash="rules-1",
            outcome="pass",
            evidence={},
            producer={"code_commit": "0c0ffee"},
        ),
        evaluation_id="run-1",
    )
    release = releases.Release(
        line=LINE,
        card=example(CardVersion, registered=registered),
        deployment=deployment,
        verdicts=(passed.hash,),
    )
    releases.record(ledger, release)
    requirement = Requirement(subject_kind="model", rule_set="gate.auc")
    releases.activate(
        ledger,
        LINE,
        release.release_id,
        reason="test",
        requirements=[ResolvedRequirement(requirement, subject=subject, rule_set_hash="rules-1")],
        now=datetime.now(UTC),
    )
    return release
