"""A line that asks for a review, with a version in staging that was judged without training anything."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from platform_assets.datasets.snapshots import content_hash
from platform_assets.governance import release as releases
from platform_assets.governance import verdict as verdicts
from platform_assets.governance.release import Release
from platform_assets.governance.subject_columns import as_object
from platform_assets.governance.verdict import Verdict
from platform_assets.lines.line import Line, load_line
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import (
    CardVersion,
    DatasetVersion,
    FeaturesVersion,
    ModelVersion,
    RegisteredVersion,
    ReportVersion,
    TableSnapshot,
)
from platform_assets.validation.metrics import Slice, binary_metrics
from platform_assets.validation.report import ValidationReport
from resources.object_store import GdprClass, LocalObjectStore
from resources.settings import PlatformSettings
from tests.governance.conftest import example
from tests.line_factory import write_spec

LINE = "reviews_small"
LIMITS = "Trained on <b>320</b> sentences."


def reviewed_line(folder: Path, **rule: Any) -> Line:
    """The small line, which asks for a radiologist's review."""
    requires = {
        "deploy": [{"subject": "model", "rule_set": "gate.auc"}],
        "promote": [{"review": {"role": "radiologist"} | rule}],
    }
    return load_line(write_spec(folder, requires=requires, gates={"auc": "> 0.5"}))


class StagedVersion:
    """Version 12 of the line, in staging: 40 test rows of as many people, of which label and score are known."""

    def __init__(self, settings: PlatformSettings, line: Line, *, gdpr_class: GdprClass = "personal") -> None:
        self.outside, self.line = OutsideSystems(settings), line
        self._store = LocalObjectStore(settings.objects_path)
        random = np.random.default_rng(5)
        labels, scores = np.arange(40) % 2, random.random(40).round(3)
        people = [f"{at:02d}" * 32 for at in range(40)]
        self.missed = [
            who for who, label, score in zip(people, labels, scores, strict=True) if label and score < 0.5
        ]
        self.scored = pa.table(
            {
                "review_id": people,
                "label": labels,
                "source": ["own"] * 40,
                "split": ["test"] * 40,
                "words": np.arange(40, dtype=np.float64),
                "view": ["<i>AP</i>", "PA"] * 20,
                "score": scores,
                "baseline_score": scores,
            }
        )
        snapshot = self._features(gdpr_class)
        dataset = example(
            DatasetVersion,
            line=LINE,
            snapshot=snapshot,
            published_at="2026-11-22T15:01:00Z",
            gdpr_class=gdpr_class,
        )
        self.model = example(
            ModelVersion,
            fingerprint="f" * 64,
            features=example(FeaturesVersion, dataset=dataset, snapshot=snapshot),
            training={"threshold": 0.5},
            object_prefix=self._put(f"models/dev/{LINE}/1/model.bin", b"weights", "internal").rpartition("/")[
                0
            ],
            source_commit="c0ffee",
            source_author="Ada <ada@example.org>",
            started_by="ada",
        )
        registered = RegisteredVersion(report=self._report(labels, scores, gdpr_class), name=LINE, number=12)
        card = json.dumps({"intended_use": "A demonstration.", "limitations": LIMITS}).encode()
        self.release = Release(
            line=LINE,
            card=CardVersion(
                registered=registered,
                json_ld_key=self._put(f"cards/dev/{LINE}/12/card-1.jsonld", card, "public"),
                html_key="",
                card_sha256=hashlib.sha256(card).hexdigest(),
            ),
            deployment={},
            verdicts=(self.judge().hash,),
        )
        releases.record(self.outside.ledger, self.release)
        release_id = self.release.release_id
        self.outside.ledger.append("staging", LINE, fingerprint=release_id, body={"release_id": release_id})

    def judge(self, outcome: str = "pass") -> Any:
        """The verdict of the line's gate."""
        gate = Verdict(
            subject=f"{LINE}_model@{self.model.fingerprint}",
            rule_set="gate.auc",
            rule_set_hash=self.line.rule_set_hashes["gate.auc"],
            outcome=outcome,
            evidence={"observed": 0.61, "demanded": "> 0.5"},
            producer={},
        )
        return verdicts.record(self.outside.ledger, gate, evaluation_id="run-1")

    def _features(self, gdpr_class: GdprClass) -> TableSnapshot:
        rows = self.scored.select(["review_id", "label", "source", "split", "words"])
        warehouse = self.outside.warehouse
        staged = warehouse.stage(
            "features.x",
            rows,
            content_hash=content_hash(rows),
            gdpr_class=gdpr_class,
            retention_days=30,
            source_commit="c0ffee",
            subject_column="review_id",
            subject_namespace="review",
        )
        return TableSnapshot.of(warehouse.publish(staged))

    def _report(self, labels: Sequence[int], scores: Sequence[float], gdpr_class: GdprClass) -> ReportVersion:
        metrics = binary_metrics(labels, scores, seed=1)
        report = ValidationReport(
            line=LINE,
            model_fingerprint=self.model.fingerprint,
            dataset_version="d",
            features_version="f",
            rows={"test": 40},
            measured_sources=("own",),
            metrics=metrics,
            slices=(
                Slice(name="own (test)", n=40, metrics=metrics, not_measured_because=None),
                Slice(name="other (test)", n=3, metrics=None, not_measured_because="3 rows, 50 are needed"),
            ),
            other_sources=(),
            baselines=(),
            drift=(),
            gates=(),
            measures={"views": [{"slice": "view: AP", "not_judged_because": "20 rows, 50 are needed"}]},
            created_at=datetime(2026, 11, 22, tzinfo=UTC).isoformat(),
        )
        content, folder = report.model_dump_json().encode(), f"reports/dev/{LINE}/1"
        scored = as_object(self.scored, namespace="review", column="review_id")
        return example(
            ReportVersion,
            model=self.model,
            report_key=self._put(f"{folder}/report-1.json", content, "internal"),
            report_sha256=hashlib.sha256(content).hexdigest(),
            scores_key=self._put(f"{folder}/scores-1.parquet", scored, gdpr_class),
        )

    def _put(self, key: str, content: bytes, gdpr_class: GdprClass) -> str:
        self._store.put(key, content, gdpr_class=gdpr_class, retention_days=30, source_commit="c0ffee")
        return key
