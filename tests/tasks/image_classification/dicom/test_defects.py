"""Files with one defect each: the rule that finds it, and the verdict."""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.tasks.image_classification.dicom.builders import (
    CR,
    broken,
    chest,
    chest_file,
    code,
    compressed,
    dataset,
    judged,
    written,
)


def _set(**values: Any) -> Callable[[Any], None]:
    def change(made: Any) -> None:
        for name, value in values.items():
            setattr(made, name, value)

    return change


def _without(*names: str) -> Callable[[Any], None]:
    def change(made: Any) -> None:
        for name in names:
            delattr(made, name)

    return change


def _private(made: Any) -> None:
    made.private_block(0x0009, "SOME MAKER", create=True).add_new(0x01, "LO", "x")


def _unknown(made: Any) -> None:
    made.add_new(0x00130010 + 0x00010000, "LO", "x")  # (0014,0010) stands in no dictionary


def _nested(made: Any) -> None:
    made.AnatomicRegionSequence[0].PatientName = "x"


def _behind(made: Any) -> None:
    made.add_new(0x7FE11010, "LO", "x")


def _overlay(made: Any) -> None:
    made.add_new(0x60003000, "OW", b"\1\0")


def _syntax_of_the_file(made: Any) -> None:
    made.file_meta.SourceApplicationEntityTitle = "HOSPITAL"


def _two_frames(made: Any) -> None:
    made.NumberOfFrames = 2
    made.PixelData = made.PixelData * 2


def _hidden_bits(made: Any) -> None:
    made.PixelData = (np.frombuffer(made.PixelData, "<u2") | 0x8000).astype("<u2").tobytes()


def _constant(made: Any) -> None:
    made.PixelData = np.full((made.Rows, made.Columns), 700, "<u2").tobytes()


def _clipped(made: Any) -> None:
    pixels = np.frombuffer(made.PixelData, "<u2")
    made.PixelData = np.where(pixels > np.quantile(pixels, 0.3), 4095, pixels).astype("<u2").tobytes()


def _inverse(made: Any) -> None:
    made.PhotometricInterpretation = "MONOCHROME1"
    made.PresentationLUTShape, made.PixelIntensityRelationshipSign = "INVERSE", 1


def _date_modified(made: Any) -> None:
    made.StudyDate, made.LongitudinalTemporalInformationModified = "20200101", "MODIFIED"
    made.DeidentificationMethodCodeSequence.append(code("113107"))


DEFECTS: dict[str, tuple[Callable[[Any], None], str, str]] = {
    # dicom.identity
    "identity flag absent": (_without("PatientIdentityRemoved"), "identity.identity_removed", "quarantine"),
    "identity flag NO": (_set(PatientIdentityRemoved="NO"), "identity.identity_removed", "quarantine"),
    "methods as text alone": (
        lambda made: (
            delattr(made, "DeidentificationMethodCodeSequence"),
            setattr(made, "DeidentificationMethod", "x"),
            delattr(made, "PatientAge"),
            setattr(made, "PatientSex", ""),
        ),
        "identity.methods",
        "quarantine",
    ),
    "a patient's name": (_set(PatientName="Someone^Real"), "identity.direct_identifiers", "quarantine"),
    "a date of birth": (_set(PatientBirthDate="19700101"), "identity.direct_identifiers", "quarantine"),
    "an institution": (_set(InstitutionName="x"), "identity.direct_identifiers", "quarantine"),
    "an operator": (_set(OperatorsName="x"), "identity.direct_identifiers", "quarantine"),
    "a comment": (_set(ImageComments="x"), "identity.direct_identifiers", "quarantine"),
    "an accession number": (_set(AccessionNumber="ACC-123"), "identity.direct_identifiers", "quarantine"),
    "a name that the profile does not list": (
        lambda made: made.add_new(0x0040A067, "PN", "x"),
        "identity.direct_identifiers",
        "quarantine",
    ),
    "a date that the profile does not list": (
        lambda made: made.add_new(0x00141020, "DA", "20200101"),
        "identity.dates",
        "quarantine",
    ),
    "a name inside a sequence": (_nested, "identity.direct_identifiers", "quarantine"),
    "an AE title in the file's header": (_syntax_of_the_file, "identity.direct_identifiers", "quarantine"),
    "a private attribute": (_private, "identity.private_tags", "quarantine"),
    "an attribute of no dictionary": (_unknown, "identity.private_tags", "quarantine"),
    "a private attribute behind the pixels": (_behind, "identity.private_tags", "quarantine"),
    "an overlay": (_overlay, "identity.overlays", "quarantine"),
    "a hospital's UID": (_set(StudyInstanceUID="1.2.826.0.1.99.5"), "identity.uid_roots", "quarantine"),
    "a UUID that is too large": (
        _set(SeriesInstanceUID=f"2.25.{2**128}"),
        "identity.uid_roots",
        "quarantine",
    ),
    "a date that nobody accounts for": (_set(StudyDate="20200101"), "identity.dates", "quarantine"),
    "burned in: YES": (_set(BurnedInAnnotation="YES"), "identity.burned_in_annotation", "quarantine"),
    "recognizable": (_set(RecognizableVisualFeatures="YES"), "identity.recognizable_features", "quarantine"),
    "hidden bits": (_hidden_bits, "identity.hidden_bytes", "quarantine"),
    # dicom.image
    "a CT": (
        lambda made: (
            setattr(made, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"),
            setattr(made.file_meta, "MediaStorageSOPClassUID", "1.2.840.10008.5.1.4.1.1.2"),
        ),
        "image.sop_class",
        "reject",
    ),
    "a secondary capture": (
        lambda made: (
            setattr(made, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.7"),
            setattr(made.file_meta, "MediaStorageSOPClassUID", "1.2.840.10008.5.1.4.1.1.7"),
        ),
        "image.sop_class",
        "quarantine",
    ),
    "a palette": (_set(PhotometricInterpretation="PALETTE COLOR"), "image.photometric", "reject"),
    "signed pixels": (_set(PixelRepresentation=1), "image.bits", "reject"),
    "a high bit that does not fit": (_set(HighBit=15), "image.bits", "reject"),
    "more bits stored than allocated": (_set(BitsStored=17, HighBit=16), "image.bits", "reject"),
    "two frames": (_two_frames, "image.frames", "quarantine"),
    "a sign that does not fit": (_set(PixelIntensityRelationshipSign=1), "image.intensity", "quarantine"),
    "a shape that does not fit": (_set(PresentationLUTShape="INVERSE"), "image.intensity", "quarantine"),
    "lossy": (_set(LossyImageCompression="01"), "image.lossy", "quarantine"),
    "an attribute of type 1 absent": (_without("DetectorType"), "image.attribute_types", "quarantine"),
    "an attribute of type 1 empty": (_set(RescaleSlope=None), "image.attribute_types", "quarantine"),
    "no pixels": (_without("PixelData"), "image.pixel_data", "reject"),
    "fewer pixels than rows": (_set(PixelData=b"\1\0" * 100), "image.pixel_data", "reject"),
    "more pixels than rows": (
        lambda made: setattr(made, "PixelData", made.PixelData + b"secret"),
        "image.pixel_data",
        "reject",
    ),
    "one grey": (_constant, "image.constant", "reject"),
    "clipped": (_clipped, "image.clipped", "quarantine"),
    # dicom.acquisition
    "modality CT": (_set(Modality="CT"), "acquisition.modality", "reject"),
    "for processing": (
        _set(PresentationIntentType="FOR PROCESSING"),
        "acquisition.presentation_intent",
        "quarantine",
    ),
    "a foot": (_set(BodyPartExamined="FOOT"), "acquisition.body_part", "quarantine"),
    "a foot by its code": (
        lambda made: (
            delattr(made, "BodyPartExamined"),
            setattr(made.AnatomicRegionSequence[0], "CodeValue", "56459004"),
        ),
        "acquisition.body_part",
        "quarantine",
    ),
    "lateral": (_set(ViewPosition="LL"), "acquisition.view_position", "quarantine"),
    "no view": (_without("ViewPosition"), "acquisition.view_position", "quarantine"),
    "one lung": (_set(ImageLaterality="L"), "acquisition.laterality", "quarantine"),
    "pixels of a metre": (
        _set(ImagerPixelSpacing=["1000", "1000"]),
        "acquisition.pixel_spacing",
        "quarantine",
    ),
    "a spacing without end": (
        _set(ImagerPixelSpacing=["1", "1e999"]),
        "acquisition.pixel_spacing",
        "quarantine",
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_file_with_one_defect_breaks_one_rule(name):
    """The rule that is about it, with its verdict, and no other."""
    change, rule, verdict = DEFECTS[name]

    assert broken(chest_file(change)) == {rule: verdict}


SHAPES = {
    "too small": ((48, 48), "image.size"),
    "too long": ((600, 100), "image.size"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_an_image_of_another_shape_is_rejected(name):
    """Rows and columns by themselves, and one by the other."""
    (rows, columns), rule = SHAPES[name]

    assert broken(chest_file(image=chest(side=columns, rows=rows))) == {rule: "reject"}


def test_a_file_whose_header_is_about_another_object_is_rejected(valid):
    """Somebody has put one object into the file of another, or has renamed one and forgotten the other."""
    uid = str(dataset().SOPInstanceUID).encode()
    assert broken(valid.replace(uid, uid[:-1] + b"7", 1)) == {"image.same_object": "reject"}


def test_colours_are_rejected():
    """Three samples a pixel, whatever the photometric interpretation says."""
    made = dataset()
    made.SamplesPerPixel, made.PlanarConfiguration, made.PixelData = 3, 0, made.PixelData * 3

    assert broken(written(made)) == {"image.samples": "reject"}


def _eight_bits():
    made = dataset()
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit = 7
    made.PixelData = (np.frombuffer(made.PixelData, "<u2") >> 4).astype(np.uint8).tobytes()
    made["PixelData"].VR = "OB"
    return written(made)


GOOD = {
    "digital X-ray": chest_file,
    "computed radiography": lambda: chest_file(sop_class=CR),
    "inverse": lambda: chest_file(_inverse),
    "modified dates that are accounted for": lambda: chest_file(_date_modified),
    "a dummy for a name": lambda: chest_file(_set(PatientName="ANONYMOUS")),
    "a name that is the id": lambda: chest_file(_set(PatientName="P-0001")),
    "a chest by its code alone": lambda: chest_file(_without("BodyPartExamined")),
    "implicit": lambda: written(dataset(), syntax="1.2.840.10008.1.2"),
    "deflated": lambda: written(dataset(), syntax="1.2.840.10008.1.2.1.99"),
    "RLE": lambda: compressed("1.2.840.10008.1.2.5"),
    "JPEG 2000": lambda: compressed("1.2.840.10008.1.2.4.90"),
    "8 bits": _eight_bits,
    "zeros behind the pixels": lambda: chest_file() + b"\0" * 64,
}


@pytest.mark.parametrize("name", GOOD)
def test_a_file_that_is_as_it_should_be_passes(name):
    """No rule is broken, whatever the encoding."""
    assert broken(GOOD[name]()) == {}


def test_big_endian_is_read_as_it_is():
    """The same pixels, the same verdict."""
    made = dataset()
    pixels = np.frombuffer(made.PixelData, "<u2")
    made.PixelData = pixels.astype(">u2").tobytes()
    big = judged(written(made, syntax="1.2.840.10008.1.2.2"))

    assert (big.findings, big.likeness) == ((), judged(chest_file()).likeness)


UNREADABLE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda content: b"", "image.not_dicom"),
    "text": (lambda content: b"these are no images\n" * 20, "image.not_dicom"),
    "no prefix": (lambda content: content[132:], "image.not_dicom"),
    "meta alone": (lambda content: content[:300], "image.truncated"),
    "half of the header": (lambda content: content[:900], "image.truncated"),
    "cut before a value": (
        lambda content: content[: content.index(b"\x28\x00\x10\x00US\x02\x00") + 8],
        "image.truncated",
    ),
    "half of the pixels": (lambda content: content[:-5000], "image.truncated"),
    "no transfer syntax": (
        lambda content: content.replace(b"\x02\x00\x10\x00UI", b"\x02\x00\x99\x00UI"),
        "image.transfer_syntax",
    ),
    "implicit that says explicit": (
        lambda content: _says(written(dataset(), syntax="1.2.840.10008.1.2"), "1.2.840.10008.1.2.1"),
        "image.transfer_syntax",
    ),
    "explicit that says implicit": (
        lambda content: _says(content, "1.2.840.10008.1.2"),
        "image.transfer_syntax",
    ),
    "a value of 2 GB": (
        lambda content: content.replace(
            b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x10\x00UN\0\0" + struct.pack("<L", 2**31)
        ),
        "image.truncated",
    ),
    "a sequence without end": (
        lambda content: content.replace(
            b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x10\x00SQ\0\0\xff\xff\xff\xff"
        ),
        "image.truncated",
    ),
    "4 million empty attributes": (
        lambda content: content[:-131_084] + b"\x28\x00\x99\x00UL\0\0" * 400_000,
        "image.header_too_large",
    ),
    "sequences 2,000 deep": (
        lambda content: (
            content[:-131_084]
            + b"\x28\x00\x99\x00SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 2_000
        ),
        "image.unreadable",
    ),
}


def _says(content: bytes, syntax: str) -> bytes:
    """A file that states another transfer syntax, in as many bytes."""
    at = content.index(b"\x02\x00\x10\x00UI") + 8
    length = int.from_bytes(content[at - 2 : at], "little")
    return content[:at] + syntax.encode().ljust(length, b"\0")[:length] + content[at + length :]


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_that_cannot_be_read_is_rejected_by_a_rule(name, valid):
    """By one, and nothing is raised."""
    change, rule = UNREADABLE[name]

    assert broken(change(valid)) == {rule: "reject"}


def test_what_a_deflated_file_comes_to_is_bounded():
    """A megabyte that stands for a gigabyte is not unpacked."""
    import zlib

    plain = written(dataset(), syntax="1.2.840.10008.1.2.1.99")
    start = 144 + int.from_bytes(plain[140:144], "little")
    packer = zlib.compressobj(9, wbits=-15)
    bomb = b"".join(packer.compress(b"\0" * (1 << 20)) for _ in range(136)) + packer.flush()

    assert broken(plain[:start] + bomb) == {"image.inflates": "reject"}


def test_bytes_that_nobody_can_account_for_are_quarantined(valid):
    """In the preamble, and behind the pixels."""
    assert broken(b"II*\0" + valid[4:]) == {"identity.hidden_bytes": "quarantine"}
    assert broken(valid + b"something else") == {"identity.hidden_bytes": "quarantine"}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("charset", ["ISO_IR 100", "ISO_IR 192"])
def test_a_name_with_an_umlaut_is_found_in_a_files_name(charset):
    """Whichever way the file spells it."""

    def named(made):
        made.SpecificCharacterSet, made.PatientName = charset, "M\u00fcller^\u00c4nne"

    content = chest_file(named)
    assert "identity.file_name" in broken(content, name="scan m\u00fcller.dcm")
    assert "identity.file_name" not in broken(content, name="scan mueller.dcm")


def test_a_files_name_that_names_the_patient_is_quarantined():
    """A part of the name, or the date of birth; and such a name is not shown."""
    content = chest_file(_set(PatientName="Someone^Real"))
    found = judged(content, name="scans/REAL_01.dcm")

    assert {each.rule for each in found.findings} == {
        "dicom.identity.direct_identifiers",
        "dicom.identity.file_name",
    }
    assert not found.is_nameable
    assert judged(content, name="scans/01.dcm").is_nameable
