"""Files as a hospital's export has them now and then: each with one defect, and the rule of the gate that it breaks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from platform_assets.tasks.image_classification.phantom.dx_file import (
    BODY_PART,
    BURNED_IN,
    CONVERSION,
    IDENTITY_REMOVED,
    INTENT,
    PATIENT_NAME,
    REGION,
    SOP_CLASS,
    TIMES_MODIFIED,
    VIEW,
    VIEW_CODE,
    DxFile,
    Element,
    code,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint16]

_FOR_PROCESSING: Final = "1.2.840.10008.5.1.4.1.1.1.1.1"
_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
_TEXT: Final = "DOE JANE"
_GLYPHS: Final = {
    "A": (".111.", "1...1", "1...1", "11111", "1...1", "1...1", "1...1"),
    "D": ("1111.", "1...1", "1...1", "1...1", "1...1", "1...1", "1111."),
    "E": ("11111", "1....", "1....", "1111.", "1....", "1....", "11111"),
    "J": ("..111", "...1.", "...1.", "...1.", "...1.", "1..1.", ".11.."),
    "N": ("1...1", "11..1", "11..1", "1.1.1", "1..11", "1..11", "1...1"),
    "O": (".111.", "1...1", "1...1", "1...1", "1...1", "1...1", ".111."),
}
_PITCH: Final = 7
_TEXT_AT: Final = (114, 6)


@dataclass(frozen=True, slots=True)
class Defect:
    """One defect."""

    name: str
    rule: str
    """Of the gate, the only one that such a file breaks."""
    pixels: Callable[["Pixels"], "Pixels"] = lambda image: image
    """What becomes of the image."""
    header: Callable[[DxFile], DxFile] = lambda file: file
    """What becomes of the attributes."""
    content: Callable[[bytes], bytes] = lambda content: content
    """What becomes of the bytes."""


def _changed(**changes: tuple[int, Element]) -> Callable[[DxFile], DxFile]:
    return lambda file: file.with_(dict(changes.values()))


def _lettered(image: "Pixels") -> "Pixels":
    """With an invented name along the lower edge."""
    image, light = image.copy(), image.max()
    row, column = _TEXT_AT
    image[row - 2 : row + 9, column - 2 : column + _PITCH * len(_TEXT)] = image.min()
    for letter in _TEXT:
        for down, strokes in enumerate(_GLYPHS.get(letter, ())):
            for right, stroke in enumerate(strokes):
                if stroke == "1":
                    image[row + down, column + right] = light
        column += _PITCH
    return image


DEFECTS: Final = (
    Defect(
        "the patient's name is still there",
        "dicom.identity.direct_identifiers",
        header=_changed(name=(PATIENT_NAME, Element("PN", "Doe^Jane"))),
    ),
    Defect("a name is burned into the image", "dicom.identity.burned_in_text", pixels=_lettered),
    Defect(
        "a lateral view",
        "dicom.acquisition.view_position",
        header=_changed(
            view=(VIEW, Element("CS", "LL")),
            code=(VIEW_CODE, Element("SQ", [code("399067008", "SCT", "lateral projection")])),
        ),
    ),
    Defect(
        "nobody says that it was de-identified",
        "dicom.identity.identity_removed",
        header=_changed(removed=(IDENTITY_REMOVED, Element("CS", "NO"))),
    ),
    Defect(
        "a foot",
        "dicom.acquisition.body_part",
        header=_changed(
            part=(BODY_PART, Element("CS", "FOOT")),
            region=(REGION, Element("SQ", [code("56459004", "SCT", "Foot")])),
        ),
    ),
    Defect("cut short", "dicom.image.truncated", content=lambda content: content[: 2 * len(content) // 3]),
    Defect(
        "says of itself that text is burned in",
        "dicom.identity.burned_in_annotation",
        header=_changed(burned=(BURNED_IN, Element("CS", "YES"))),
    ),
    Defect("nothing but one grey", "dicom.image.constant", pixels=lambda image: np.full_like(image, 7)),
    Defect(
        "a secondary capture",
        "dicom.image.sop_class",
        header=_changed(
            kind=(SOP_CLASS, Element("UI", _SECONDARY_CAPTURE)), made=(CONVERSION, Element("CS", "WSD"))
        ),
    ),
    Defect(
        "attributes that only their maker understands",
        "dicom.identity.private_tags",
        header=_changed(
            creator=(0x00190010, Element("LO", "SYNTHETIC MAKER")),
            value=(0x00191001, Element("LO", "ward 7")),
        ),
    ),
    Defect("no DICOM file at all", "dicom.image.not_dicom", content=lambda content: content[1000:9000]),
    Defect(
        "the day of the study is as it was",
        "dicom.identity.dates",
        header=_changed(times=(TIMES_MODIFIED, Element("CS", "UNMODIFIED"))),
    ),
    Defect(
        "raw data of the detector, not for presentation",
        "dicom.acquisition.presentation_intent",
        header=_changed(
            kind=(SOP_CLASS, Element("UI", _FOR_PROCESSING)), intent=(INTENT, Element("CS", "FOR PROCESSING"))
        ),
    ),
    Defect(
        "overexposed",
        "dicom.image.clipped",
        pixels=lambda image: np.where(image < np.quantile(image, 0.75), image.min(), image).astype(np.uint16),
    ),
)
"""In the order in which they are dealt out."""
