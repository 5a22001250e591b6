"""Pixels are decoded within bounds, are those that pydicom has, and are inverted once."""

import struct
from pathlib import Path

import numpy as np
import pytest

from platform_assets.tasks.image_classification.dicom.codestreams import is_of_size
from platform_assets.tasks.image_classification.dicom.extra import quiet_pydicom
from platform_assets.tasks.image_classification.dicom.files import FileProblemError
from platform_assets.tasks.image_classification.dicom.limits import Limits
from platform_assets.tasks.image_classification.dicom.pixels import read_image
from platform_assets.tasks.image_classification.dicom.reading import read_header
from tests.tasks.image_classification.dicom.builders import (
    broken,
    chest,
    chest_file,
    compressed,
    dataset,
    judged,
    written,
)

RLE = "1.2.840.10008.1.2.5"
J2K = "1.2.840.10008.1.2.4.90"
JPEG = "1.2.840.10008.1.2.4.50"


def _image(content, limits=None):
    with quiet_pydicom():
        limits = limits or Limits()
        return read_image(read_header(content, limits), limits)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", RLE, J2K])
def test_pixels_are_those_that_were_written(syntax):
    """Uncompressed and compressed without loss."""
    image = chest(5, side=128)
    content = chest_file(image=image) if syntax.endswith("1.2.1") else compressed(syntax, image=image)

    assert np.array_equal(_image(content).values, image)


def test_jpeg_of_eight_bits_is_read_by_what_the_extra_brings():
    """Lossy, so the same within a few greys, and said to be so."""
    import io

    from PIL import Image as Picture
    from pydicom.encaps import encapsulate

    image = (chest(5, side=128) >> 4).astype(np.uint8)
    stream = io.BytesIO()
    Picture.fromarray(image).save(stream, "JPEG", quality=95)
    made = dataset(image=image)
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.LossyImageCompression = 7, "01"
    made.PixelData = encapsulate([stream.getvalue()])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    content = written(made, syntax=JPEG)

    assert np.abs(_image(content).values.astype(int) - image).max() < 20
    assert broken(content) == {"image.lossy": "quarantine"}


def test_monochrome1_is_inverted_once():
    """Light is high in whatever comes out, and whoever asks is told."""
    image = chest(5)

    def inverse(made):
        made.PhotometricInterpretation, made.PresentationLUTShape = "MONOCHROME1", "INVERSE"
        made.PixelIntensityRelationshipSign = 1
        made.PixelData = (4095 - image).astype("<u2").tobytes()

    found = _image(chest_file(inverse))
    assert np.array_equal(found.values, image)
    assert found.was_inverted
    told, plain = judged(chest_file(inverse)), judged(chest_file(image=image))
    assert (told.was_inverted, plain.was_inverted) == (True, False)
    assert told.likeness == plain.likeness


def test_unused_bits_are_taken_away_and_counted():
    """They are no part of a pixel, and may hold an overlay of old."""

    def hidden(made):
        made.PixelData = (chest(0) | 0x8000).astype("<u2").tobytes()

    found = _image(chest_file(hidden))
    assert (int(found.values.max()) <= 4095, found.hidden) == (True, found.values.size)


BOUNDS = {
    "rows that are not there": lambda made: setattr(made, "Rows", 60_000),
    "frames that are not there": lambda made: setattr(made, "NumberOfFrames", "999999999999"),
    "no size": lambda made: setattr(made, "Rows", 0),
}


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("syntax", ["native", RLE, J2K])
def test_a_size_that_is_not_that_of_the_pixels_is_no_image(name, syntax):
    """Whatever the encoding, and before anything is decoded."""
    made = dataset(image=chest(side=64))
    if syntax != "native":
        made.compress(syntax, generate_instance_uid=False)
    BOUNDS[name](made)

    with pytest.raises(FileProblemError, match=r"dicom\.image\.decodes"):
        _image(written(made))


def test_an_image_beyond_the_limit_is_not_decoded():
    """Rows × columns, as the header has them."""
    content = chest_file(image=chest(side=64))
    assert _image(content, Limits(pixels=4096)).values.shape == (64, 64)
    with pytest.raises(FileProblemError, match=r"dicom\.image\.decodes"):
        _image(content, Limits(pixels=4095))


def test_a_compressed_stream_that_claims_another_size_is_not_decoded(monkeypatch):
    """JPEG 2000 that says of itself what would take gigabytes, behind a header that says 64 × 64."""
    content = compressed(J2K, image=chest(side=64))
    at = content.index(b"\xff\x4f\xff\x51") + 8
    assert struct.unpack_from(">2L", content, at) == (64, 64)
    large = content[:at] + struct.pack(">2L", 60_000, 60_000) + content[at + 8 :]

    from pydicom.pixels.decoders.base import Decoder

    decoded = []
    as_array = Decoder.as_array
    monkeypatch.setattr(
        Decoder,
        "as_array",
        lambda self, *given, **options: decoded.append(1) or as_array(self, *given, **options),
    )
    assert broken(large) == {"image.decodes": "reject"}
    assert decoded == []
    assert broken(content) == {}
    assert decoded == [1]


def test_a_run_length_that_comes_to_more_than_the_image_is_not_decoded():
    """RLE whose runs go beyond the last pixel, or end before it."""
    good = struct.pack("<16L", 1, 64, *[0] * 14) + bytes([129, 7]) * 32
    of = {"rows": 64, "columns": 64, "samples": 1, "sample_bytes": 1}

    assert is_of_size(good, RLE, **of)
    assert is_of_size(good + b"\0", RLE, **of)
    assert is_of_size(good[:64] + bytes([128]) * 100 + good[64:], RLE, **of)
    assert not is_of_size(good[:64] + bytes([128]) * 2000 + good[64:], RLE, **of), (
        "runs of nothing, as many as fit"
    )
    assert not is_of_size(good + bytes([129, 7]) * 1000, RLE, **of)
    assert not is_of_size(good[:-2], RLE, **of)
    assert not is_of_size(good[:40], RLE, **of)
    assert not is_of_size(struct.pack("<L", 3) + good[4:], RLE, **of)


def test_the_size_of_a_jpeg_is_read_from_its_frame():
    """Behind other segments, whose content is not mistaken for it."""
    head = b"\xff\xd8\xff\xe0" + struct.pack(">H", 6) + b"\xff\xc0\0\0"
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, 48, 64, 1) + b"\1\x11\0"
    of = {"columns": 64, "samples": 1, "sample_bytes": 1}

    assert is_of_size(head + frame, JPEG, rows=48, **of)
    assert not is_of_size(head + frame, JPEG, rows=64, **of)
    assert not is_of_size(head, JPEG, rows=48, **of)
    assert not is_of_size(b"", JPEG, rows=48, **of)


def test_an_encoding_that_no_installed_library_reads_is_for_a_person(monkeypatch):
    """It is no fault of the file: install a decoder, or let it be."""
    from pydicom.pixels.decoders.base import Decoder

    monkeypatch.setattr(Decoder, "is_available", property(lambda self: False))

    assert broken(compressed(J2K)) == {"image.no_decoder": "quarantine"}


def test_a_decoder_that_panics_is_a_rejection(monkeypatch):
    """What comes out of Rust is no Exception; what ends a process, though, does."""
    from pydicom.pixels.decoders.base import Decoder

    panic = type("PanicException", (BaseException,), {})
    content = compressed(RLE)

    def raises(problem):
        def as_array(self, *arguments, **options):
            raise problem

        return as_array

    monkeypatch.setattr(Decoder, "as_array", raises(panic()))
    assert broken(content) == {"image.decodes": "reject"}
    monkeypatch.setattr(Decoder, "as_array", raises(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        broken(content)


def test_what_pydicom_decodes_of_its_own_files_comes_out_the_same():
    """Every file of its test data of one unsigned sample of 8 or 16 bits that both read."""
    import pydicom

    compared = 0
    for file in sorted((Path(pydicom.__file__).parent / "data" / "test_files").rglob("*")):
        if not file.is_file():
            continue
        try:
            found = _image(file.read_bytes())
        except FileProblemError:
            continue
        with quiet_pydicom():
            theirs = pydicom.dcmread(file).pixel_array
        theirs = theirs[0] if theirs.ndim == 3 else theirs
        ours = (1 << found.bits) - 1 - found.values if found.was_inverted else found.values
        assert np.array_equal(ours, theirs), file.name
        compared += 1

    assert compared >= 6
