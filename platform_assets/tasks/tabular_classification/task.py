"""The task: two classes of rows of a table, by gradient-boosted trees or logistic regression."""

from pathlib import Path
from typing import Final

from platform_assets.tasks.tabular_classification.drafter import TabularDrafter
from platform_assets.tasks.tabular_classification.evaluator import TabularEvaluator
from platform_assets.tasks.tabular_classification.featurizer import TabularFeaturizer
from platform_assets.tasks.tabular_classification.ingestion import TabularIngestion
from platform_assets.tasks.tabular_classification.scorer import example_instance, read_instance
from platform_assets.tasks.tabular_classification.spec import TabularTrainingSpec
from platform_assets.tasks.tabular_classification.trainer import TabularTrainer
from platform_assets.tasks.task import Task

TASK: Final[Task[TabularTrainingSpec]] = Task(
    name="tabular-classification",
    spec=TabularTrainingSpec,
    ingestion=TabularIngestion(),
    featurizer=TabularFeaturizer(),
    trainer=TabularTrainer(),
    evaluator=TabularEvaluator(),
    model_format="platform-tabular",
    drafter=TabularDrafter(),
    read_instance=read_instance,
    example_instance=example_instance,
    card_sections=Path(__file__).with_name("card-sections.yaml"),
)
