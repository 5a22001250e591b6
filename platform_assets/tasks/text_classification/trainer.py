"""Fine-tuning a text encoder, and loading what came of it."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import JsonValue

from platform_assets.fingerprint import code_version
from platform_assets.models.checkpoints import Checkpoints
from platform_assets.models.trainer import EpochCallback, ProgressCallback, TrainingResult
from platform_assets.models.training import train
from platform_assets.tasks.pretrained import model_identity, model_location
from platform_assets.tasks.text_classification.recipe import EncoderRecipe, TextTrainingConfig, training_rows
from platform_assets.tasks.text_classification.scorer import TextScorer
from platform_assets.tasks.text_classification.spec import EncoderParameters, TextTrainingSpec, TokensSpec
from platform_assets.tasks.text_classification.tokens import (
    TextTokenizer,
    load_tokenizer,
    save_tokenizer,
)

if TYPE_CHECKING:
    import pyarrow as pa


class TextTrainer:
    """An encoder with a head of two classes."""

    description: Final = "Fine-tuned weights; equal configuration and data give equal weights on a CPU."
    kinds: Final = ("pytorch",)
    fields: Final = tuple(EncoderParameters.model_fields)
    config_type: Final = TextTrainingConfig

    @cached_property
    def code(self) -> str:
        """See `Trainer.code`."""
        return code_version(
            "text model",
            *(
                f"platform_assets.models.{name}"
                for name in ("training", "batches", "process_group", "hardware")
            ),
            *(
                f"platform_assets.tasks.text_classification.{name}"
                for name in ("trainer", "recipe", "classifier", "tokens")
            ),
        )

    def upstream(self, spec: TextTrainingSpec, recipe: Mapping[str, JsonValue]) -> Mapping[str, str]:  # noqa: ARG002 - the recipe says it
        """See `Trainer.upstream`."""
        return {"encoder": model_identity(model_location(_tokens(recipe).model_name))}

    def config(self, spec: TextTrainingSpec, recipe: Mapping[str, JsonValue]) -> TextTrainingConfig:
        """See `Trainer.config`."""
        return TextTrainingConfig(
            **spec.model_dump(include=set(self.fields)),
            model_location=model_location(_tokens(recipe).model_name),
            gpu=spec.resources.gpu,
            mixed_precision=spec.resources.mixed_precision,
            pad_id=_tokenizer(recipe).pad_id,
        )

    def fit(
        self,
        rows: "pa.Table",
        config: TextTrainingConfig,
        *,
        output: Path,
        checkpoints: Checkpoints,
        checkpoint_interval_seconds: float = 20.0,
        on_progress: ProgressCallback | None = None,
    ) -> TrainingResult:
        """See `Trainer.fit`; reads columns token_ids, label and split."""
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
        config: TextTrainingConfig,
        *,
        output: Path,
        checkpoints: Checkpoints,
        checkpoint_interval_seconds: float,
        on_progress: ProgressCallback | None,
        on_epoch: EpochCallback | None,
    ) -> TrainingResult:
        """See `ShowsEpochs.fit_showing`."""
        return train(
            EncoderRecipe(config),
            training_rows(rows),
            config,
            output=output,
            checkpoints=checkpoints,
            checkpoint_interval_seconds=checkpoint_interval_seconds,
            on_progress=on_progress,
            on_epoch=on_epoch,
        )

    def complete(self, output: Path, recipe: Mapping[str, JsonValue], state: Mapping[str, bytes]) -> None:  # noqa: ARG002
        """See `Trainer.complete`: the tokenizer goes beside the weights."""
        save_tokenizer(_tokenizer(recipe), output)

    def load(self, folder: Path, *, gpu: int = 0, mixed_precision: bool = False) -> TextScorer:
        """See `Trainer.load`."""
        return TextScorer.load(folder, gpu=gpu, mixed_precision=mixed_precision)


def _tokens(recipe: Mapping[str, JsonValue]) -> TokensSpec:
    return TokensSpec.model_validate(dict(recipe))


def _tokenizer(recipe: Mapping[str, JsonValue]) -> TextTokenizer:
    """The tokenizer that made the features."""
    tokens = _tokens(recipe)
    return load_tokenizer(
        model_location(tokens.model_name), max_length=tokens.max_length, head_fraction=tokens.head_fraction
    )
