"""Classifiers of texts keep what every task promises."""

import random

import pandas as pd
import pytest

from platform_assets.tasks.registry import find_task, read_training_spec
from tests.line_factory import write_spec
from tests.tasks.contract import (
    Case,
    EvaluatorContract,
    FeaturizerContract,
    IngestionContract,
    TaskContract,
    TrainerContract,
)

WORDS = {0: ("awful", "dull", "stupid"), 1: ("great", "moving", "wonderful")}


def write_texts(path, numbers):
    """Two texts of each number, one of each label; which words they have follows from the number."""
    rows = []
    for number in numbers:
        chance = random.Random(number)
        for label, opinions in WORDS.items():
            filler = " ".join(chance.choices(("the", "film", "was", "plot", "and"), k=chance.randint(1, 12)))
            rows.append((f"{filler} {chance.choice(opinions)} {number}", label))
    pd.DataFrame(rows, columns=["text", "label"]).to_parquet(path)
    return str(path)


class Texts(Case):
    """Short texts whose opinion stands in one word, and the real encoder."""

    @pytest.fixture(scope="class")
    @classmethod
    def task(cls):
        """The task."""
        return find_task("text-classification")

    @pytest.fixture(scope="class")
    @classmethod
    def make_spec(cls, encoder, tmp_path_factory):
        """The small line, smaller."""
        folder = tmp_path_factory.mktemp("spec")
        given = {
            "model_name": encoder,
            "max_length": 16,
            "train_rows": 64,
            "batch_size": 8,
            "head_learning_rate": 1e-2,
            "split": {"test": 0.2, "validation": 0.2, "block_rows": 10, "guard_rows": 2},
            "resources": {"mixed_precision": False},
        }
        return lambda *uris, **changes: (
            read_training_spec(write_spec(folder, train_data_uri=list(uris), **given | changes))[1].content
        )

    @pytest.fixture(scope="class")
    @classmethod
    def sources(cls, tmp_path_factory):
        """Two files that share texts."""
        folder = tmp_path_factory.mktemp("texts")
        return (
            write_texts(folder / "few.parquet", range(100)),
            write_texts(folder / "more.parquet", range(90, 190)),
        )

    @pytest.fixture(scope="class")
    @classmethod
    def instances_of(cls):
        """The texts."""
        return lambda rows: rows["text"].to_pylist()


class TestIngestion(Texts, IngestionContract):
    """Texts as rows."""


class TestFeaturizer(Texts, FeaturizerContract):
    """Token ids."""


class TestTrainer(Texts, TrainerContract):
    """A fine-tuned encoder."""


class TestEvaluator(Texts, EvaluatorContract):
    """Beside a baseline of words."""


class TestTask(Texts, TaskContract):
    """The folder that ships."""
