"""Files that carry what nobody would look at: each is found by a rule, and none takes time or memory without bound."""

import io
import struct
import sys
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from platform_assets.tasks.image_classification.dicom.codestream_extras import has_extras
from platform_assets.tasks.image_classification.dicom.files import FileProblemError, open_files
from platform_assets.tasks.image_classification.dicom.limits import Limits
from tests.tasks.image_classification.dicom.builders import (
    broken,
    chest,
    chest_file,
    code,
    compressed,
    dataset,
    judged,
    written,
)

SECRET = b"Smith^John"
JPEG = "1.2.840.10008.1.2.4.50"
J2K = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"
SAMPLES = b"\x28\x00\x02\x00US"
"""Before it, in a file of the builder, anything of the groups 0018 to 0020 may stand."""
ROWS = b"\x28\x00\x10\x00US\x02\x00"
REGION = b"\x08\x00\x18\x22SQ"
ID = b"\x10\x00\x10\x00PN"
ITEM, ITEMS_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    """An element of explicit representation, little endian."""
    value += b"\0" * (len(value) % 2)
    length = b"\0\0" + struct.pack("<L", len(value))
    if vr not in (b"OB", b"OW", b"OV", b"SQ", b"UN", b"UT"):
        length = struct.pack("<H", len(value))
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr + length + value


def _before(content: bytes, tag: bytes, inserted: bytes) -> bytes:
    at = content.index(tag)
    return content[:at] + inserted + content[at:]


def _with(tag: int, vr: bytes, value: bytes = SECRET, *, before: bytes = SAMPLES) -> bytes:
    return _before(chest_file(), before, _element(tag, vr, value))


def _instead(tag: bytes, inserted: bytes) -> bytes:
    """A file with another element in the place of one of a short length."""
    content = chest_file()
    at = content.index(tag)
    return content[:at] + inserted + content[at + 8 + content[at + 6] :]


def _nested(*path: int, tag: int, vr: str, value: Any) -> bytes:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    inner = Dataset()
    inner.add_new(tag, vr, value)
    for each in reversed(path):
        outer = Dataset()
        outer.add_new(each, "SQ", Sequence([inner]))
        inner = outer
    return chest_file(lambda made: made.update(inner))


def _kept_sequence() -> bytes:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    def change(made: Any) -> None:
        item = Dataset()
        item.PatientName = SECRET.decode()
        made.add_new(0x0018100A, "SQ", Sequence([item]))  # UDI Sequence, which option 113109 keeps
        made.DeidentificationMethodCodeSequence.append(code("113109"))

    return chest_file(change)


def _in_the_files_header(inserted: bytes, *, first: bool = False) -> bytes:
    content = chest_file()
    end = 144 + int.from_bytes(content[140:144], "little")
    at = 132 if first else end
    content = content[:at] + inserted + content[at:]
    if first:
        return content
    return content[:140] + struct.pack("<L", end - 144 + len(inserted)) + content[144:]


def _sequence_instead_of_a_number() -> bytes:
    item = _element(0x00100010, b"PN", SECRET)
    inside = ITEM + struct.pack("<L", len(item)) + item
    return _instead(b"\x08\x00\x50\x00SH", _element(0x00080050, b"SQ", inside))


VALUES: dict[str, tuple[Callable[[], bytes], str]] = {
    "text behind a number": (
        lambda: _instead(ROWS, _element(0x00280010, b"OB", b"\0\1" + SECRET)),
        "value_forms",
    ),
    "more numbers than one": (
        lambda: _instead(ROWS, _element(0x00280010, b"US", b"\0\1" + SECRET)),
        "value_forms",
    ),
    "text for a number of text": (
        lambda: _instead(b"\x20\x00\x13\x00IS", _element(0x00200013, b"IS", SECRET)),
        "value_forms",
    ),
    "more numbers of text than one": (
        lambda: _instead(b"\x20\x00\x13\x00IS", _element(0x00200013, b"IS", b"1\\19700101\\4711")),
        "value_forms",
    ),
    "text of another representation": (
        lambda: _instead(b"\x20\x00\x13\x00IS", _element(0x00200013, b"LO", SECRET)),
        "value_forms",
    ),
    "text for a code": (lambda: _with(0x00200060, b"CS"), "value_forms"),
    "text for a sequence": (lambda: _with(0x00189346, b"LO", before=b"\x20\x00\x0d\x00UI"), "value_forms"),
    "text for a character set": (
        lambda: _with(0x00080005, b"CS", b"SMITH JOHN", before=b"\x08\x00\x08\x00CS"),
        "value_forms",
    ),
    "text for a code's value": (
        lambda: chest_file(
            lambda made: setattr(made.AnatomicRegionSequence[0], "CodeValue", SECRET.decode())
        ),
        "value_forms",
    ),
    "text for the length of a group": (lambda: _with(0x00280000, b"UN"), "value_forms"),
    "an age in letters that are no digits": (
        lambda: _instead(b"\x10\x00\x10\x10AS", _element(0x00101010, b"AS", b"\xb2\xb2\xb2Y")),
        "value_forms",
    ),
    "a sequence for an accession number": (_sequence_instead_of_a_number, "direct_identifiers"),
    "a name in a sequence that an option keeps": (_kept_sequence, "direct_identifiers"),
    "a person's name as a code": (lambda: _with(0x00189999, b"CS"), "private_tags"),
    "a name as the meaning of a code": (
        lambda: chest_file(
            lambda made: setattr(made.AnatomicRegionSequence[0], "CodeMeaning", SECRET.decode())
        ),
        "free_text",
    ),
    "a report's text": (lambda: _nested(0x0040A168, tag=0x0040A160, vr="UT", value="x y"), "free_text"),
    "a waveform": (lambda: _nested(0x54000100, tag=0x54001010, vr="OB", value=SECRET), "free_text"),
    "pixels within a sequence": (lambda: _nested(0x0040A168, tag=0x7FE00010, vr="OB", value=SECRET), "free_text"),
    "pixels of another group": (
        lambda: _with(0x7F020010, b"OW", before=b"\xe0\x7f\x10\x00OW"),
        "free_text",
    ),
    "a colour profile": (lambda: chest_file(lambda made: made.add_new(0x00282000, "OB", SECRET)), "free_text"),
    "numbers without end": (
        lambda: chest_file(lambda made: made.add_new(0x00186028, "FD", [1.5] * 100)),
        "free_text",
    ),
    "a table of frames": (
        lambda: _before(compressed(J2K), b"\xe0\x7f\x10\x00OB", _element(0x7FE00001, b"OV", SECRET + b"......")),
        "free_text",
    ),
    "an icon": (lambda: _nested(0x00880200, tag=0x7FE00010, vr="OB", value=SECRET), "direct_identifiers"),
    "a document": (lambda: chest_file(lambda made: made.add_new(0x00420011, "OB", SECRET)), "direct_identifiers"),
    "earlier values": (lambda: _nested(0x04000561, 0x04000550, tag=0x00100010, vr="PN", value="x"), "direct_identifiers"),
    "a name that begins as a dummy": (
        lambda: chest_file(lambda made: setattr(made, "PatientName", "Anonsmith")),
        "direct_identifiers",
    ),
    "a name that is the id": (
        lambda: chest_file(
            lambda made: (setattr(made, "PatientName", "SMITHJOHN"), setattr(made, "PatientID", "SMITHJOHN"))
        ),
        "direct_identifiers",
    ),
    "a number of a visit": (
        lambda: chest_file(lambda made: setattr(made, "AccessionNumber", "482913")),
        "direct_identifiers",
    ),
    "a title behind an empty one of the same tag": (
        lambda: _in_the_files_header(
            _element(0x00020016, b"AE", b"HOSPITAL") + _element(0x00020016, b"AE", b"")
        ),
        "hidden_bytes",
    ),
    "a command in the file's header": (
        lambda: _in_the_files_header(_element(0x00000600, b"AE", b"SMITHJOH"), first=True),
        "hidden_bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_put_where_nobody_looks_is_found(name):
    """By the rule that is about it, and the file does not pass."""
    make, rule = VALUES[name]
    found = judged(make())

    assert f"dicom.identity.{rule}" in {each.rule for each in found.findings}
    assert found.verdict != "pass"


def _frame(content: bytes) -> bytes:
    """The one frame of a compressed file."""
    from pydicom.encaps import get_frame

    return get_frame(content[content.rindex(b"\xe0\x7f\x10\x00OB") + 12 :], 0, number_of_frames=1)


def _encapsulated(syntax: str, *items: bytes, offsets: bytes = b"", made: Any = None) -> bytes:
    """A file whose pixels are these items, whatever they are."""
    made = made or dataset()
    made.PixelData = b"\0\0"
    content = written(made)
    at = content.index(b"\x02\x00\x10\x00UI") + 6
    stated, before = syntax.encode() + b"\0" * (len(syntax) % 2), content[at]
    length = int.from_bytes(content[140:144], "little") + len(stated) - before
    content = content[:at] + bytes([len(stated), 0]) + stated + content[at + 2 + before :]
    content = content[:140] + struct.pack("<L", length) + content[144:]
    inside = b"".join(ITEM + struct.pack("<L", len(each)) + each for each in (offsets, *items))
    start = content.rindex(b"\xe0\x7f\x10\x00")
    return content[:start] + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + inside + ITEMS_END


def _jpeg(change: Callable[[bytes], bytes] = bytes) -> bytes:
    from PIL import Image as Picture

    image = (chest(5) >> 4).astype(np.uint8)
    stream = io.BytesIO()
    Picture.fromarray(image).save(stream, "JPEG", quality=95)
    frame = change(stream.getvalue())
    made = dataset(image=image)
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.LossyImageCompression = 7, "01"
    return _encapsulated(JPEG, frame + b"\0" * (len(frame) % 2), made=made)


def _segment(marker: bytes, content: bytes) -> bytes:
    return marker + struct.pack(">H", 2 + len(content)) + content


def _of_j2k(change: Callable[[bytes], bytes], **options: Any) -> bytes:
    return _encapsulated(J2K, change(_frame(compressed(J2K))), **options)


def _between(frame: bytes, at: int) -> bytes:
    return frame[:at] + SECRET + frame[at + len(SECRET) :]


STREAMS: dict[str, Callable[[], bytes]] = {
    "a comment in a JPEG": lambda: _jpeg(lambda frame: frame[:2] + _segment(b"\xff\xfe", SECRET) + frame[2:]),
    "EXIF": lambda: _jpeg(lambda frame: frame[:2] + _segment(b"\xff\xe1", b"Exif\0\0" + SECRET) + frame[2:]),
    "a JFIF segment with a thumbnail": lambda: _jpeg(
        lambda frame: frame[:2] + _segment(b"\xff\xe0", b"JFIF\0\1\1\0\0\1\0\1\1\3" + SECRET) + frame[2:]
    ),
    "a second image behind a JPEG": lambda: _jpeg(lambda frame: frame * 2),
    "a comment in JPEG 2000": lambda: _of_j2k(
        lambda frame: frame.replace(b"\xff\x52", _segment(b"\xff\x64", b"\0\1" + SECRET) + b"\xff\x52", 1)
    ),
    "bytes behind JPEG 2000": lambda: _of_j2k(lambda frame: frame + SECRET),
    "a table of offsets that holds something else": lambda: _of_j2k(bytes, offsets=SECRET + b"  "),
    "unused offsets of RLE": lambda: _encapsulated(RLE, _between(_frame(compressed(RLE)), 40)),
}


@pytest.mark.parametrize("name", STREAMS)
def test_what_a_compressed_image_carries_beside_pixels_is_found(name):
    """No decoder shows it."""
    assert broken(STREAMS[name]()).get("identity.hidden_bytes") == "quarantine"


PLAIN = {
    "JPEG": _jpeg,
    "JPEG 2000, signed by its coder": lambda: _of_j2k(bytes),
    "in two fragments, with an offset": lambda: _encapsulated(
        J2K, _frame(compressed(J2K))[:1000], _frame(compressed(J2K))[1000:], offsets=b"\0" * 4
    ),
    "RLE": lambda: _encapsulated(RLE, _frame(compressed(RLE))),
    "the length of a group": lambda: _with(0x00280000, b"UL", struct.pack("<L", 100)),
}


@pytest.mark.parametrize("name", PLAIN)
def test_what_honest_coders_write_is_no_finding(name):
    """Their signature, padding, several fragments, lengths of groups as they were written before 1998."""
    assert {rule for rule in broken(PLAIN[name]()) if "identity" in rule} == set()


def test_boxes_around_a_codestream_are_extras():
    """JP2 boxes hold anything; of a codestream by itself there are none."""
    frame = _frame(compressed(J2K))

    assert not has_extras(frame, J2K)
    assert has_extras(b"\0\0\0\x14uuid" + SECRET + b"  " + frame, J2K)
    assert has_extras(b"", JPEG)


MANY = 1 << 20
BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "half a million empty items": (
        lambda: _items(b"SQ"),
        "image.header_too_large",
    ),
    "the same without a representation": (lambda: _items(b"UN"), "image.header_too_large"),
    "a million fragments": (
        lambda: _encapsulated(J2K)[:-8] + (ITEM + b"\0\0\0\0") * MANY + ITEMS_END,
        "image.header_too_large",
    ),
    "a JPEG of fill bytes": (lambda: _encapsulated(JPEG, b"\xff\xd8" + b"\xff" * 8 * MANY), "image.decodes"),
    "a JPEG of segments": (lambda: _encapsulated(JPEG, b"\xff\xd8" + b"\xff\xe0\0\2" * 4 * MANY), "image.decodes"),
    "RLE of runs of nothing": (
        lambda: _encapsulated(RLE, struct.pack("<16L", 2, 64, 64 + 4 * MANY, *[0] * 13) + b"\x80" * 8 * MANY),
        "image.decodes",
    ),
    "offsets of a million frames": (
        lambda: _encapsulated(J2K, _frame(compressed(J2K)), offsets=b"\1\0\0\0" * MANY, made=_frames(2)),
        "image.decodes",
    ),
}  # fmt: skip


def _items(vr: bytes) -> bytes:
    content = chest_file()
    empty = _element(0x00082218, vr, (ITEM + b"\0\0\0\0") * 500_000)
    return content[: content.index(REGION)] + empty + content[content.index(ID) :]


def _frames(count: int) -> Any:
    made = dataset()
    made.NumberOfFrames = count
    return made


MOST_STEPS = 1_000_000


def _steps(act: Callable[[], Any]) -> tuple[Any, int]:
    """What comes out, and how many lines of Python were run for it."""
    count = 0

    def step(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return step

    before = sys.gettrace()
    sys.settrace(step)
    try:
        result = act()
    finally:
        sys.settrace(before)
    return result, count


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_of_nothing_takes_few_steps(name):
    """What would take seconds and gigabytes, if it were believed, is refused before that."""
    make, rule = BOMBS[name]
    content = make()
    found, steps = _steps(lambda: broken(content))

    assert found.get(rule) == "reject"
    assert steps < MOST_STEPS


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_method_that_unpacks_without_bound_is_not_unpacked(method, tmp_path):
    """An entry that states less than it comes to; the others of its archive go on."""
    path = tmp_path / "files.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.dcm", b"one")
        archive.writestr("2.dcm", b"\0" * 1000, compress_type=method)
    with open_files(path, Limits()) as files:
        assert files.read(0) == b"one"
        with pytest.raises(FileProblemError, match=r"dicom\.image\.unreadable"):
            files.read(1)
        assert files.sha256(1) is None


def test_a_problem_that_nobody_has_thought_of_is_a_rejection(monkeypatch, valid):
    """Its message, which may quote a value, goes nowhere; and the file's name is not shown."""
    from platform_assets.tasks.image_classification.dicom import judge

    def fails(*arguments: Any, **options: Any) -> None:
        raise ValueError(SECRET.decode())

    monkeypatch.setattr(judge, "judge_identity", fails)
    found = judged(valid)

    assert {each.rule: each.verdict for each in found.findings} == {"dicom.image.unreadable": "reject"}
    assert not found.is_nameable
    assert SECRET.decode() not in repr(found)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_name_is_not_shown_where_nobody_knows_whether_it_tells(valid):
    """Of a file that is cut short, and of one whose patient is spelled in another alphabet."""
    japanese = chest_file(
        lambda made: (
            setattr(made, "SpecificCharacterSet", ["", "ISO 2022 IR 87"]),
            setattr(made, "PatientName", "山田"),
        )
    )

    assert not judged(valid[:900], name="smith.dcm").is_nameable
    assert not judged(japanese, name="山田.dcm").is_nameable
    assert judged(japanese, name="1.dcm").is_nameable
    assert judged(b"no image", name="notes.dcm").is_nameable
