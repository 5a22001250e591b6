"""Models of tables keep what every task promises."""

from typing import Any, ClassVar

import pytest

from platform_assets.tasks.registry import find_task
from tests.tasks.contract import (
    Case,
    EvaluatorContract,
    FeaturizerContract,
    IngestionContract,
    TaskContract,
    TrainerContract,
)
from tests.tasks.tabular_classification.tables import make_spec, people, written


class Tables(Case):
    """People, some in both sources, with gaps in two columns; small trees."""

    given: ClassVar[dict[str, Any]] = {
        "max_iterations": 20,
        "monotonic": {"Income": "decreasing"},
        "threshold": 0.3,
        "fairness": {"favourable": 0, "min_rows": 50, "groups": {"home": {"column": "Home"}}},
    }

    @pytest.fixture(scope="class")
    @classmethod
    def task(cls):
        """The task."""
        return find_task("tabular-classification")

    @pytest.fixture(scope="class")
    @classmethod
    def make_spec(cls):
        """A spec of these sources."""
        return lambda *uris, **changes: make_spec(train_data_uri=uris, **cls.given | changes)

    @pytest.fixture(scope="class")
    @classmethod
    def sources(cls, tmp_path_factory):
        """Two files; thirty people of the first are in the second, with other values."""
        folder = tmp_path_factory.mktemp("loans")
        return (
            written(folder, people(300), "few.parquet"),
            written(folder, people(300, seed=1, first=270), "more.parquet"),
        )

    @pytest.fixture(scope="class")
    @classmethod
    def instances_of(cls):
        """Objects of what is there of each row."""
        fields = ("Income", "Home", "Grade")
        return lambda rows: [
            {name: row[name] for name in fields if row[name] is not None} for row in rows.to_pylist()
        ]

    @pytest.fixture(scope="class")
    @classmethod
    def wrong_instances(cls):
        """An empty object is one of which everything is missing."""
        return [None, [], "rent", {"there is no such field": 1}, {"Income": "much"}]


class TestIngestion(Tables, IngestionContract):
    """Split by key."""


class TestFeaturizer(Tables, FeaturizerContract):
    """One number a column."""


class TestTrees(Tables, TrainerContract):
    """Gradient boosting."""


class TestLogistic(Tables, TrainerContract):
    """Logistic regression."""

    given: ClassVar[dict[str, Any]] = {"model": "logistic"}


class TestEvaluator(Tables, EvaluatorContract):
    """A scorecard, and fairness between homes."""


class TestTask(Tables, TaskContract):
    """The four as one."""
