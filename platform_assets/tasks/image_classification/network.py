"""The network: a ResNet of transformers that reads grey images, in channels that it makes itself.

    image            z-score of the pixels of each image
    local contrast   (x - m) / (s + 0.03), m and s mean and standard deviation of x around each pixel

The channels are made of the same 8 bits in training, in validation and in serving, so that no caller can make them
differently. A ResNet with more input channels, as one that was trained on colours, gets them in turns.

Imported only where torch is needed anyway. Symbols: B images, S side.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import torch  # noqa: TID253 - nothing that definitions import imports this module

IMAGE_FILE: Final = "image.json"
"""Beside the weights: what becomes of an image before the ResNet reads it."""
WEIGHT_FILES: Final = ("model.safetensors",)
_BIAS: Final = "classifier.1.bias"
_FAINT: Final = 0.03
"""A spread of so much of the whole range is noise: without it, flat areas would be all noise."""
_TINY: Final = 1e-6


class ImageClassifier(torch.nn.Module):  # type: ignore[misc]
    """Two classes of grey images."""

    def __init__(
        self, resnet: Any, *, local_contrast_px: int | None, dropout: float, mirrors: bool = False
    ) -> None:
        """A classifier.

        Args:
            resnet: transformers' `ResNetForImageClassification` of two labels.
            local_contrast_px: Side of the neighbourhood of the second channel; None for no second channel.
            dropout: Share of values before the last layer that are left out in training.
            mirrors: Whether an answer is the mean over an image and its mirror image.
        """
        super().__init__()
        self.resnet = resnet
        self.dropout = torch.nn.Dropout(dropout)
        self.local_contrast_px = local_contrast_px
        self.mirrors = mirrors

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits (B, 2) of images, shape (B, 1, S, S): uint8, or float32 from 0 to 1."""
        channels = self.channels(pixels)
        if self.training or not self.mirrors:
            return self._logits(channels)
        return (self._logits(channels) + self._logits(channels.flip(-1))) / 2

    def channels(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the ResNet reads, float32, shape (B, its channels, S, S)."""
        with torch.autocast(pixels.device.type, enabled=False):
            values = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
            made = [_z_score(values)]
            if self.local_contrast_px is not None:
                made.append(_local_contrast(values, self.local_contrast_px))
            wanted = self.resnet.config.num_channels
            return torch.cat([made[at % len(made)] for at in range(wanted)], dim=1).contiguous(
                memory_format=torch.channels_last
            )

    def _logits(self, channels: torch.Tensor) -> torch.Tensor:
        pooled = self.resnet.resnet(channels).pooler_output
        if self.training:
            logits: torch.Tensor = self.resnet.classifier(self.dropout(pooled))
            return logits
        # In half precision, scores are some hundred values: ties would decide where a threshold keeps a specificity.
        with torch.autocast(channels.device.type, enabled=False):
            scored: torch.Tensor = self.resnet.classifier(pooled.float())
        return scored

    def save(self, folder: Path, *, prior_shift: float = 0.0) -> Sequence[str]:
        """Write the ResNet in the transformers layout, and what makes its channels beside it.

        Args:
            folder: To write into.
            prior_shift: What is taken off the logit of label 1.

        Returns:
            Names of the files with weights.
        """
        # Files have no other order of bytes than the usual one, which this network's convolutions do not have.
        state = {name: value.contiguous() for name, value in self.resnet.state_dict().items()}
        bias = state[_BIAS].clone()
        bias[1] -= prior_shift
        self.resnet.save_pretrained(folder, state_dict=state | {_BIAS: bias})
        channels = {"local_contrast_px": self.local_contrast_px, "mirrors": self.mirrors}
        (folder / IMAGE_FILE).write_text(json.dumps({"channels": channels}), encoding="utf-8")
        return WEIGHT_FILES

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The classifier saved in `folder`, ready to score on the CPU."""
        from transformers import ResNetForImageClassification

        made = json.loads((folder / IMAGE_FILE).read_bytes())["channels"]
        resnet = ResNetForImageClassification.from_pretrained(folder)
        classifier = cls(
            resnet, local_contrast_px=made["local_contrast_px"], dropout=0.0, mirrors=made["mirrors"]
        )
        classifier.to(memory_format=torch.channels_last)
        classifier.eval()
        return classifier


def channels_of(local_contrast_px: int | None) -> int:
    """How many channels a network of these neighbourhoods has."""
    return 1 if local_contrast_px is None else 2


def _z_score(values: torch.Tensor) -> torch.Tensor:
    spread, mean = torch.std_mean(values, dim=(2, 3), keepdim=True, correction=0)
    return (values - mean) / (spread + _TINY)


def _local_contrast(values: torch.Tensor, side_px: int) -> torch.Tensor:
    """Means of neighbourhoods are products with a band on either side, four times as fast as pooling on a CPU."""
    rows, columns = (_band(length, side_px, values.device) for length in values.shape[2:])
    means, squares = (rows @ each @ columns.T for each in (values, values * values))
    spread = (squares - means * means).clamp_(min=0).sqrt_()
    return (values - means) / (spread + _FAINT)


def _band(length: int, side_px: int, device: Any) -> torch.Tensor:
    """Means over the neighbours along a line, those that there are, shape (length, length)."""
    at = torch.arange(length, device=device)
    band = ((at[:, None] - at).abs() <= side_px // 2).float()
    return band / band.sum(dim=1, keepdim=True)
