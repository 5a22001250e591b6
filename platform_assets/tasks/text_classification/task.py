"""The task: two classes of texts, by a fine-tuned encoder."""

from typing import Final

from platform_assets.tasks.task import Task
from platform_assets.tasks.text_classification.drafter import TextDrafter
from platform_assets.tasks.text_classification.evaluator import TextEvaluator
from platform_assets.tasks.text_classification.featurizer import TextFeaturizer
from platform_assets.tasks.text_classification.ingestion import TextIngestion
from platform_assets.tasks.text_classification.spec import TextTrainingSpec
from platform_assets.tasks.text_classification.trainer import TextTrainer

TASK: Final[Task[TextTrainingSpec]] = Task(
    name="text-classification",
    spec=TextTrainingSpec,
    ingestion=TextIngestion(),
    featurizer=TextFeaturizer(),
    trainer=TextTrainer(),
    evaluator=TextEvaluator(),
    model_format="huggingface",
    read_instance=str,
    example_instance=lambda *_: "A wonderful film.",
    drafter=TextDrafter(),
)
