"""What a training spec says about a line of texts."""

from typing import Annotated

from pydantic import Field

from platform_assets.datasets.spec import BlockSplitSpec, DatasetSpec
from platform_assets.drift.spec import DriftSpec
from platform_assets.manifest import Many, Section
from platform_assets.models.hyper_parameters import HyperParameters
from platform_assets.tasks.training_spec import TrainingSpec


class TextDatasetSpec(DatasetSpec):
    """Labelled texts: columns `text` and `label`, and `source` where a row says where it comes from."""

    split: BlockSplitSpec = BlockSplitSpec()
    """Whole blocks of neighbours: reviews of one film lie side by side; IMDB has at most 30 of one."""


class TokensSpec(Section):
    """The tokenizer, and how texts that are too long are cut."""

    model_name: Annotated[str, Field(min_length=1)]
    """A Hugging Face id, with `@<revision>` where it is not to be `main`; a folder; or `package://<package>/<folder>`."""
    max_length: Annotated[int, Field(ge=8, le=4096)] = 256
    """Tokens, special ones included."""
    head_fraction: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Share of a truncated text kept from its beginning; the rest is kept from its end."""


class EncoderParameters(HyperParameters):
    """How an encoder is fine-tuned; its last layer at `learning_rate`."""

    head_learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Of the classifier on top of the encoder."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Each encoder layer below the last learns this much slower than the one above it."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the values that are left out at random in training."""
    freeze_embeddings: bool = True
    """Whether the encoder's embeddings stay as they are."""


class TextDriftSpec(DriftSpec):
    """Drift of answers to texts."""

    columns: Annotated[Many[str], Field(min_length=1)] = ("score", "words")
    """Columns of prediction events that may raise an alarm; each must be in the reference profile."""


class TextTrainingSpec(TrainingSpec, TextDatasetSpec, TokensSpec, EncoderParameters):
    """A line that sorts texts into two classes."""

    drift: TextDriftSpec = TextDriftSpec()
