"""A de-identified digital X-ray (DX, for presentation) as bytes: Explicit VR Little Endian, written without a library.

Every value has a fixed length or one that its device decides, so that the length of a file is known before its pixels are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from struct import pack
from typing import TYPE_CHECKING, Final

from platform_assets.tasks.image_classification.phantom.cohort import Cohort
from platform_assets.tasks.image_classification.phantom.devices import DEVICES
from platform_assets.tasks.image_classification.phantom.geometry import SIDE
from platform_assets.tasks.image_classification.phantom.poses import PIXEL_MM, VIEWS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

DX: Final = "1.2.840.10008.5.1.4.1.1.1.1"
SOP_CLASS, SOP_INSTANCE, CONVERSION, INTENT = 0x00080016, 0x00080018, 0x00080064, 0x00080068
REGION, PATIENT_NAME, IDENTITY_REMOVED = 0x00082218, 0x00100010, 0x00120062
BODY_PART, VIEW, VIEW_CODE, BURNED_IN = 0x00180015, 0x00185101, 0x00540220, 0x00280301
TIMES_MODIFIED: Final = 0x00280303
_SYNTAX: Final = "1.2.840.10008.1.2.1"
_IMPLEMENTATION: Final = "2.25.214031797461083155186174905830618295733"
_LONG_FORMS: Final = frozenset({"OB", "OW", "SQ", "UN"})
_ITEM: Final = 0xFFFEE000
_METHODS: Final = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113108", "Retain Patient Characteristics Option"),
    ("113109", "Retain Device Identity Option"),
)
_VIEW_CODES: Final = {"PA": ("272479007", "postero-anterior"), "AP": ("399348003", "antero-posterior")}
_MAGNIFICATION: Final = {"PA": 1830 / 1680, "AP": 1070 / 920}
"""Of the middle of the body at the detector."""

Value = str | bytes | int | Sequence["Mapping[int, Element]"]


@dataclass(frozen=True, slots=True)
class Element:
    """One attribute: its form and its value; a sequence's value are its items."""

    form: str
    value: Value = ""


@dataclass(frozen=True, slots=True)
class DxFile:
    """The attributes of one file, without its own header."""

    elements: dict[int, Element] = field(default_factory=dict)

    def with_(self, changes: Mapping[int, Element]) -> "DxFile":
        """The same with other attributes."""
        return DxFile({**self.elements, **changes})

    def encoded(self) -> bytes:
        """All bytes of the file."""
        meta = {
            0x00020001: Element("OB", b"\0\1"),
            0x00020002: Element("UI", self.elements[SOP_CLASS].value),
            0x00020003: Element("UI", self.elements[SOP_INSTANCE].value),
            0x00020010: Element("UI", _SYNTAX),
            0x00020012: Element("UI", _IMPLEMENTATION),
        }
        head = _encoded(meta)
        length = _encoded({0x00020000: Element("UL", len(head))})
        return bytes(128) + b"DICM" + length + head + _encoded(self.elements)


def code(value: str, scheme: str, meaning: str) -> dict[int, Element]:
    """An item of a sequence of codes."""
    return {
        0x00080100: Element("SH", value),
        0x00080102: Element("SH", scheme),
        0x00080104: Element("LO", meaning),
    }


def dx_file(cohort: Cohort, at: int, image: "npt.NDArray[np.uint16]") -> DxFile:
    """The file of image `at`.

    Args:
        cohort: All images.
        at: Which.
        image: Its pixels, light is high, shape (SIDE, SIDE).
    """
    device = DEVICES[cohort.site[at]][int(cohort.is_ap[at])]
    view = VIEWS[int(cohort.is_ap[at])]
    spacing = f"{PIXEL_MM * _MAGNIFICATION[view]:.4f}"
    patient = cohort.patient_id(at)
    pixels = ((1 << device.bits) - 1 - image if device.is_inverse else image).astype("<u2").tobytes()
    return DxFile(
        {
            0x00080008: Element("CS", "DERIVED\\PRIMARY"),
            SOP_CLASS: Element("UI", DX),
            SOP_INSTANCE: Element("UI", cohort.uid("instance", at)),
            0x00080020: Element("DA", cohort.day(at)),
            0x00080030: Element("TM", "120000"),
            0x00080050: Element("SH"),
            0x00080060: Element("CS", "DX"),
            INTENT: Element("CS", "FOR PRESENTATION"),
            0x00080070: Element("LO", device.manufacturer),
            0x00080090: Element("PN"),
            0x00081090: Element("LO", device.model),
            REGION: Element("SQ", [code("51185008", "SCT", "Chest")]),
            PATIENT_NAME: Element("PN"),
            0x00100020: Element("LO", patient),
            0x00100030: Element("DA"),
            0x00100040: Element("CS", "F" if cohort.is_woman[at] else "M"),
            0x00101010: Element("AS", f"{cohort.age[at]:03}Y"),
            IDENTITY_REMOVED: Element("CS", "YES"),
            0x00120064: Element("SQ", [code(value, "DCM", meaning) for value, meaning in _METHODS]),
            BODY_PART: Element("CS", "CHEST"),
            0x00181000: Element("LO", device.serial),
            0x00181164: Element("DS", f"{spacing}\\{spacing}"),
            0x00181508: Element("CS"),
            VIEW: Element("CS", view),
            0x00187004: Element("CS", device.detector),
            0x0020000D: Element("UI", cohort.uid("study", at)),
            0x0020000E: Element("UI", cohort.uid("series", at)),
            0x00200010: Element("SH", "1"),
            0x00200011: Element("IS", "1"),
            0x00200013: Element("IS", "1"),
            0x00200020: Element("CS", "L\\F"),
            0x00200062: Element("CS", "U"),
            0x00280002: Element("US", 1),
            0x00280004: Element("CS", "MONOCHROME1" if device.is_inverse else "MONOCHROME2"),
            0x00280010: Element("US", SIDE),
            0x00280011: Element("US", SIDE),
            0x00280100: Element("US", 16),
            0x00280101: Element("US", device.bits),
            0x00280102: Element("US", device.bits - 1),
            0x00280103: Element("US", 0),
            BURNED_IN: Element("CS", "NO"),
            TIMES_MODIFIED: Element("CS", "MODIFIED"),
            0x00281040: Element("CS", "LOG"),
            0x00281041: Element("SS", 1 if device.is_inverse else -1),
            0x00281050: Element("DS", str(1 << (device.bits - 1))),
            0x00281051: Element("DS", str(1 << device.bits)),
            0x00281052: Element("DS", "0"),
            0x00281053: Element("DS", "1"),
            0x00281054: Element("LO", "US"),
            0x00282110: Element("CS", "00"),
            0x00400555: Element("SQ", []),
            VIEW_CODE: Element("SQ", [code(_VIEW_CODES[view][0], "SCT", _VIEW_CODES[view][1])]),
            0x20500020: Element("CS", "INVERSE" if device.is_inverse else "IDENTITY"),
            0x7FE00010: Element("OW", pixels),
        }
    )


def _encoded(elements: Mapping[int, Element]) -> bytes:
    return b"".join(_element(tag, elements[tag]) for tag in sorted(elements))


def _element(tag: int, element: Element) -> bytes:
    form, value = element.form, element.value
    if isinstance(value, str):
        content = value.encode("ascii")
        content += (b"\0" if form == "UI" else b" ") * (len(content) % 2)
    elif isinstance(value, bytes):
        content = value
    elif isinstance(value, int):
        content = pack({"US": "<H", "SS": "<h", "UL": "<L"}[form], value)
    else:
        items = [_encoded(item) for item in value]
        content = b"".join(pack("<HHL", _ITEM >> 16, _ITEM & 0xFFFF, len(item)) + item for item in items)
    head = pack("<HH2s", tag >> 16, tag & 0xFFFF, form.encode("ascii"))
    size = pack("<HL", 0, len(content)) if form in _LONG_FORMS else pack("<H", len(content))
    return head + size + content
