"""A saved model with its tokenizer: texts in, probabilities out. One way to score for validation and serving."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from platform_assets.features.tokens import TextTokenizer
from platform_assets.models.store import tokenizer_of
from platform_assets.models.training import Hardware, detect_hardware, score

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SavedClassifier:
    """The model in a folder, loaded once."""

    model: Any
    tokenizer: TextTokenizer
    hardware: Hardware

    @classmethod
    def load(cls, folder: Path, *, gpu: int = 0, mixed_precision: bool = False) -> Self:
        """The classifier saved in `folder`, on a GPU where one is asked for and present."""
        from platform_assets.models.classifier import TextClassifier

        hardware = detect_hardware(gpu=gpu, mixed_precision=mixed_precision)
        return cls(TextClassifier.load(folder).to(hardware.device), tokenizer_of(folder), hardware)

    def score_texts(self, texts: Sequence[str]) -> "NDArray[np.float64]":
        """Probability of label 1 of each text, shape (len(texts),)."""
        ids, _ = self.tokenizer.encode(texts)
        return self.score_tokens([np.asarray(row, dtype=np.int32) for row in ids])

    def score_tokens(
        self, token_ids: "list[NDArray[np.int32]]", *, label: str = "scoring"
    ) -> "NDArray[np.float64]":
        """Probability of label 1 of each row of token ids, shape (len(token_ids),)."""
        return score(token_ids, self.model, pad_id=self.tokenizer.pad_id, hardware=self.hardware, label=label)
