"""The toy keeps what every task promises."""

import pytest

from tests.tasks.contract import (
    Case,
    EvaluatorContract,
    FeaturizerContract,
    IngestionContract,
    TaskContract,
    TrainerContract,
)
from tests.tasks.toys import toy_task, write_line, write_numbers


class Toys(Case):
    """Numbers up to a thousand, and others that overlap with them."""

    @pytest.fixture(scope="class")
    @classmethod
    def task(cls):
        """The toy, for as long as its tests run."""
        with toy_task() as task:
            yield task

    @pytest.fixture(scope="class")
    @classmethod
    def make_spec(cls, task, tmp_path_factory):
        """Through the file, as every spec comes."""
        from platform_assets.tasks.registry import read_training_spec

        folder = tmp_path_factory.mktemp("spec")
        return lambda *uris, **changes: (
            read_training_spec(write_line(folder, train_data_uri=list(uris), **changes))[1].content
        )

    @pytest.fixture(scope="class")
    @classmethod
    def sources(cls, tmp_path_factory):
        """Two files of numbers."""
        folder = tmp_path_factory.mktemp("numbers")
        return (
            str(write_numbers(folder / "few.csv", range(1000))),
            str(write_numbers(folder / "more.csv", range(900, 1500))),
        )

    @pytest.fixture(scope="class")
    @classmethod
    def instances_of(cls):
        """The numbers."""
        return lambda rows: rows["number"].to_pylist()


class TestIngestion(Toys, IngestionContract):
    """Numbers as rows."""


class TestFeaturizer(Toys, FeaturizerContract):
    """Remainders."""


class TestTrainer(Toys, TrainerContract):
    """Counted shares."""


class TestEvaluator(Toys, EvaluatorContract):
    """A coin to compare with."""


class TestTask(Toys, TaskContract):
    """A folder of the tests."""
