"""What a training spec says about how a model of images is judged."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from platform_assets.manifest import Many, Section
from platform_assets.tasks.image_classification.model_spec import ImageFormSpec

SliceColumn = Literal["view_position", "site", "sex", "age_band", "detector"]
MetadataColumn = Literal[
    "view_position", "sex", "age_band", "site", "detector", "modality", "bits", "pixel_spacing",
    "image_rows", "image_columns", "was_inverted",
]  # fmt: skip
ALL_METADATA: Final[tuple[MetadataColumn, ...]] = (
    "view_position", "sex", "age_band", "site", "detector", "modality", "bits", "pixel_spacing",
    "image_rows", "image_columns", "was_inverted",
)  # fmt: skip


_MOST_SQUARES: Final = 1024
"""On an image: of more, maps of some dozen images would take longer than training."""


class ImageJudgingSpec(Section):
    """Slices, shortcuts, and what the model is asked to show of its errors."""

    slices: Annotated[Many[SliceColumn], Field(min_length=1)] = ("view_position", "site", "sex", "age_band")
    """Columns by whose values rows are told apart. One that the data does not have makes no slice."""
    slice_min_rows: Annotated[int, Field(ge=20)] = 50
    """Rows that a slice needs to be judged; smaller ones are shown and named."""
    slice_min_of_label: Annotated[int, Field(ge=10)] = 10
    """Patients with images of either label that it needs: intervals of fewer are too narrow."""
    metadata: Annotated[Many[MetadataColumn], Field(min_length=1)] = ALL_METADATA
    """What the model must know more than: columns of the dataset that say nothing of the finding."""
    occlusion_px: Annotated[int, Field(ge=4, le=64)] = 16
    """Side in pixels of the square that is covered to see what an answer rests on."""
    occlusion_stride_px: Annotated[int, Field(ge=1, le=64)] = 8
    """Distance in pixels from one square to the next."""
    shown_errors: Annotated[int, Field(ge=1, le=24)] = 6
    """How many of the most certain errors of either kind are shown."""
    pointed_rows: Annotated[int, Field(ge=0, le=1000)] = 60
    """How many of the findings that the model has found are asked for where it has seen them."""

    @model_validator(mode="after")
    def _covers_everything(self) -> Self:
        if self.occlusion_stride_px > self.occlusion_px:
            raise ValueError(
                f"occlusion_stride_px must be at most occlusion_px ({self.occlusion_px}), or pixels between two squares are "
                "never covered"
            )
        return self


class JudgedSpec(ImageFormSpec, ImageJudgingSpec):
    """What an evaluator reads of a line's spec."""

    @model_validator(mode="after")
    def _covers_in_time(self) -> Self:
        squares = (max(0, self.image_size - self.occlusion_px) // self.occlusion_stride_px + 1) ** 2
        if squares > _MOST_SQUARES:
            raise ValueError(
                f"occlusion_stride_px {self.occlusion_stride_px} makes {squares:,} squares of images of image_size "
                f"{self.image_size}, each an answer to ask for, and at most {_MOST_SQUARES:,} are; raise it, and occlusion_px"
            )
        return self
