"""What fine-tuning a text encoder brings to the training loop.

What makes it fast where nothing else is: rows padded to the longest text of their batch, frozen embeddings, no dropout
inside the encoder for short runs.

Symbols: B rows in a batch, L tokens in the longest text of a batch.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from platform_assets.models.errors import TrainingError
from platform_assets.models.training import StepConfig
from platform_assets.tasks.pretrained import load_arguments
from platform_assets.tasks.text_classification.spec import EncoderParameters

if TYPE_CHECKING:
    import pyarrow as pa

Row = tuple[NDArray[np.int32], int]
"""Token ids and label."""
_PAD_MULTIPLE = 8
_LAYER_NUMBER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")
_WEIGHT_FILES = ("model.safetensors", "head.safetensors")
_ELSEWHERE = {"model_location", "threads", "gpu", "mixed_precision"}
"""What differs between machines and decides nothing."""


class TextTrainingConfig(StepConfig, EncoderParameters):
    """Hyper-parameters, the encoder to start from, and what the hardware is asked for."""

    model_location: str
    """A folder, or a Hugging Face id with its commit."""
    pad_id: int = 0


@dataclass(frozen=True, slots=True)
class EncoderRecipe:
    """An encoder with a head of two classes, fine-tuned on rows of token ids."""

    config: TextTrainingConfig

    def sizes(self, rows: Sequence[Row]) -> NDArray[np.int64]:
        """Tokens of each row."""
        return np.array([len(ids) for ids, _ in rows], dtype=np.int64)

    def build(self) -> Any:
        """The encoder with its head freshly initialised, embeddings frozen where asked for."""
        classifier = build_classifier(self.config.model_location, dropout=self.config.dropout)
        if self.config.freeze_embeddings:
            for name, parameter in classifier.encoder.named_parameters():
                if name.startswith("embeddings."):
                    parameter.requires_grad = False
        return classifier

    def parameter_groups(self, network: Any) -> list[dict[str, Any]]:
        """One group per learning rate and decay: lower layers learn more slowly, vectors are not decayed."""
        named = [
            (name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad
        ]
        numbers = {name: int(found.group(1)) for name, _ in named if (found := _LAYER_NUMBER.search(name))}
        top = max(numbers.values(), default=0)
        groups: dict[tuple[float, float], list[Any]] = {}
        for name, parameter in named:
            if not name.startswith("encoder."):
                rate = self.config.head_learning_rate
            elif name in numbers:
                rate = self.config.learning_rate * self.config.layer_decay ** (top - numbers[name])
            elif "embeddings" in name:
                rate = self.config.learning_rate * self.config.layer_decay ** (top + 1)
            else:
                rate = self.config.learning_rate
            decay = self.config.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
        return [
            {"params": members, "lr": rate, "weight_decay": decay}
            for (rate, decay), members in groups.items()
        ]

    def tensors(self, rows: Sequence[Row], device: Any) -> tuple[tuple[Any, ...], Any]:
        """Token ids and mask, and the labels."""
        ids, mask, labels = padded(rows, self.config.pad_id, device)
        return (ids, mask), labels

    def loss(self, outputs: Any, labels: Any) -> Any:
        """Cross entropy, summed over the rows."""
        import torch

        return torch.nn.functional.cross_entropy(outputs.float(), labels, reduction="sum")

    def identity(self, rows: Sequence[Row]) -> Iterator[bytes]:
        """Hyper-parameters, then lengths, labels and tokens of the rows."""
        yield self.config.model_dump_json(exclude=_ELSEWHERE).encode()
        yield np.array([(len(ids), label) for ids, label in rows], dtype=np.int64).tobytes()
        for ids, _ in rows:
            yield ids.tobytes()

    def save(self, network: Any, folder: Path) -> Sequence[str]:
        """config.json, model.safetensors and head.safetensors."""
        network.save(folder, pad_id=self.config.pad_id)
        return _WEIGHT_FILES


def training_rows(features: "pa.Table") -> list[Row]:
    """The rows of split `train`.

    Raises:
        TrainingError: there are none, or a label is outside {0, 1}.
    """
    import pyarrow.compute as pc

    chosen = features.filter(pc.equal(features["split"], "train"))
    labels = chosen["label"].to_numpy()
    if not len(labels):
        raise TrainingError("split 'train' has 0 rows; check train_rows and split in the spec")
    if not np.isin(labels, (0, 1)).all():
        raise TrainingError(
            f"{int((~np.isin(labels, (0, 1))).sum())} of {len(labels)} training rows have a label outside {{0, 1}}"
        )
    return list(zip(token_lists(chosen), labels.tolist(), strict=True))


def token_lists(tokens: "pa.Table") -> "list[NDArray[np.int32]]":
    """Column token_ids as one array per row, without a copy per token."""
    column = tokens["token_ids"].combine_chunks()
    values = column.flatten().to_numpy()
    lengths = column.value_lengths().to_numpy()
    return np.split(values, np.cumsum(lengths)[:-1]) if len(lengths) else []


def build_classifier(location: str, *, dropout: float) -> Any:
    """A `TextClassifier` on the encoder at `location`, its head freshly initialised.

    Raises:
        TrainingError: no encoder can be loaded from there.
    """
    from transformers import AutoConfig, AutoModel

    from platform_assets.tasks.text_classification.classifier import TextClassifier

    place, options = load_arguments(location)
    try:
        encoder_config = AutoConfig.from_pretrained(place, **options)
        # One short epoch gains nothing from noise inside the encoder, and drawing it costs a seventh of a step.
        for name in ("attention_probs_dropout_prob", "hidden_dropout_prob", "attention_dropout", "dropout"):
            if hasattr(encoder_config, name):
                setattr(encoder_config, name, 0.0)
        encoder = AutoModel.from_pretrained(place, config=encoder_config, **options)
    except (OSError, ValueError) as problem:
        reason = " ".join(str(problem).split())[:300]
        raise TrainingError(
            f"model_name {location}: no encoder can be loaded ({reason}); name a folder or a Hugging Face id"
        ) from problem
    return TextClassifier(encoder, dropout=dropout)


def padded(rows: Sequence[Row], pad_id: int, device: Any) -> tuple[Any, Any, Any]:
    """Token ids (B, L), mask (B, L) and labels (B,), L rounded up to a multiple of 8."""
    import torch

    longest = max((len(ids) for ids, _ in rows), default=1)
    width = -(-longest // _PAD_MULTIPLE) * _PAD_MULTIPLE
    ids = np.full((len(rows), width), pad_id, dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.int64)
    for at, (tokens, _) in enumerate(rows):
        ids[at, : len(tokens)] = tokens
        mask[at, : len(tokens)] = 1
    labels = np.array([label for _, label in rows], dtype=np.int64)
    return tuple(torch.from_numpy(array).to(device) for array in (ids, mask, labels))
