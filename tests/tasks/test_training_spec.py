"""Training specs: the two that ship, and what every other may not say."""

from pathlib import Path

import pytest
import yaml

import platform_assets.models
from platform_assets.manifest import ManifestError
from platform_assets.models.spec import ResourcesSpec
from platform_assets.tasks.registry import read_training_spec
from platform_assets.tasks.training_spec import TrainingSpec

SHIPPED = Path(platform_assets.models.__file__).parent / "reviews_sentiment"


@pytest.fixture
def complaint(tmp_path):
    """Reads the shipped spec with changed fields (a change to None takes the field out); returns the error's text."""

    def complaint(**changes: object) -> str:
        content = yaml.safe_load((SHIPPED / "training-spec.yaml").read_text(encoding="utf-8")) | changes
        path = tmp_path / "training-spec.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
        with pytest.raises(ManifestError) as caught:
            read_training_spec(path)
        return str(caught.value)

    return complaint


def test_every_spec_that_ships_or_tests_is_valid():
    """The shipped specs and the small one of the tests are read without a complaint."""
    specs = [
        *SHIPPED.glob("*training-spec.yaml"),
        Path(__file__).parent.parent / "fixtures/reviews_small/training-spec.yaml",
    ]
    lines = {path.name: read_training_spec(path)[1].content.line for path in specs[:-1]}
    assert lines == {
        "training-spec.yaml": "reviews_sentiment",
        "reference-training-spec.yaml": "ai_native_text_classifier",
    }
    assert read_training_spec(specs[-1])[1].content.line == "reviews_small"


def test_the_reference_spec_has_the_references_defaults():
    """DistilBERT, three epochs, batches of 16, one GPU, mixed precision, files in a bucket, an AUC over 0.92."""
    spec = read_training_spec(SHIPPED / "reference-training-spec.yaml")[1].content
    assert spec.model_name == "distilbert-base-uncased"
    assert (spec.epochs, spec.batch_size) == (3, 16)
    assert (spec.resources.gpu, spec.resources.mixed_precision) == (1, True)
    assert spec.train_data_uri == ("gs://my-bucket/datasets/train.parquet",)
    assert spec.val_data_uri == "gs://my-bucket/datasets/val.parquet"
    assert spec.gates["auc"] == "> 0.92"
    assert (spec.deployment.min_replicas, spec.deployment.max_replicas) == (1, 10)


def test_the_references_medical_line_has_its_network():
    """ResNet-50, pretrained, on a GPU in mixed precision, and every gate of it demanded."""
    spec = read_training_spec(SHIPPED.parent / "chest_xray_detector" / "reference-training-spec.yaml")[
        1
    ].content
    assert spec.model_name == "microsoft/resnet-50"
    assert (spec.resources.gpu, spec.resources.mixed_precision) == (1, True)
    demanded = {requirement.rule_set for requirement in spec.requires.deploy}
    assert demanded >= {f"gate.{gate}" for gate in spec.gates}
    assert {"contract.dicom_identity", "contract.dicom_image", "contract.dicom_acquisition"} <= demanded


def test_the_default_spec_gates_and_demands_every_gate():
    """What is gated is demanded before a deployment, with the contract's four domains, not too old."""
    spec = read_training_spec(SHIPPED / "training-spec.yaml")[1].content
    demanded = {requirement.rule_set for requirement in spec.requires.deploy}
    assert demanded >= {f"gate.{gate}" for gate in spec.gates}
    assert demanded >= {
        f"contract.{domain}" for domain in ("core_text", "label_quality", "volume", "privacy")
    }
    assert all(requirement.max_age_days == 90 for requirement in spec.requires.deploy)
    assert "beats_baseline" in spec.gates


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"epoch": 3}, "epoch: is not a known key"),
        ({"batch_size": "16"}, "batch_size: Input should be a valid integer (found '16')"),
        ({"batch_size": 0}, "batch_size: "),
        ({"epochs": 1.5}, "epochs: "),
        ({"learning_rate": 2}, "learning_rate: Input should be less than 1"),
        ({"clip_norm": float("inf")}, "clip_norm: "),
        ({"seed": 2**70}, "seed: "),
        ({"max_length": 4}, "max_length: "),
        ({"head_fraction": 1.1}, "head_fraction: "),
        ({"line": "Reviews"}, "line: "),
        ({"line": "reviews-sentiment"}, "line: "),
        ({"line": None}, "line: is missing"),
        ({"train_data_uri": []}, "train_data_uri: "),
        ({"train_data_uri": ""}, "train_data_uri"),
        ({"train_rows": 3}, "train_rows: "),
        ({"split": {"test": 0.6, "validation": 0.31}}, "split: test + validation must stay below 0.9"),
        ({"split": {"block_rows": 30, "guard_rows": 30}}, "split: guard_rows must be fewer than block_rows"),
        ({"split": {"tset": 0.1}}, "split.tset: is not a known key"),
        ({"resources": {"gpu": -1}}, "resources.gpu: "),
        ({"resources": {"gpu": True}}, "resources.gpu: "),
        ({"resources": {"mixed_precision": "yes"}}, "resources.mixed_precision: "),
        ({"resources": {"memory": "8GB"}}, "resources.memory: "),
        ({"gates": {}}, "gates: "),
        ({"gates": {"auc": 0.92}}, "gates.auc"),
        ({"requires": {}}, "requires.deploy: is missing"),
        ({"requires": {"deploy": []}}, "requires.deploy: "),
        (
            {"requires": {"deploy": [{"subject": "modle", "rule_set": "gate.auc"}]}},
            "requires.deploy.0.subject: ",
        ),
        (
            {"requires": {"deploy": [{"subject": "model", "rule_set": "gate.auc", "max_age_days": "30"}]}},
            "requires.deploy.0.max_age_days: ",
        ),
        (
            {"requires": {"deploy": [{"subject": "model", "rule_set": "gate.auc", "max_age": 30}]}},
            "requires.deploy.0.max_age: is not a known key",
        ),
        ({"deployment": {"min_replicas": 4, "max_replicas": 2}}, "deployment: min_replicas must not exceed"),
        ({"card": {"owner": "", "intended_use": "a", "limitations": "b"}}, "card.owner: "),
        ({"card": None}, "card: is missing"),
    ],
)
def test_what_a_spec_may_not_say(complaint, changes, expected):
    """A misspelt key, a wrong type or a value out of range names its field, and only that."""
    first = complaint(**changes).splitlines()[0]
    assert f": {expected}" in first


def test_two_mistakes_are_two_lines(complaint):
    """Mistakes in different sections are told together."""
    text = complaint(epochs="3", resources={"gpus": 1})
    assert "epochs: " in text
    assert "resources.gpus: is not a known key" in text
    assert len(text.splitlines()) == 2


def test_numbers_of_the_spec_have_a_canonical_form():
    """A spec's fields enter fingerprints: every default is finite JSON."""
    from platform_assets.fingerprint import canonical_sha256

    spec = read_training_spec(SHIPPED / "training-spec.yaml")[1].content
    assert len(canonical_sha256(spec.model_dump(mode="json"))) == 64
    assert ResourcesSpec() == TrainingSpec.model_fields["resources"].default
