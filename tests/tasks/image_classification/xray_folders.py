"""Builds folders of chest X-rays with a table of labels, and reads them as the dataset asset does."""

import csv
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from platform_assets.datasets.ingestion import PreparedRows, Surroundings
from platform_assets.governance.subjects import hash_of
from platform_assets.tasks.image_classification.dataset_spec import ImageDatasetSpec
from platform_assets.tasks.image_classification.ingestion import ImageIngestion
from resources.object_store import LocalObjectStore
from tests.tasks.image_classification.dicom.builders import BITS, CONTRACT, SALT, chest, chest_file

Change = Callable[[Any], object]
LABELS = ("file", "label")


def xrays(
    folder: Path,
    *,
    patients: int = 12,
    each: int = 2,
    side: int = 96,
    changes: Mapping[int, Change] | None = None,
    labels: Sequence[Mapping[str, object]] | None = None,
    first: int = 0,
    seed: int = 0,
) -> Path:
    """A folder of `patients` × `each` files, half of the patients with label 1, and labels.csv.

    Args:
        folder: Is made.
        patients: How many.
        each: Images of each.
        side: Pixels of an image.
        changes: What happens to the file at a position before it is written.
        labels: Rows of labels.csv in place of those.
        first: Number of the first patient.
        seed: Of the first image; the same patient has the same images for the same seed.
    """
    folder.mkdir(parents=True)
    rows = []
    for at in range(patients * each):
        patient = first + at // each
        made = chest_file(
            (changes or {}).get(at),
            seed=seed + first * each + at,
            patient=f"P-{patient:04d}",
            image=_image(seed + first * each + at, side, has_finding=bool(patient % 2)),
        )
        name = f"{at:04d}.dcm"
        (folder / name).write_bytes(made)
        rows.append({"file": name, "label": patient % 2})
    write_labels(folder / "labels.csv", rows if labels is None else labels)
    return folder


def _image(seed: int, side: int, *, has_finding: bool) -> Any:
    """A chest; with a finding, a bright square at its middle."""
    image = chest(seed, side=side)
    if has_finding:
        middle = slice(side * 3 // 8, side * 5 // 8)
        image[middle, middle] = np.minimum(image[middle, middle] + 700, 2**BITS - 1)
    return image


def write_labels(file: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """A csv table of these rows."""
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def dataset_spec(*uris: object, **fields: object) -> ImageDatasetSpec:
    """A line that reads these folders, with enough of each split."""
    split = {"test": 0.3, "validation": 0.2, "seed": 5}
    return ImageDatasetSpec.model_validate(
        {
            "line": "xrays",
            "train_data_uri": [str(uri) for uri in uris],
            "contract": CONTRACT.name,
            "split": split,
            **fields,
        }
    )


def surroundings(folder: Path, **options: Any) -> Surroundings:
    """What reading knows besides the spec: a store and a cache below `folder`."""
    return Surroundings(CONTRACT, SALT, LocalObjectStore(folder / "objects"), folder / "cache", **options)


def prepared(
    spec: ImageDatasetSpec, folder: Path, *, erased: Collection[str] = (), **options: Any
) -> PreparedRows:
    """The rows of a spec, as the dataset asset has them; `erased` are ids of patients."""
    ingestion = ImageIngestion()
    gone = {hash_of("patient", each, SALT) for each in erased}
    sources = ingestion.read(spec, surroundings(folder, **options))
    return ingestion.prepare(spec, sources, is_erased=lambda ids: [each in gone for each in ids])


def by_id(rows: PreparedRows) -> dict[str, dict[str, Any]]:
    """The rows without their images, by image_id."""
    table = rows.rows.read([name for name in rows.rows.schema.names if name != "image"])
    return {row["image_id"]: row for row in table.to_pylist()}


def table_of(rows: PreparedRows) -> pa.Table:
    """All rows with their images."""
    return rows.rows.read()
