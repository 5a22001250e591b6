"""A trained network that answers: images in, probabilities out."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from pydantic import JsonValue

from platform_assets.models.errors import InstanceError
from platform_assets.models.hardware import Hardware, detect_hardware, on_threads
from platform_assets.models.inference import score
from platform_assets.models.scorer import THRESHOLD
from platform_assets.tasks.image_classification.dicom.extra import quiet_pydicom, require_imaging
from platform_assets.tasks.image_classification.dicom.files import TOO_LARGE, FileProblemError
from platform_assets.tasks.image_classification.dicom.limits import Limits
from platform_assets.tasks.image_classification.dicom.pixels import read_image
from platform_assets.tasks.image_classification.dicom.reading import read_header
from platform_assets.tasks.image_classification.image_form import (
    brightness_and_contrast,
    formed,
    formed_rows,
    reduced,
)
from platform_assets.tasks.image_classification.model_spec import ImageFormSpec
from platform_assets.tasks.image_classification.recipe import image_tensors, pixel_arrays, threads_of

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

_LIMITS: Final = Limits()
_BASE64_OF_THREE: Final = 4


@dataclass(frozen=True, slots=True)
class ImageScorer:
    """The network in a folder, loaded once. An instance is an object with the key `dicom`: a file, as Base64."""

    model: Any
    form: ImageFormSpec
    hardware: Hardware
    threshold: float = THRESHOLD

    @classmethod
    def load(cls, folder: Path, *, gpu: int = 0, mixed_precision: bool = False) -> Self:
        """The network saved in `folder`, on a GPU where one is asked for and present."""
        from platform_assets.tasks.image_classification.network import IMAGE_FILE, ImageClassifier

        hardware = detect_hardware(gpu=gpu, mixed_precision=mixed_precision)
        kept = json.loads((folder / IMAGE_FILE).read_bytes())
        return cls(
            ImageClassifier.load(folder).to(hardware.device),
            ImageFormSpec.model_validate(kept["form"]),
            hardware,
            kept["threshold"],
        )

    def score_features(self, features: "pa.Table") -> "NDArray[np.float64]":
        """See `Scorer.score_features`; reads column pixels."""
        return self.score_pixels(pixel_arrays(features))

    def score_rows(
        self, rows: "pa.Table", chosen: "NDArray[np.bool_] | None" = None
    ) -> "NDArray[np.float64]":
        """See `Scorer.score_rows`; reads columns image, stored_rows and stored_columns."""
        return self.score_pixels(list(formed_rows(rows, self.form, chosen)))

    def score_instances(self, instances: Sequence[JsonValue]) -> "NDArray[np.float64]":
        """See `Scorer.score_instances`."""
        return self.score_pixels(list(self.pixels_of(instances)))

    def watched(self, instances: Sequence[JsonValue]) -> list[Mapping[str, float | str]]:
        """Of an image only how light it is and how much it varies, measured as for the reference profile."""
        measured = brightness_and_contrast(self.pixels_of(instances))
        return [
            {"brightness": float(brightness), "contrast": float(contrast)}
            for brightness, contrast in zip(*measured, strict=True)
        ]

    def score_pixels(self, pixels: "Sequence[NDArray[np.uint8]]") -> "NDArray[np.float64]":
        """Probability of label 1 of each image in the form of the features, (S, S) each; shape (len(pixels),)."""
        with on_threads(threads_of(self.model.resnet.config.hidden_sizes)):
            return score(
                pixels,
                self.model,
                sizes=np.ones(len(pixels), dtype=np.int64),
                tensors=image_tensors,
                hardware=self.hardware,
            )

    def pixels_of(self, instances: Sequence[JsonValue]) -> "NDArray[np.uint8]":
        """The images that these instances are, in the form of the features, shape (N, S, S).

        Raises:
            InstanceError: one is no object with a DICOM file, or its file is one that the gate cannot read.
            ImagingMissingError: pydicom is not installed.
        """
        side = self.form.image_size
        pixels = np.empty((len(instances), side, side), dtype=np.uint8)
        for at, instance in enumerate(instances):
            image = _image_of(_file_of(instance, at + 1), at + 1)
            pixels[at] = formed(reduced(image, self.form.stored_side_px), self.form)
        return pixels


def _file_of(instance: JsonValue, place: int) -> bytes:
    """The bytes of the file that an instance holds."""
    text = instance.get("dicom") if isinstance(instance, dict) else None
    if not isinstance(text, str):
        raise InstanceError(
            f'instance {place}: is no image; give an object {{"dicom": "<a DICOM file as Base64>"}}'
        )
    if len(text) > (_LIMITS.file_bytes // 3 + 1) * _BASE64_OF_THREE:
        raise InstanceError(
            f"instance {place}: dicom is longer than a file of {_LIMITS.file_bytes} bytes ({TOO_LARGE}); give a smaller one"
        )
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InstanceError(
            f"instance {place}: dicom is no Base64; encode the file's bytes as such"
        ) from None


def _image_of(content: bytes, place: int) -> "NDArray[np.uint16]":
    """The first image of a file, as datasets have it."""
    require_imaging()
    try:
        with quiet_pydicom():
            return read_image(read_header(content, _LIMITS), _LIMITS).values
    except FileProblemError as problem:
        raise InstanceError(
            f"instance {place}: dicom is no file with an image that can be read ({problem.rule}); give one of a single "
            "grey channel that passes the gate"
        ) from None
