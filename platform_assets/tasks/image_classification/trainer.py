"""Training a ResNet on images, and loading what came of it."""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import JsonValue

from platform_assets.fingerprint import code_version
from platform_assets.models.checkpoints import Checkpoints
from platform_assets.models.scorer import THRESHOLD
from platform_assets.models.trainer import EpochCallback, ProgressCallback, TrainingResult
from platform_assets.models.training import train
from platform_assets.tasks.image_classification.model_spec import (
    ImageFormSpec,
    ResNetModelSpec,
    ResNetParameters,
)
from platform_assets.tasks.image_classification.recipe import (
    ImageTrainingConfig,
    ResNetRecipe,
    class_weights,
    threads_of,
    training_rows,
)
from platform_assets.tasks.image_classification.scorer import ImageScorer
from platform_assets.tasks.pretrained import model_identity, model_location

if TYPE_CHECKING:
    import pyarrow as pa


class ImageTrainer:
    """A ResNet with a head of two classes."""

    description: Final = "A trained ResNet; equal configuration and data give equal weights on a CPU."
    kinds: Final = ("pytorch",)
    fields: Final = tuple(ResNetParameters.model_fields)
    config_type: Final = ImageTrainingConfig

    @cached_property
    def code(self) -> str:
        """See `Trainer.code`."""
        return code_version(
            "image model",
            *(
                f"platform_assets.models.{name}"
                for name in ("training", "batches", "process_group", "hardware")
            ),
            *(
                f"platform_assets.tasks.image_classification.{name}"
                for name in ("trainer", "recipe", "network", "augmentation")
            ),
        )

    def upstream(self, spec: ResNetModelSpec, recipe: Mapping[str, JsonValue]) -> Mapping[str, str]:  # noqa: ARG002
        """See `Trainer.upstream`."""
        return {} if spec.model_name is None else {"network": model_identity(model_location(spec.model_name))}

    def config(self, spec: ResNetModelSpec, recipe: Mapping[str, JsonValue]) -> ImageTrainingConfig:  # noqa: ARG002
        """See `Trainer.config`."""
        return ImageTrainingConfig(
            **spec.model_dump(include=set(self.fields)),
            model_location=None if spec.model_name is None else model_location(spec.model_name),
            threads=threads_of(spec.widths) if spec.model_name is None else None,
            gpu=spec.resources.gpu,
            mixed_precision=spec.resources.mixed_precision,
        )

    def fit(
        self,
        rows: "pa.Table",
        config: ImageTrainingConfig,
        *,
        output: Path,
        checkpoints: Checkpoints,
        checkpoint_interval_seconds: float = 20.0,
        on_progress: ProgressCallback | None = None,
    ) -> TrainingResult:
        """See `Trainer.fit`; reads columns pixels, label and split."""
        return self.fit_showing(
            rows,
            config,
            output=output,
            checkpoints=checkpoints,
            checkpoint_interval_seconds=checkpoint_interval_seconds,
            on_progress=on_progress,
            on_epoch=None,
        )

    def fit_showing(
        self,
        rows: "pa.Table",
        config: ImageTrainingConfig,
        *,
        output: Path,
        checkpoints: Checkpoints,
        checkpoint_interval_seconds: float,
        on_progress: ProgressCallback | None,
        on_epoch: EpochCallback | None,
    ) -> TrainingResult:
        """See `ShowsEpochs.fit_showing`."""
        chosen = training_rows(rows)
        weights = class_weights([label for _, label in chosen], config.class_balance)
        return train(
            ResNetRecipe(config, weights),
            chosen,
            config,
            output=output,
            checkpoints=checkpoints,
            checkpoint_interval_seconds=checkpoint_interval_seconds,
            on_progress=on_progress,
            on_epoch=on_epoch,
        )

    def complete(self, output: Path, recipe: Mapping[str, JsonValue], state: Mapping[str, bytes]) -> None:  # noqa: ARG002
        """See `Trainer.complete`: the form of the images goes beside the weights."""
        from platform_assets.tasks.image_classification.network import IMAGE_FILE

        form = ImageFormSpec.model_validate(dict(recipe))
        kept = json.loads((output / IMAGE_FILE).read_bytes())
        kept |= {"form": form.model_dump(mode="json"), "threshold": THRESHOLD}
        (output / IMAGE_FILE).write_text(json.dumps(kept), encoding="utf-8")

    def load(self, folder: Path, *, gpu: int = 0, mixed_precision: bool = False) -> ImageScorer:
        """See `Trainer.load`."""
        return ImageScorer.load(folder, gpu=gpu, mixed_precision=mixed_precision)
