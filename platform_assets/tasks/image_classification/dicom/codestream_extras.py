"""What a compressed image carries beside its pixels: comments, data of applications such as EXIF, a second image.

Decoders pass all of it over, so it never shows, and it may be anything. Only markers and lengths are read here.
"""

import re
from struct import error as StructError  # noqa: N812 - it is a class, whatever its name
from struct import unpack_from
from typing import Final

from platform_assets.tasks.image_classification.dicom.codestreams import JPEG_2000, RLE

_MOST_SEGMENTS: Final = 1 << 14
_FILL: Final = re.compile(rb"\xff+")
"""What begins a marker, once or more."""
_JPEG_START, _JPEG_END, _JPEG_SCAN, _JPEG_COMMENT = 0xD8, 0xD9, 0xDA, 0xFE
_JPEG_APPLICATIONS: Final = range(0xE0, 0xF0)
_JPEG_PLAIN: Final = re.compile(rb"\xe0\0\x10JFIF\0.{7}\0\0|\xee\0\x0eAdobe.{7}", re.DOTALL)
"""The two that say how colours are stored, the former without a thumbnail."""
_JPEG_LS: Final = frozenset({f"1.2.840.10008.1.2.4.{number}" for number in (80, 81)})
_JPEG_NEXT: Final = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")
"""The next marker among coded pixels, in which 0xFF is followed by 0 or is a restart."""
_JPEG_LS_NEXT: Final = re.compile(rb"\xff+[\x80-\xfe]")
"""Among those of JPEG-LS a bit that is 0 follows it."""
_J2K_TILE, _J2K_DATA, _J2K_END, _J2K_COMMENT = 0xFF90, 0xFF93, 0xFFD9, 0xFF64
_J2K_FIRST: Final = b"\xff\x4f\xff\x51"
_J2K_MAKERS: Final = re.compile(rb"\0\x01(?:Created by (?:GDCM/)?OpenJPEG version |Kakadu-v?)[0-9.]{1,12}\0?")
"""How coders sign; a signature in other words is for a person to look at."""
_RLE_COUNT: Final = 16


def has_extras(frame: bytes, syntax: str) -> bool:
    """Whether a compressed frame holds what is neither pixels nor says how to decode them.

    Args:
        frame: One that comes to the pixels that it should (`codestreams.is_of_size`).
        syntax: UID of its transfer syntax.
    """
    try:
        if syntax == RLE:
            (count,) = unpack_from("<L", frame)
            return any(unpack_from(f"<{_RLE_COUNT}L", frame)[1 + count :])
        if syntax in JPEG_2000:
            return _of_j2k(frame)
        return _of_jpeg(frame, _JPEG_LS_NEXT if syntax in _JPEG_LS else _JPEG_NEXT)
    except (StructError, IndexError):
        return True


def _of_jpeg(frame: bytes, in_scan: "re.Pattern[bytes]") -> bool:
    if frame[:2] != bytes([0xFF, _JPEG_START]):
        return True
    at = 2
    for _ in range(_MOST_SEGMENTS):
        fill = _FILL.match(frame, at)
        if fill is None:
            return True
        at = fill.end() - 1
        marker = frame[at + 1]
        if marker == _JPEG_END:
            return _is_followed(frame, at + 2)
        (length,) = unpack_from(">H", frame, at + 2)
        is_application = marker in _JPEG_APPLICATIONS and not _JPEG_PLAIN.fullmatch(
            frame, at + 1, at + 2 + length
        )
        if is_application or marker == _JPEG_COMMENT:
            return True
        at += 2 + length
        if marker == _JPEG_SCAN:
            following = in_scan.search(frame, at)
            if following is None:
                return False  # it ends without a mark, as some do; all that is left are pixels
            at = following.end() - 2
    return True


def _of_j2k(frame: bytes) -> bool:
    if not frame.startswith(_J2K_FIRST):
        return True  # within boxes, which hold anything
    at, tile = 2, 0
    for _ in range(_MOST_SEGMENTS):
        marker, length = unpack_from(">HH", frame, at) if at + 4 <= len(frame) else (_J2K_END, 0)
        if marker == _J2K_END:
            return _is_followed(frame, at + 2)
        if marker == _J2K_COMMENT and not _J2K_MAKERS.fullmatch(frame, at + 4, at + 2 + length):
            return True
        if marker == _J2K_TILE:
            (tile_bytes,) = unpack_from(">L", frame, at + 6)
            tile = at + tile_bytes if tile_bytes else frame.rindex(b"\xff\xd9", at)
        if marker == _J2K_DATA:
            if tile <= at:
                return True
            at = tile
        else:
            at += 2 + length
    return True


def _is_followed(frame: bytes, at: int) -> bool:
    """Whether anything but padding stands there."""
    return bool(frame[at:].strip(b"\0\xff"))
