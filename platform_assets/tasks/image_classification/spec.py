"""What a training spec says about a line of X-rays."""

from typing import Annotated

from pydantic import Field

from platform_assets.drift.spec import DriftSpec
from platform_assets.manifest import Many
from platform_assets.tasks.image_classification.dataset_spec import ImageDatasetSpec
from platform_assets.tasks.image_classification.judging_spec import JudgedSpec
from platform_assets.tasks.image_classification.model_spec import ResNetModelSpec
from platform_assets.tasks.training_spec import TrainingSpec


class ImageDriftSpec(DriftSpec):
    """Drift of answers to X-rays."""

    columns: Annotated[Many[str], Field(min_length=1)] = ("score", "brightness", "contrast")
    """Columns of prediction events that may raise an alarm; each must be in the reference profile."""


class ImageTrainingSpec(TrainingSpec, ImageDatasetSpec, ResNetModelSpec, JudgedSpec):
    """A line that tells X-rays with a finding from those without."""

    drift: ImageDriftSpec = ImageDriftSpec()
