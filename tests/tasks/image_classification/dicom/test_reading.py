"""Whatever the bytes, a file gets a verdict: nothing is raised, and no more memory is taken than is bounded."""

import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.tasks.image_classification.dicom.extra import quiet_pydicom
from platform_assets.tasks.image_classification.dicom.limits import Limits
from platform_assets.tasks.image_classification.dicom.verdicts import worst
from tests.line_factory import ROOT
from tests.tasks.image_classification.dicom.builders import chest, chest_file, compressed, judged

SMALL = {
    "native": lambda: chest_file(image=chest(side=64)),
    "RLE": lambda: compressed("1.2.840.10008.1.2.5", image=chest(side=64)),
    "JPEG 2000": lambda: compressed("1.2.840.10008.1.2.4.90", image=chest(side=64)),
}


@pytest.fixture(scope="module")
def small():
    """One valid file of each encoding, of few pixels."""
    return {name: make() for name, make in SMALL.items()}


@settings(max_examples=45)
@given(data=st.data())
def test_a_file_cut_anywhere_is_no_pass(small, data):
    """Cut in its header or in its pixels, it gets a verdict that is no pass."""
    content = small[data.draw(st.sampled_from(list(SMALL)))]
    end = data.draw(st.integers(0, len(content) - 2))

    assert worst(judged(content[:end]).findings) != "pass"


@settings(max_examples=70)
@given(data=st.data())
def test_a_damaged_file_gets_a_verdict(small, data):
    """A few bytes of the header are others: whatever that means, nothing is raised."""
    content = bytearray(small[data.draw(st.sampled_from(list(SMALL)))])
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(128, min(2200, len(content) - 1)))] = data.draw(st.integers(0, 255))

    judged(bytes(content))


@pytest.mark.long
def test_many_damaged_files_get_a_verdict(small):
    """Three thousand of them, of every encoding, damaged anywhere."""
    draw = random.Random(7)
    for at in range(3000):
        content = bytearray(small[list(SMALL)[at % len(SMALL)]])
        for _ in range(draw.randint(1, 20)):
            content[draw.randrange(len(content))] = draw.randrange(256)
        judged(bytes(content))


def test_pydicom_is_quiet_while_files_are_read_and_not_after(caplog, recwarn):
    """What it logs and warns of quotes values."""
    from pydicom.misc import warn_and_log

    with quiet_pydicom():
        warn_and_log("a value")
    assert (caplog.text, list(recwarn)) == ("", [])
    warn_and_log("no value")
    assert "no value" in caplog.text
    assert len(recwarn) == 1


_MEMORY = """
import resource, sys
from pathlib import Path
import numpy, scipy.ndimage, scipy.fft, pydicom, pydicom.pixels
from tests.tasks.image_classification.dicom.builders import checked
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = checked(Path(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, found.verdicts["reject"])
"""


def test_hostile_files_take_no_more_memory_than_is_bounded(tmp_path):
    """Files that claim gigabytes, nest, inflate or repeat: together less than three times the bound of one file."""
    import struct
    import zlib

    from tests.tasks.image_classification.dicom.builders import dataset, written

    valid = chest_file()
    rows = b"\x28\x00\x10\x00US\x02\x00"
    start = valid.index(rows)
    plain = written(dataset(), syntax="1.2.840.10008.1.2.1.99")
    packer = zlib.compressobj(9, wbits=-15)
    bomb = b"".join(packer.compress(b"\0" * (1 << 20)) for _ in range(160)) + packer.flush()
    hostile = {
        "claims": valid[:start]
        + b"\x28\x00\x10\x00UN\0\0"
        + struct.pack("<L", 2**31 - 2)
        + valid[start + 10 :],
        "elements": valid[:start] + b"\x28\x00\x99\x00UL\0\0" * 400_000,
        "deflated": plain[: 144 + int.from_bytes(plain[140:144], "little")] + bomb,
        "pixels": chest_file(lambda made: (setattr(made, "Rows", 65_535), setattr(made, "Columns", 65_535))),
        "frames": chest_file(lambda made: setattr(made, "NumberOfFrames", 2**31 - 1)),
    }
    for name, content in hostile.items():
        (tmp_path / f"{name}.dcm").write_bytes(content)
    with (tmp_path / "sparse.dcm").open("wb") as file:
        file.write(valid)
        file.truncate(Limits().file_bytes + 1)
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    kilobytes, rejected = map(int, done.stdout.split())

    assert rejected == len(hostile) + 1
    assert kilobytes < 3 * (Limits().file_bytes >> 10)
