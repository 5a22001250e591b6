"""The network: an encoder, mean pooling over its tokens, one linear layer.

Imported only where torch is needed anyway.
"""

import json
from pathlib import Path
from typing import Any

import torch  # noqa: TID253 - nothing that definitions import imports this module
from safetensors.torch import load_file, save_file

_HEAD_FILE = "head.safetensors"
_CLASSIFIER_FILE = "classifier.json"


class TextClassifier(torch.nn.Module):  # type: ignore[misc]
    """Two classes on any encoder that yields `last_hidden_state` of shape (B, L, H)."""

    def __init__(self, encoder: Any, *, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = torch.nn.Dropout(dropout)
        self.head = torch.nn.Linear(encoder.config.hidden_size, 2)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits (B, 2) for token ids (B, L) and their mask (B, L)."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        logits: torch.Tensor = self.head(self.dropout(pooled))
        return logits

    def save(self, folder: Path, *, pad_id: int) -> None:
        """Write the encoder in the transformers layout, and the head beside it."""
        self.encoder.save_pretrained(folder)
        save_file(
            {name: value.contiguous() for name, value in self.head.state_dict().items()}, folder / _HEAD_FILE
        )
        (folder / _CLASSIFIER_FILE).write_text(
            json.dumps({"pad_id": pad_id, "pooling": "mean", "classes": 2}), encoding="utf-8"
        )

    @classmethod
    def load(cls, folder: Path) -> "TextClassifier":
        """The classifier saved in `folder`, ready to score on the CPU."""
        from transformers import AutoModel

        classifier = cls(AutoModel.from_pretrained(folder), dropout=0.0)
        classifier.head.load_state_dict(load_file(folder / _HEAD_FILE))
        classifier.eval()
        return classifier
