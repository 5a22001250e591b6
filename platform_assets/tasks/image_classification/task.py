"""The task: X-rays with a finding and without, by a ResNet."""

from pathlib import Path
from typing import Final

from platform_assets.tasks.image_classification.featurizer import ImageFeaturizer
from platform_assets.tasks.image_classification.ingestion import ImageIngestion
from platform_assets.tasks.image_classification.instances import EXAMPLE, read_instance
from platform_assets.tasks.image_classification.showing import ShowingImageEvaluator
from platform_assets.tasks.image_classification.spec import ImageTrainingSpec
from platform_assets.tasks.image_classification.trainer import ImageTrainer
from platform_assets.tasks.task import Task

TASK: Final[Task[ImageTrainingSpec]] = Task(
    name="image-classification",
    spec=ImageTrainingSpec,
    ingestion=ImageIngestion(),
    featurizer=ImageFeaturizer(),
    trainer=ImageTrainer(),
    evaluator=ShowingImageEvaluator(),
    model_format="platform-image",
    read_instance=read_instance,
    example_instance=lambda *_: EXAMPLE,
    card_sections=Path(__file__).with_name("card-sections.yaml"),
)
