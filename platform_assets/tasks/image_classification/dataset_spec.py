"""What a training spec says about a line's images: where they lie, how patients are split, who may let files in."""

from typing import Annotated

from pydantic import Field

from platform_assets.datasets.spec import DatasetSpec, SplitSharesSpec
from platform_assets.manifest import Many, Section


class PatientSplitSpec(SplitSharesSpec):
    """Whole patients are set apart, so that no patient is in two splits."""

    test_sites: Many[Annotated[str, Field(min_length=1)]] = ()
    """Sites whose patients are all in the test split, beside those that are drawn: column `site` of the labels."""


class StoredImageSpec(Section):
    """What is kept of an image; datasets keep it, and answers reduce alike what they are asked about."""

    stored_side_px: Annotated[int, Field(ge=64, le=4096)] = 512
    """Longest side in pixels at which images are kept; larger ones are reduced by the means of their areas."""


class ImageDatasetSpec(DatasetSpec, StoredImageSpec):
    """DICOM files with a table of labels: a folder, a zip archive, `objects://<prefix>` or `phantom://chest?…`."""

    labels: Annotated[str, Field(min_length=1)] = "labels.csv"
    """Name of the table of labels within each source: csv or parquet, a row a file, by `file` or `instance`."""
    split: PatientSplitSpec = PatientSplitSpec(test=0.25, validation=0.15)
    """Whole patients."""
    released_by: Annotated[str, Field(min_length=1)] = "radiologists"
    """Group of those who may let a file in that the gate has set aside."""
