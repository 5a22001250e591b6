"""A ResNet on images: processor milliseconds of an image in its form, in a step of training, and as an answer."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import measure

_SIDES = (128, 512, 2048)
_IMAGES = 320


@dataclass(frozen=True, slots=True)
class ImageFigures:
    """Processor milliseconds an image, by what is done with it."""

    milliseconds: dict[str, float]

    def __str__(self) -> str:
        return "\n".join(
            [
                f"images of 128 × 128 pixels, the small ResNet, {_IMAGES} of them, one thread",
                *(f"  {what:<34}{each:>8.2f} ms" for what, each in self.milliseconds.items()),
            ]
        )


def measure_images(folder: Path) -> ImageFigures:
    """Form, train and score the same images in a process of its own, without its imports.

    Raises:
        BenchmarkError: it fails.
    """
    done = measure("-m", "tests.benchmarks.images", folder / "models", folder=folder)
    return ImageFigures(json.loads(done.succeeded().output.splitlines()[-1]))


def main() -> None:
    """Print the figures: folder."""
    import torch

    from platform_assets.models.checkpoints import FolderCheckpoints
    from platform_assets.tasks.image_classification.image_form import formed
    from platform_assets.tasks.image_classification.model_spec import ImageFormSpec
    from platform_assets.tasks.image_classification.recipe import ImageTrainingConfig
    from platform_assets.tasks.image_classification.trainer import ImageTrainer
    from tests.tasks.image_classification.images import disc, disc_rows, features_of

    torch.set_num_threads(1)
    folder, form, trainer = Path(sys.argv[1]), ImageFormSpec(), ImageTrainer()
    told: dict[str, float] = {}
    for side in _SIDES:
        images = [disc(1, seed, shape=(side, side)) for seed in range(8)]
        formed(images[0], form)
        told[f"form, from {side} × {side}"] = _milliseconds(
            lambda images=images: [formed(image, form) for image in images], len(images)
        )
    features = features_of(disc_rows(_IMAGES), form)

    def fit(name: str, **changed: Any) -> Any:
        config = ImageTrainingConfig(epochs=1, threads=1, **changed)
        return trainer.fit(
            features, config, output=folder / name, checkpoints=FolderCheckpoints(folder / f"{name}-kept")
        )

    fit("warm", mixed_precision=False)
    for name, mixed in (("float32", False), ("as the CPU can", True)):
        told[f"training, {name}"] = _milliseconds(lambda n=name, m=mixed: fit(n, mixed_precision=m), _IMAGES)
    trainer.complete(folder / "float32", form.model_dump(), {})
    scorer = trainer.load(folder / "float32")
    scorer.score_features(features.slice(0, 64))
    told["answer, with its mirror image"] = _milliseconds(lambda: scorer.score_features(features), _IMAGES)
    print(json.dumps(told))


def _milliseconds(work: Any, images: int) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) / images * 1000


if __name__ == "__main__":
    main()
