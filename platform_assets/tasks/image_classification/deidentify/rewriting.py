"""One file from its bytes to those of its de-identified copy, which nobody has judged yet.

The copy is written anew from what the gate's reader shows of a file: what lies in its preamble, behind its pixels, twice
under one tag or in its own header does not come along. Pixels come along as they are.
"""

import io
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from platform_assets.tasks.image_classification.deidentify.confidentiality import EDITION, Profiled
from platform_assets.tasks.image_classification.deidentify.errors import DeidentifyError
from platform_assets.tasks.image_classification.deidentify.options import BASIC, Keep
from platform_assets.tasks.image_classification.deidentify.pseudonyms import Pseudonyms
from platform_assets.tasks.image_classification.dicom.extra import quiet_pydicom
from platform_assets.tasks.image_classification.dicom.files import UNREADABLE, FileProblemError
from platform_assets.tasks.image_classification.dicom.header_rules import (
    ALLOCATED,
    FRAMES,
    PIXELS,
    SOP_CLASS,
    SOP_INSTANCE,
    frames_of,
)
from platform_assets.tasks.image_classification.dicom.limits import Limits
from platform_assets.tasks.image_classification.dicom.reading import (
    BIG_ENDIAN,
    DEFLATED,
    IMPLICIT,
    TRANSFER_SYNTAX,
    Header,
    read_header,
)
from platform_assets.tasks.image_classification.dicom.standard import tag_name

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

EXPLICIT: Final = "1.2.840.10008.1.2.1"
BURNED_IN: Final = "dicom.identity.burned_in_annotation"
_SAME_OBJECT: Final = "dicom.image.same_object"
_PIXEL_DATA: Final = "dicom.image.pixel_data"
_FRAMES: Final = "dicom.image.frames"
_PATIENT, _STUDY, _BURNED_IN = 0x00100020, 0x0020000D, 0x00280301
_BITS_OF_A_BYTE: Final = 8
_MAPPED: Final = (("patient", _PATIENT), ("study", _STUDY), ("instance", SOP_INSTANCE))


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A copy."""

    content: bytes
    instance: str
    """Its SOP Instance UID, which is new."""
    counts: dict[str, Counter[str]]
    """How often each action was taken, by the attribute's name."""
    mapping: dict[str, tuple[str, str]]
    """Old and new id of patient, study and instance: whoever has these can undo the rest."""

    def __repr__(self) -> str:
        """Nothing that identifies."""
        return f"Rewritten({self.instance})"


def rewritten(
    content: bytes, limits: Limits, pseudonyms: Pseudonyms, *, keep: Collection[Keep], texts: Collection[str]
) -> Rewritten:
    """The copy of a file without what identifies, as far as its attributes tell.

    Args:
        content: The file.
        limits: Bounds of what is read.
        pseudonyms: What replaces identifiers.
        keep: What stays.
        texts: Names of attributes whose text stays, though the profile does not name them.

    Raises:
        FileProblemError: It cannot be read, holds no single image of little endian, or says itself that somebody can be
            told by its pixels.
        DeidentifyError: The library does not know the profile.
    """
    with _quiet():
        header = read_header(content, limits)
        _refuse(header)
        old = {name: header.text(tag) for name, tag in _MAPPED}
        profiled = Profiled(pseudonyms, keep=keep, texts=texts, depth=limits.depth)
        try:
            made = _copy(header, profiled, keep)
            new = {name: str(made[tag].value) if tag in made else "" for name, tag in _MAPPED}
            stream = io.BytesIO()
            _write(stream, made, header.transfer_syntax)
        except (FileProblemError, DeidentifyError, ImportError):
            raise
        except Exception:  # noqa: BLE001 - pydicom and the library raise many kinds, whose messages quote values
            raise FileProblemError(UNREADABLE) from None
    return Rewritten(
        stream.getvalue(), new["instance"], profiled.counts, {name: (old[name], new[name]) for name in old}
    )


def _refuse(header: Header) -> None:
    if header.transfer_syntax == BIG_ENDIAN:  # retired in 2006; its pixels would have to be turned round
        raise FileProblemError(TRANSFER_SYNTAX, ("TransferSyntaxUID",))
    if header.pixels is None:
        raise FileProblemError(_PIXEL_DATA, ("PixelData",))
    if frames_of(header) != 1:
        raise FileProblemError(_FRAMES, (tag_name(FRAMES),))
    if not header.text(SOP_INSTANCE) or not header.text(SOP_CLASS):
        raise FileProblemError(_SAME_OBJECT, (tag_name(SOP_INSTANCE),))
    if header.text(_BURNED_IN) not in ("", "NO"):
        raise FileProblemError(BURNED_IN, (tag_name(_BURNED_IN),))


def _copy(header: Header, profiled: Profiled, keep: Collection[Keep]) -> "Dataset":
    made, pixels = header.attributes, header.pixels
    if header.behind is not None:
        for tag in header.behind.keys():  # noqa: SIM118 - iterating a Dataset converts
            profiled.count("removed", int(tag))
    profiled.apply(made)
    made.PatientIdentityRemoved = "YES"
    made.DeidentificationMethod = f"PS3.15 {EDITION}, table E.1-1, by platform-assets"
    made.DeidentificationMethodCodeSequence = _codes(keep)
    made.LongitudinalTemporalInformationModified = "MODIFIED" if Keep.DATES_MODIFIED in keep else "REMOVED"
    if pixels is not None:
        value = header.content[pixels.start : pixels.start + pixels.length]
        is_words = not pixels.is_encapsulated and header.number(ALLOCATED) != _BITS_OF_A_BYTE
        made.add_new(PIXELS, "OW" if is_words or header.transfer_syntax == IMPLICIT else "OB", value)
        made[PIXELS].is_undefined_length = pixels.is_encapsulated
    return made


def _codes(keep: Collection[Keep]) -> "Any":
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    items = []
    for value, meaning in (BASIC, *(each.code for each in Keep if each in keep)):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
        items.append(item)
    return Sequence(items)


def _write(stream: io.BytesIO, made: "Dataset", syntax: str) -> None:
    from pydicom import dcmwrite
    from pydicom.dataset import FileMetaDataset

    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    # What was deflated has been inflated to be looked at.
    made.file_meta.TransferSyntaxUID = EXPLICIT if syntax == DEFLATED else syntax
    made.preamble = b"\0" * 128
    dcmwrite(
        stream,
        made,
        implicit_vr=syntax == IMPLICIT,
        little_endian=True,
        enforce_file_format=True,
        overwrite=True,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Within, pydicom writes what it has read, right or wrong: the gate says afterwards what is wrong."""
    from pydicom import config

    with quiet_pydicom():
        mode = config.settings.writing_validation_mode
        config.settings.writing_validation_mode = config.IGNORE
        try:
            yield
        finally:
            config.settings.writing_validation_mode = mode
