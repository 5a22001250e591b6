"""What training a ResNet on grey images brings to the training loop.

Symbols: B images of a batch, S side.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from platform_assets.models.errors import TrainingError
from platform_assets.models.training import StepConfig
from platform_assets.tasks.image_classification.model_spec import ResNetParameters
from platform_assets.tasks.pretrained import load_arguments

if TYPE_CHECKING:
    import pyarrow as pa

Row = tuple[NDArray[np.uint8], int]
"""Pixels (S, S) and label."""
_SMALL_WIDTH = 256
_ELSEWHERE = {"model_location", "threads", "gpu", "mixed_precision"}
"""What differs between machines and decides nothing."""


class ImageTrainingConfig(ResNetParameters, StepConfig):
    """Hyper-parameters, the network to start from, and what the hardware is asked for."""

    model_location: str | None = None
    """A folder, or a Hugging Face id with its commit; None where a network begins anew."""


@dataclass(frozen=True, slots=True)
class ResNetRecipe:
    """A ResNet with a head of two classes, trained on rows of pixels."""

    config: ImageTrainingConfig
    class_weights: tuple[float, float] = (1.0, 1.0)
    """What an image of label 0, and one of label 1, counts for."""

    def sizes(self, rows: Sequence[Row]) -> NDArray[np.int64]:
        """All alike."""
        return np.ones(len(rows), dtype=np.int64)

    def build(self) -> Any:
        """The network with its head freshly initialised."""
        return build_classifier(self.config)

    def parameter_groups(self, network: Any) -> list[dict[str, Any]]:
        """Filters are decayed; biases, and what scales the normalised maps, are not."""
        parameters = list(network.parameters())
        rate, decay = self.config.learning_rate, self.config.weight_decay
        return [
            {"params": [each for each in parameters if each.ndim > 1], "lr": rate, "weight_decay": decay},
            {"params": [each for each in parameters if each.ndim <= 1], "lr": rate, "weight_decay": 0.0},
        ]

    def tensors(self, rows: Sequence[Row], device: Any) -> tuple[tuple[Any, ...], Any]:
        """Images as they are seen this time, float32 (B, 1, S, S), and the labels."""
        import torch

        from platform_assets.tasks.image_classification.augmentation import augmented

        (pixels,) = image_tensors([pixels for pixels, _ in rows], device)
        labels = torch.tensor([label for _, label in rows], device=device)
        return (augmented(pixels, self.config),), labels

    def loss(self, outputs: Any, labels: Any) -> Any:
        """Cross entropy with smoothed labels, each row weighted by its label, summed."""
        import torch

        losses = torch.nn.functional.cross_entropy(
            outputs.float(), labels, reduction="none", label_smoothing=self.config.label_smoothing
        )
        return (losses * outputs.new_tensor(self.class_weights, dtype=torch.float32)[labels]).sum()

    def identity(self, rows: Sequence[Row]) -> Iterator[bytes]:
        """Hyper-parameters, then labels and pixels of the rows."""
        yield self.config.model_dump_json(exclude=_ELSEWHERE).encode()
        yield np.array([label for _, label in rows], dtype=np.int64).tobytes()
        for pixels, _ in rows:
            yield pixels.tobytes()

    def save(self, network: Any, folder: Path) -> Sequence[str]:
        """config.json and model.safetensors, and what makes the channels."""
        less, more = self.class_weights
        names: Sequence[str] = network.save(folder, prior_shift=math.log(more / less))
        return names


def training_rows(features: "pa.Table") -> list[Row]:
    """The rows of split `train`.

    Raises:
        TrainingError: there are none, a label is outside {0, 1}, or an image is of another size than the others.
    """
    import pyarrow.compute as pc

    chosen = features.select(["label", "split", "pixels"]).filter(pc.equal(features["split"], "train"))
    labels = chosen["label"].to_numpy()
    if not len(labels):
        raise TrainingError("split 'train' has 0 rows; check train_rows and split in the spec")
    if not np.isin(labels, (0, 1)).all():
        raise TrainingError(
            f"{int((~np.isin(labels, (0, 1))).sum())} of {len(labels)} training rows have a label outside {{0, 1}}"
        )
    return list(zip(pixel_arrays(chosen), labels.astype(np.int64).tolist(), strict=True))


def pixel_arrays(features: "pa.Table") -> list[NDArray[np.uint8]]:
    """Column pixels as one array (S, S) per row, without a copy.

    Raises:
        TrainingError: a row holds no square, or another one than the first.
    """
    arrays: list[NDArray[np.uint8]] = []
    for chunk in features["pixels"].chunks:
        for value in chunk:
            flat = np.frombuffer(value.as_buffer(), np.uint8) if value.is_valid else np.empty(0, np.uint8)
            side = math.isqrt(flat.size)
            if not flat.size or side * side != flat.size or (arrays and arrays[0].size != flat.size):
                raise TrainingError(
                    f"row {len(arrays) + 1}: column pixels has {flat.size} bytes, which is no square, or another one "
                    "than before; make the features again"
                )
            arrays.append(flat.reshape(side, side))
    return arrays


def threads_of(widths: Sequence[int]) -> int | None:
    """CPU threads that suit a network whose stages have so many channels: one, or None for as many as there are.

    Operations of a small network are shorter than threads take to meet. Where other work keeps one of two from its core,
    the other one waits: on such a machine two took fifteen times the processor time of one, and twenty times as long.
    """
    return 1 if max(widths) <= _SMALL_WIDTH else None


def class_weights(labels: Sequence[int], balance: float) -> tuple[float, float]:
    """What an image of label 0, and one of label 1, counts for: (N / 2 n)^balance, 1 on the mean where balance is 1.

    Args:
        labels: Of the training split.
        balance: 0 for no weights, 1 for labels that are equal in sum.

    Raises:
        TrainingError: all are the same.
    """
    ones = sum(labels)
    zeros = len(labels) - ones
    if not ones or not zeros:
        raise TrainingError(
            f"all {len(labels)} training rows have the same label; check the labels and the split in the spec"
        )
    return (len(labels) / (2 * zeros)) ** balance, (len(labels) / (2 * ones)) ** balance


def image_tensors(pixels: Sequence[NDArray[np.uint8]], device: Any) -> tuple[Any]:
    """Images as one tensor on a device, uint8 (B, 1, S, S)."""
    import torch

    return (torch.from_numpy(np.stack(pixels)[:, None]).to(device),)


def build_classifier(config: ImageTrainingConfig) -> Any:
    """An `ImageClassifier`, its head freshly initialised.

    Raises:
        TrainingError: no ResNet can be loaded from the location.
    """
    import torch
    from transformers import ResNetForImageClassification

    from platform_assets.tasks.image_classification.network import ImageClassifier

    resnet = (
        ResNetForImageClassification(_small(config))
        if config.model_location is None
        else _pretrained(config.model_location)
    )
    classifier = ImageClassifier(
        resnet,
        local_contrast_px=config.local_contrast_px,
        dropout=config.dropout,
        mirrors=config.augment_flip,
    )
    return classifier.to(memory_format=torch.channels_last)


def _small(config: ImageTrainingConfig) -> Any:
    from transformers import ResNetConfig

    from platform_assets.tasks.image_classification.network import channels_of

    return ResNetConfig(
        num_channels=channels_of(config.local_contrast_px),
        embedding_size=config.embedding_size,
        hidden_sizes=list(config.widths),
        depths=list(config.depths),
        layer_type=config.layer_type,
        num_labels=2,
    )


def _pretrained(location: str) -> Any:
    from transformers import AutoConfig, ResNetConfig, ResNetForImageClassification

    place, options = load_arguments(location)
    try:
        config = AutoConfig.from_pretrained(place, **options)
        if not isinstance(config, ResNetConfig):
            raise TrainingError(
                f"model_name {location}: is a {config.model_type}, and a ResNet is needed; name one, "
                "e.g. microsoft/resnet-50"
            )
        # The head of other classes does not fit, and is made anew.
        return ResNetForImageClassification.from_pretrained(
            place, num_labels=2, ignore_mismatched_sizes=True, **options
        )
    except (OSError, ValueError) as problem:
        reason = " ".join(str(problem).split())[:300]
        raise TrainingError(
            f"model_name {location}: no ResNet can be loaded ({reason}); name a folder or a Hugging Face id"
        ) from problem
