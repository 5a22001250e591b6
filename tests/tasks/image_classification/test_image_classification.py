"""Classifiers of X-rays keep what every task promises."""

import base64
import hashlib
from pathlib import Path

import pytest
import yaml

from platform_assets.lines.line import SPEC_FILE, SPECS_FOLDER
from platform_assets.tasks.registry import find_task, read_training_spec
from tests.tasks.contract import (
    Case,
    EvaluatorContract,
    FeaturizerContract,
    IngestionContract,
    TaskContract,
    TrainerContract,
)
from tests.tasks.image_classification.xray_folders import xrays


class Images(Case):
    """Small chests; those with a finding have a bright square."""

    @pytest.fixture(scope="class")
    @classmethod
    def task(cls):
        """The task."""
        return find_task("image-classification")

    @pytest.fixture(scope="class")
    @classmethod
    def make_spec(cls, tmp_path_factory):
        """The line that ships, with a network of a few hundred weights."""
        file = tmp_path_factory.mktemp("spec") / "training-spec.yaml"
        shipped = yaml.safe_load((SPECS_FOLDER / "chest_xray_detector" / SPEC_FILE).read_text())
        given = {
            "split": {"test": 0.25, "validation": 0.2, "seed": 3},
            "image_size": 64,
            "widths": [4, 8],
            "depths": [1, 1],
            "embedding_size": 4,
            "epochs": 4,
            "batch_size": 8,
            "average_decay": 0.5,
            "slice_min_rows": 20,
            "resources": {"mixed_precision": False},
        }

        def make_spec(*uris, **changes):
            file.write_text(yaml.safe_dump(shipped | given | {"train_data_uri": list(uris)} | changes))
            return read_training_spec(file)[1].content

        return make_spec

    @pytest.fixture(scope="class")
    @classmethod
    def sources(cls, tmp_path_factory):
        """Two folders that share patients."""
        folder = tmp_path_factory.mktemp("xrays")
        return (
            str(xrays(folder / "few", patients=50, each=1, side=64)),
            str(xrays(folder / "more", patients=60, each=1, side=64, first=44)),
        )

    @pytest.fixture(scope="class")
    @classmethod
    def instances_of(cls, sources):
        """Their files."""
        files = {
            hashlib.sha256(content).hexdigest(): content
            for uri in sources
            for file in Path(uri).glob("*.dcm")
            if (content := file.read_bytes())
        }
        return lambda rows: [
            {"dicom": base64.b64encode(files[each]).decode()} for each in rows["image_id"].to_pylist()
        ]


class TestIngestion(Images, IngestionContract):
    """X-rays as rows."""


class TestFeaturizer(Images, FeaturizerContract):
    """Pixels as features."""


class TestTrainer(Images, TrainerContract):
    """A network."""


class TestEvaluator(Images, EvaluatorContract):
    """What it is judged by."""


class TestTask(Images, TaskContract):
    """The whole."""
