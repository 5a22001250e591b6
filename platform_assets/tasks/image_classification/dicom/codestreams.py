"""What a compressed image says of its own size. Decoders believe it, whatever the header says, so it is read before them."""

import re
from itertools import pairwise
from struct import error as StructError  # noqa: N812 - it is a class, whatever its name
from struct import unpack_from
from typing import Final

JPEG_2000: Final = frozenset({f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 92, 93, 201, 202, 203)})
RLE: Final = "1.2.840.10008.1.2.5"
_JPEG: Final = frozenset({f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81)})
_MARK: Final = 0xFF
_FRAMES: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"""Markers that begin a frame, of any JPEG process and of JPEG-LS; a size follows them."""
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xDA)})
"""Markers without a length."""
_FILL: Final = re.compile(rb"\xff+")
_MOST_SEGMENTS: Final = 1 << 12
"""Before that of the size; a stream can consist of nothing else."""
_J2K_START: Final = b"\xff\x4f\xff\x51"
_MOST_BOXES: Final = 1 << 16
_RLE_HEADER_BYTES: Final = 64
_MOST_RLE_SEGMENTS: Final = 15
_LONGEST_RUN: Final = 128
_NO_RUN: Final = 128
_MOST_EMPTY_RUNS: Final = 1 << 10


def is_of_size(
    frame: bytes, syntax: str, *, rows: int, columns: int, samples: int, sample_bytes: int
) -> bool:
    """Whether a compressed frame comes to just so many pixels.

    Args:
        frame: The frame, without its encapsulation.
        syntax: UID of the transfer syntax.
        rows: As the header has them.
        columns: Likewise.
        samples: Of a pixel.
        sample_bytes: Of a sample, decoded.
    """
    try:
        if syntax == RLE:
            return _is_rle_of(frame, pixels=rows * columns, segments=samples * sample_bytes)
        if syntax in JPEG_2000:
            return _j2k_size(frame) == (rows, columns, samples)
        return syntax in _JPEG and _jpeg_size(frame) == (rows, columns, samples)
    except (StructError, IndexError):
        return False


def _jpeg_size(frame: bytes) -> tuple[int, int, int] | None:
    at = 0
    for _ in range(_MOST_SEGMENTS):
        if frame[at] != _MARK:
            return None
        if fill := _FILL.match(frame, at):  # any number of them may stand before a marker
            at = fill.end() - 1
        marker = frame[at + 1]
        if marker in _ALONE:
            at += 2
            continue
        (length,) = unpack_from(">H", frame, at + 2)
        if marker in _FRAMES:
            rows, columns, samples = unpack_from(">HHB", frame, at + 5)
            return rows, columns, samples
        at += 2 + max(2, length)
    return None


def _j2k_size(frame: bytes) -> tuple[int, int, int] | None:
    """The image area of the SIZ segment (ISO/IEC 15444-1, A.5.1), which is the first of a codestream."""
    at = frame.find(_J2K_START, 0, _MOST_BOXES)  # some wrap the codestream into boxes of JP2
    if at < 0:
        return None
    right, bottom, left, top = unpack_from(">4L", frame, at + 8)
    (samples,) = unpack_from(">H", frame, at + 40)
    return bottom - top, right - left, samples


def _is_rle_of(frame: bytes, *, pixels: int, segments: int) -> bool:
    """Whether each segment (PS3.5, annex G) comes to one byte a pixel."""
    count, *offsets = unpack_from("<16L", frame)
    if count != segments or count > _MOST_RLE_SEGMENTS:
        return False
    starts = [*offsets[:count], len(frame)]
    return starts[0] == _RLE_HEADER_BYTES and all(
        start < end and _unpacked(frame, start, end, pixels) for start, end in pairwise(starts)
    )


def _unpacked(frame: bytes, at: int, end: int, pixels: int) -> bool:
    """Whether a segment comes to one byte a pixel; only its lengths are read."""
    length = empty = 0
    while at < end and length < pixels and empty < _MOST_EMPTY_RUNS:
        run = frame[at]
        if run < _LONGEST_RUN:
            at += run + 2
            length += run + 1
        else:
            at += 2 if run > _NO_RUN else 1
            length += 257 - run if run > _NO_RUN else 0
            empty += run == _NO_RUN
    # A byte may be left, which makes an odd length even; decoders write past their end for a run that is too long.
    return length == pixels and at <= end <= at + 1
