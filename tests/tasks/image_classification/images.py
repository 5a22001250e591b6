"""Builds images with a bright disc where the label is 1, rows of them as a dataset has them, and their features."""

from typing import Any

import numpy as np
import pyarrow as pa

from platform_assets.tasks.image_classification.featurizer import ImageFeaturizer
from platform_assets.tasks.image_classification.model_spec import ImageFormSpec

SMALL = ImageFormSpec(image_size=64)


def disc(label: int, seed: int, *, shape: tuple[int, int] = (64, 64)) -> Any:
    """An image of 12 bits: a slope and some noise, with a disc somewhere where the label is 1."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    values = 1500 + random.normal() * 5 * columns + random.normal(0, 40, shape)
    centre = random.uniform(12, min(shape) - 12, 2)
    if label:
        values[(rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < 40] += 900
    return np.clip(values, 0, 4095).astype(np.uint16)


def image_rows(
    images: list[Any], labels: list[int] | None = None, splits: list[str] | None = None
) -> pa.Table:
    """Those columns of a dataset that features are made of."""
    count = len(images)
    return pa.table(
        {
            "patient": [f"patient-{at // 2}" for at in range(count)],
            "image_id": [f"{at:064x}" for at in range(count)],
            "label": pa.array(labels or [at % 2 for at in range(count)], pa.int32()),
            "source": ["somewhere"] * count,
            "split": splits or ["train"] * count,
            "stored_rows": pa.array([image.shape[0] for image in images], pa.int32()),
            "stored_columns": pa.array([image.shape[1] for image in images], pa.int32()),
            "image": pa.array([image.astype("<u2").tobytes() for image in images], pa.binary()),
        }
    )


def disc_rows(count: int, *, split: str = "train", seed: int = 0) -> pa.Table:
    """Rows of discs, every other one of label 1."""
    labels = [at % 2 for at in range(count)]
    return image_rows(
        [disc(label, seed * 1000 + at) for at, label in enumerate(labels)], labels, [split] * count
    )


def features_of(rows: pa.Table, form: ImageFormSpec = SMALL) -> pa.Table:
    """The features of rows."""
    return ImageFeaturizer().apply(rows, form, subject_column="patient").table
