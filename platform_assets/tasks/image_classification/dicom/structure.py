"""Whether what a parser shows of a file is all that is in it.

pydicom keeps the last of several elements with one tag, so that a name could stand in a file and be seen by nobody who
asks for it. DICOM wants tags in ascending order in each data set (PS3.5, 7.1), which leaves no room for a second one.
Only tags and lengths are read here, before anybody makes objects of them: half a million empty items fit into the bytes
of a header, and take a gigabyte as objects.
"""

from struct import error as StructError  # noqa: N812 - it is a class, whatever its name
from struct import unpack_from
from typing import Final

from platform_assets.tasks.image_classification.dicom.files import FileProblemError
from platform_assets.tasks.image_classification.dicom.standard import vr_of

_ITEM, _ITEM_END, _ITEMS_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED: Final = 0xFFFFFFFF
_LONG: Final = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
"""Representations whose length has four bytes."""
_MOST_DEPTH: Final = 64
HEADER_TOO_LARGE: Final = "dicom.image.header_too_large"


class _DisorderError(Exception):
    """A tag is not above the one before, or something is no element."""


def is_in_order(
    content: bytes, start: int, end: int, *, is_implicit: bool, is_little: bool, most: int, last: int = -1
) -> bool:
    """Whether the tags of a data set, and of all within it, ascend, and its elements end where it ends.

    Args:
        content: A file.
        start: Where the data set begins.
        end: Where it ends.
        is_implicit: Whether representations are not told.
        is_little: Whether the least byte comes first.
        most: How many attributes and items there may be.
        last: The tag before its first.

    Raises:
        FileProblemError: There are more.
    """
    walk = _Walk(content, "<" if is_little else ">", is_implicit=is_implicit, most=most)
    try:
        return walk.over(start, end, last, 0) == end
    except (_DisorderError, StructError):
        return False


class _Walk:
    """Goes from element to element."""

    def __init__(self, content: bytes, order: str, *, is_implicit: bool, most: int) -> None:
        self._content, self._is_implicit, self._left = content, is_implicit, most
        self._tag, self._long, self._short = f"{order}HH", f"{order}L", f"{order}H"

    def over(self, at: int, end: int, last: int, depth: int) -> int:
        """Where a data set ends."""
        if depth > _MOST_DEPTH:
            raise _DisorderError
        while at < end:
            tag, vr, length, start = self._element(at)
            if tag == _ITEM_END and depth:
                return start
            if tag <= last:
                raise _DisorderError
            last = tag
            is_sequence = vr == b"SQ" or (vr in (None, b"UN") and vr_of(tag) == "SQ")
            if length == _UNDEFINED:
                # Of what no dictionary knows, only sequences have no length; of other values, only pixels in fragments.
                is_sequence = is_sequence or vr in (None, b"UN")
                at = self._items(start, end, depth, is_sequence=is_sequence, is_closed=True)
                continue
            at = start + length
            if at > end:
                raise _DisorderError
            if is_sequence and length:
                self._items(start, at, depth, is_sequence=True, is_closed=False)
        return at

    def _items(self, at: int, end: int, depth: int, *, is_sequence: bool, is_closed: bool) -> int:
        while at < end:
            tag, length = self._marker(at)
            at += 8
            if tag == _ITEMS_END and is_closed:
                return at
            if tag != _ITEM:
                raise _DisorderError
            if length == _UNDEFINED:
                at = self.over(at, end, -1, depth + 1)
                continue
            if at + length > end:
                raise _DisorderError
            if is_sequence and self.over(at, at + length, -1, depth + 1) != at + length:
                raise _DisorderError
            at += length
        if is_closed:
            raise _DisorderError
        return at

    def _marker(self, at: int) -> tuple[int, int]:
        self._left -= 1
        if self._left < 0:
            raise FileProblemError(HEADER_TOO_LARGE)
        group, element = unpack_from(self._tag, self._content, at)
        (length,) = unpack_from(self._long, self._content, at + 4)
        return group << 16 | element, length

    def _element(self, at: int) -> tuple[int, bytes | None, int, int]:
        """Tag, representation where it is told, length and start of the value of an element."""
        tag, length = self._marker(at)
        vr = self._content[at + 4 : at + 6]
        # Within sequences some write no representation where others stand, as pydicom has it too.
        if self._is_implicit or tag == _ITEM_END or not b"AA" <= vr <= b"ZZ":
            return tag, None, length, at + 8
        if vr in _LONG:
            (length,) = unpack_from(self._long, self._content, at + 8)
            return tag, vr, length, at + 12
        (length,) = unpack_from(self._short, self._content, at + 6)
        return tag, vr, length, at + 8
