"""Builds DICOM files: a digital chest X-ray that passes every rule, and whatever else a test asks for."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from platform_assets.datasets.contract import CONTRACTS_FOLDER
from platform_assets.tasks.image_classification.dicom.files import open_files
from platform_assets.tasks.image_classification.dicom.gate import GateReport, check_files
from platform_assets.tasks.image_classification.dicom.judge import FileReport, judge_file
from platform_assets.tasks.image_classification.dicom.rules import GateRules, load_rules

SALT = b"a salt of tests, long enough"
CONTRACT = CONTRACTS_FOLDER / "chest_xrays.yaml"
EXPLICIT = "1.2.840.10008.1.2.1"
CR = "1.2.840.10008.5.1.4.1.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
BITS = 12


def rules() -> GateRules:
    """The rules that ship."""
    return load_rules(CONTRACT)


def chest(seed: int = 0, *, side: int = 256, rows: int | None = None) -> Any:
    """Something like a chest, 12 bits, light is high: a bright body, two dark lungs, ribs, a heart, noise.

    Where they are and how large is drawn anew for each seed.
    """
    random = np.random.default_rng(seed)
    rows = rows or side
    y, x = np.mgrid[0 : 1 : 1j * rows, 0 : 1 : 1j * side]  # type: ignore[misc]

    def blob(at_y: float, at_x: float, tall: float, wide: float, sharp: float = 12) -> Any:
        away = ((y - at_y) / tall) ** 2 + ((x - at_x) / wide) ** 2
        return 1 / (1 + np.exp(np.clip(sharp * (away - 1), -50, 50)))

    draw = lambda low, high: float(random.uniform(low, high))  # noqa: E731
    body = blob(draw(0.5, 0.6), draw(0.46, 0.54), draw(0.55, 0.75), draw(0.38, 0.5), 6)
    lungs = blob(draw(0.4, 0.52), draw(0.26, 0.34), draw(0.24, 0.36), draw(0.12, 0.2)) + blob(
        draw(0.4, 0.52), draw(0.66, 0.74), draw(0.24, 0.36), draw(0.12, 0.2)
    )
    heart = blob(draw(0.55, 0.68), draw(0.48, 0.58), draw(0.1, 0.2), draw(0.09, 0.18))
    ribs = 0.06 * np.sin(2 * np.pi * (y * draw(9, 13) + 2 * (x - 0.5) ** 2 * draw(2, 4)))
    image = 0.25 + 0.55 * body - draw(0.3, 0.45) * lungs + draw(0.2, 0.35) * heart + ribs * body
    image = image + random.normal(0, 0.012, image.shape)
    return np.clip(image * 3300 + 300, 0, 2**BITS - 1).astype(np.uint16)


def dataset(sop_class: str = DX, *, image: Any = None, seed: int = 0, patient: str = "P-0001") -> Any:
    """A chest X-ray as pydicom has it; passes every rule that ships."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.sequence import Sequence

    image = chest(seed) if image is None else image
    made = Dataset()
    uid = f"2.25.{10**30 + seed * 10}"
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = sop_class
    made.file_meta.MediaStorageSOPInstanceUID = uid
    made.file_meta.TransferSyntaxUID = EXPLICIT
    made.ImageType = ["DERIVED", "PRIMARY"]
    made.SOPClassUID, made.SOPInstanceUID = sop_class, uid
    made.StudyInstanceUID, made.SeriesInstanceUID = f"{uid}1", f"{uid}2"
    made.StudyDate = made.StudyTime = made.AccessionNumber = made.ReferringPhysicianName = ""
    made.Manufacturer = ""
    made.PatientName, made.PatientID, made.PatientBirthDate = "", patient, ""
    made.PatientSex, made.PatientAge = "F", "047Y"
    made.PatientIdentityRemoved = "YES"
    made.DeidentificationMethodCodeSequence = Sequence([code("113100"), code("113108")])
    made.StudyID, made.SeriesNumber, made.InstanceNumber = "1", "1", "1"
    made.BodyPartExamined, made.ViewPosition = "CHEST", "PA"
    made.Modality = "CR" if sop_class == CR else "DX"
    made.BurnedInAnnotation, made.LossyImageCompression = "NO", "00"
    if sop_class != CR:
        made.PresentationIntentType = "FOR PRESENTATION"
        made.AnatomicRegionSequence = Sequence([code("51185008", scheme="SCT", meaning="Chest")])
        made.AcquisitionContextSequence = Sequence([])
        made.ImageLaterality, made.DetectorType, made.PositionerType = "U", "DIRECT", ""
        made.ImagerPixelSpacing = ["1.4", "1.4"]
        made.PixelIntensityRelationship, made.PixelIntensityRelationshipSign = "LOG", -1
        made.RescaleIntercept, made.RescaleSlope, made.RescaleType = "0", "1", "US"
        made.PresentationLUTShape = "IDENTITY"
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = image.shape
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, BITS, BITS - 1, 0
    made.PixelData = image.astype("<u2").tobytes()
    made["PixelData"].VR = "OW"
    return made


def code(value: str, *, scheme: str = "DCM", meaning: str = "a meaning") -> Any:
    """An item of a sequence of codes."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def written(made: Any, *, syntax: str | None = None, preamble: bytes = b"\0" * 128) -> bytes:
    """The bytes of a file, whatever is wrong with it."""
    from pydicom import dcmwrite

    if syntax:
        made.file_meta.TransferSyntaxUID = syntax
    made.preamble = preamble
    stream = io.BytesIO()
    stated = made.file_meta.TransferSyntaxUID
    dcmwrite(
        stream,
        made,
        implicit_vr=stated == "1.2.840.10008.1.2",
        little_endian=stated != "1.2.840.10008.1.2.2",
        enforce_file_format=True,
        overwrite=True,
    )
    return stream.getvalue()


def chest_file(change: Callable[[Any], object] | None = None, **options: Any) -> bytes:
    """The bytes of a chest X-ray, after `change` has done something to it."""
    made = dataset(**options)
    if change:
        change(made)
    return written(made)


def compressed(syntax: str, *, image: Any = None, plugin: str = "") -> bytes:
    """A chest X-ray in another transfer syntax."""
    made = dataset(image=image)
    made.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
    made.LossyImageCompression = "00"
    return written(made)


def judged(content: bytes, *, name: str = "image.dcm", asked: GateRules | None = None) -> FileReport:
    """The report of one file."""
    return judge_file(content, asked or rules(), name=name, salt=SALT)


def broken(content: bytes, **options: Any) -> dict[str, str]:
    """Verdict by rule of one file, without the domains' common prefix."""
    return {each.rule.removeprefix("dicom."): each.verdict for each in judged(content, **options).findings}


def checked(path: Path, *, asked: GateRules | None = None, **options: Any) -> GateReport:
    """The report of a folder or an archive."""
    asked = asked or rules()
    with open_files(path, asked.limits, ignore=asked.ignore) as files:
        return check_files(files, asked, salt=SALT, **options)
