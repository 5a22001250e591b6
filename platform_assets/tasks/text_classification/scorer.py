"""A fine-tuned encoder with its tokenizer: texts in, probabilities out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import JsonValue

from platform_assets.models.errors import InstanceError
from platform_assets.models.hardware import Hardware, detect_hardware
from platform_assets.models.inference import score
from platform_assets.models.scorer import THRESHOLD, chosen_rows
from platform_assets.tasks.text_classification.recipe import padded, token_lists
from platform_assets.tasks.text_classification.tokens import TextTokenizer, tokenizer_of, word_count

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TextScorer:
    """The classifier in a folder, loaded once. An instance is a text, or an object with the key `text`."""

    model: Any
    tokenizer: TextTokenizer
    hardware: Hardware
    threshold: float = THRESHOLD

    @classmethod
    def load(cls, folder: Path, *, gpu: int = 0, mixed_precision: bool = False) -> Self:
        """The classifier saved in `folder`, on a GPU where one is asked for and present."""
        from platform_assets.tasks.text_classification.classifier import TextClassifier

        hardware = detect_hardware(gpu=gpu, mixed_precision=mixed_precision)
        return cls(TextClassifier.load(folder).to(hardware.device), tokenizer_of(folder), hardware)

    def score_features(self, features: "pa.Table") -> "NDArray[np.float64]":
        """See `Scorer.score_features`; reads column token_ids."""
        return self._score(token_lists(features))

    def score_rows(
        self, rows: "pa.Table", chosen: "NDArray[np.bool_] | None" = None
    ) -> "NDArray[np.float64]":
        """See `Scorer.score_rows`; reads column text."""
        return self.score_texts(chosen_rows(rows, chosen)["text"].to_pylist())

    def score_instances(self, instances: Sequence[JsonValue]) -> "NDArray[np.float64]":
        """See `Scorer.score_instances`."""
        return self.score_texts(texts_of(instances))

    def watched(self, instances: Sequence[JsonValue]) -> list[Mapping[str, float | str]]:
        """Of a text only its length, counted as for the reference profile."""
        return [{"words": float(word_count(text))} for text in texts_of(instances)]

    def score_texts(self, texts: Sequence[str]) -> "NDArray[np.float64]":
        """Probability of label 1 of each text, shape (len(texts),)."""
        ids, _ = self.tokenizer.encode(texts)
        return self._score([np.asarray(row, dtype=np.int32) for row in ids])

    def _score(self, token_ids: "list[NDArray[np.int32]]") -> "NDArray[np.float64]":
        return score(
            token_ids,
            self.model,
            sizes=np.array([len(ids) for ids in token_ids], dtype=np.int64),
            tensors=lambda chosen, device: padded(
                [(ids, 0) for ids in chosen], self.tokenizer.pad_id, device
            )[:2],
            hardware=self.hardware,
        )


def texts_of(instances: Sequence[JsonValue]) -> list[str]:
    """The texts that these instances are.

    Raises:
        InstanceError: one is neither a text nor an object with the key `text`.
    """
    texts = []
    for at, instance in enumerate(instances):
        text = instance.get("text") if isinstance(instance, dict) else instance
        if not isinstance(text, str):
            raise InstanceError(f'instance {at + 1}: is no text; give a string, or {{"text": "…"}}')
        texts.append(text)
    return texts
