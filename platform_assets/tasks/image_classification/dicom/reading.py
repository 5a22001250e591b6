"""A DICOM file read without trust: its header within bounds, and where its pixels lie, which nobody has looked at yet.

pydicom parses; what goes wrong in it is told by the rule that the file breaks, since its own messages quote values.
Values stay as the file has them (`RawDataElement`) until somebody asks: most are only looked at for being there.
"""

import io
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from struct import unpack_from
from typing import TYPE_CHECKING, Any, Final

from platform_assets.tasks.image_classification.dicom.files import UNREADABLE, FileProblemError
from platform_assets.tasks.image_classification.dicom.limits import Limits
from platform_assets.tasks.image_classification.dicom.structure import HEADER_TOO_LARGE, is_in_order

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

NOT_DICOM: Final = "dicom.image.not_dicom"
TRUNCATED: Final = "dicom.image.truncated"
INFLATES: Final = "dicom.image.inflates"
TRANSFER_SYNTAX: Final = "dicom.image.transfer_syntax"

IMPLICIT: Final = "1.2.840.10008.1.2"
BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
NATIVE: Final = frozenset({IMPLICIT, BIG_ENDIAN, DEFLATED, "1.2.840.10008.1.2.1"})
"""Transfer syntaxes whose pixels are as they are; those of others are compressed."""

PIXEL_DATA: Final = 0x7FE00010
_ANY_PIXELS: Final = frozenset({PIXEL_DATA, 0x7FE00008, 0x7FE00009})
_ITEM, _ITEMS_END = 0xFFFEE000, 0xFFFEE0DD
_UNDEFINED: Final = 0xFFFFFFFF
_LONG_FORMS: Final = frozenset({b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN"})
_BEFORE_META, _FIRST_BEHIND_META = 0x0001FFFF, 0x00030000
_PREAMBLE_BYTES: Final = 128
_PREFIX_BYTES: Final = 132
_READS_AN_ELEMENT: Final = 4


class _Bounded(io.BytesIO):
    """Bytes that are read by so many reads and up to so far, and never in part."""

    def __init__(self, content: bytes, limits: Limits) -> None:
        super().__init__(content)
        self._left = limits.header_elements * _READS_AN_ELEMENT
        self._most = limits.header_bytes
        self._end = limits.header_bytes

    def allow_from(self, start: int) -> None:
        """Go to `start`; the bound holds from there."""
        self.seek(start)
        self._end = start + self._most

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes, all that are asked for, or none at the end."""
        got = super().read(size)
        self._left -= 1
        if self._left < 0 or self.tell() > self._end:
            raise FileProblemError(HEADER_TOO_LARGE)
        if size is not None and 0 < len(got) < size:
            raise FileProblemError(TRUNCATED)
        return got


@dataclass(frozen=True, slots=True)
class Pixels:
    """Where the pixels of a file lie."""

    start: int
    """Of the value, in the file's bytes, or in what they inflate to."""
    length: int
    is_encapsulated: bool


@dataclass(frozen=True, slots=True)
class Header:
    """A file's attributes, without its pixels. `text`, `texts` and `number` read those of the top level."""

    attributes: "Dataset" = field(repr=False)
    meta: "Dataset" = field(repr=False)
    transfer_syntax: str = field(repr=False)
    is_little_endian: bool
    has_preamble: bool
    """Whether the 128 bytes that stand before everything, and belong to nobody, hold anything."""
    pixels: Pixels | None
    behind: "Dataset | None" = field(repr=False)
    """Attributes behind the pixels."""
    has_hidden_bytes: bool
    """Whether it holds bytes that are no attributes, or attributes that `attributes` does not show."""
    content: bytes = field(repr=False)
    """The whole file; inflated where it was deflated."""
    _elements: dict[int, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # pydicom's own access converts, which a value that is none may not survive; its tags compare slowly.
        elements = {int(tag): element for tag, element in self.attributes.items()}
        object.__setattr__(self, "_elements", elements)

    def has(self, tag: int) -> bool:
        """Whether the attribute is there, be it empty."""
        return tag in self._elements

    def raw(self, tag: int) -> Any:
        """Bytes of a value; a list of items of a sequence, None where there is nothing."""
        return value_of(self._elements.get(tag))

    def text(self, tag: int) -> str:
        """A value as text, without what pads it; empty where there is none."""
        return text_of(self.raw(tag))

    def spelt(self, tag: int) -> str:
        """A value in the letters that it spells, whatever their encoding; empty where there is none.

        For ids that people write: without it one person would be several, and whoever asks for the erasure is not found.
        """
        raw = self.raw(tag)
        if not isinstance(raw, bytes) or (raw.isascii() and b"\x1b" not in raw):
            return text_of(raw)
        spelt = _decoded(raw, self.texts(_CHARACTER_SET))
        return text_of(raw) if spelt is None else unicodedata.normalize("NFC", spelt).strip(" \0")

    def texts(self, tag: int) -> list[str]:
        """The values of an attribute that may have several."""
        return [part.strip() for part in text.split("\\")] if (text := self.text(tag)) else []

    def number(self, tag: int) -> int | None:
        """The first value of a binary number of 16 bits; None where there is none."""
        return self._first(tag, "h" if tag in _SIGNED else "H", 2)

    def items(self, tag: int) -> "list[Dataset]":
        """The items of a sequence; none where it is not there, or is none."""
        return items_of(self.attributes, tag)

    def _first(self, tag: int, form: str, width: int) -> int | None:
        raw = self.raw(tag)
        if isinstance(raw, int):
            return raw
        if not isinstance(raw, bytes) or len(raw) < width:
            return None
        (number,) = unpack_from(("<" if self.is_little_endian else ">") + form, raw)
        return int(number)


_CHARACTER_SET: Final = 0x00080005
_NO_LETTER: Final = "\ufffd"
"""What pydicom reads where bytes spell nothing."""
_SIGNED: Final = frozenset({0x00281041})
"""Pixel Intensity Relationship Sign."""


def value_of(element: Any) -> Any:
    """What an element holds, as it was read; None where it holds nothing.

    pydicom converts few elements by itself, as Pixel Representation, which others depend on.
    """
    value = None if element is None else element.value
    return None if isinstance(value, Sized) and len(value) == 0 else value


def element_of(attributes: "Dataset", tag: int) -> Any:
    """An element as it was read; None where there is none."""
    return next((element for each, element in attributes.items() if int(each) == tag), None)


def text_of(raw: Any) -> str:
    """Bytes as text, without what pads them. Which letters they spell matters to nobody here: all codes are ASCII."""
    return raw.decode("latin-1").strip(" \0") if isinstance(raw, bytes) else ""


def _decoded(raw: bytes, stated: Sequence[str]) -> str | None:
    """Bytes in the character sets that a file states, in UTF-8 where it states none; None where they are in neither."""
    from pydicom.charset import convert_encodings, decode_bytes

    try:
        if stated:
            text: str = decode_bytes(raw, convert_encodings(list(stated)), set())
            if _NO_LETTER not in text:
                return text
        return raw.decode("utf-8")
    except (LookupError, ValueError):
        return None


def items_of(attributes: "Dataset", tag: int) -> "list[Dataset]":
    """The items of a sequence of some attributes; none where it is not there, or is none.

    Raises:
        FileProblemError: They cannot be read.
    """
    from pydicom.sequence import Sequence as Items

    if element_of(attributes, tag) is None:
        return []
    try:
        value = attributes[tag].value
    except FileProblemError:
        raise
    except Exception:  # noqa: BLE001 - pydicom raises many kinds, whose messages quote values
        raise FileProblemError(UNREADABLE) from None
    return list(value) if isinstance(value, Items) else []


def is_dicom(content: bytes) -> bool:
    """Whether bytes say that they are a DICOM file."""
    return content[_PREFIX_BYTES - 4 : _PREFIX_BYTES] == b"DICM"


def read_header(content: bytes, limits: Limits) -> Header:
    """The header in a file's bytes. To be called within `quiet_pydicom`.

    Raises:
        FileProblemError: It is none, is cut short, goes beyond the limits, or is not in the transfer syntax that it states.
    """
    if not is_dicom(content):
        raise FileProblemError(NOT_DICOM)
    try:
        return _read_header(content, limits)
    except FileProblemError:
        raise
    except Exception:  # noqa: BLE001 - pydicom raises many kinds, RecursionError among them, whose messages quote values
        raise FileProblemError(UNREADABLE) from None


def _read_header(content: bytes, limits: Limits) -> Header:
    from pydicom.filereader import read_dataset

    stream = _Bounded(content, limits)
    stream.seek(_PREFIX_BYTES)
    meta = read_dataset(stream, False, True, stop_when=_behind_meta)  # noqa: FBT003 - pydicom's own order
    start, syntax = stream.tell(), text_of(value_of(element_of(meta, 0x00020010)))
    if not syntax:
        raise FileProblemError(TRANSFER_SYNTAX, ("TransferSyntaxUID",))
    has_preamble = not _is_blank(content[:_PREAMBLE_BYTES], 0)
    most = limits.header_elements
    is_hidden = not is_in_order(
        content, _PREFIX_BYTES, start, is_implicit=False, is_little=True, most=most, last=_BEFORE_META
    )
    if syntax == DEFLATED:
        content, is_left = _inflated(content[start:], limits)
        is_hidden = is_hidden or is_left
        start = 0
        stream = _Bounded(content, limits)
    stream.allow_from(start)
    is_implicit, is_little = syntax == IMPLICIT, syntax != BIG_ENDIAN
    stopped: list[int] = []

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:  # noqa: ARG001 - pydicom asks so
        if int(tag) not in _ANY_PIXELS:
            return False
        stopped[:] = [int(tag)]
        return True

    attributes = read_dataset(stream, is_implicit, is_little, stop_when=at_pixels)
    if attributes.original_encoding != (is_implicit, is_little):
        raise FileProblemError(TRANSFER_SYNTAX, ("TransferSyntaxUID",))
    end = stream.tell()
    is_ordered = is_in_order(content, start, end, is_implicit=is_implicit, is_little=is_little, most=most)
    is_hidden = is_hidden or not is_ordered
    if stopped != [PIXEL_DATA]:
        if end < len(content) and not stopped:
            raise FileProblemError(UNREADABLE)
        # Of pixels that are no integers nothing is looked at, nor what stands behind them.
        is_hidden = is_hidden or bool(stopped)
        return Header(attributes, meta, syntax, is_little, has_preamble, None, None, is_hidden, content)
    pixels, rest = _pixels(content, end, is_implicit=is_implicit, is_little=is_little, most=most)
    behind, is_left = _behind(stream, content, rest, lambda: read_dataset(stream, is_implicit, is_little))
    if behind is not None and not is_left:
        is_left = not is_in_order(
            content,
            rest,
            len(content),
            is_implicit=is_implicit,
            is_little=is_little,
            most=most,
            last=PIXEL_DATA,
        )
    is_hidden = is_hidden or is_left
    return Header(attributes, meta, syntax, is_little, has_preamble, pixels, behind, is_hidden, content)


def _behind_meta(tag: int, vr: str | None, length: int) -> bool:  # noqa: ARG001 - pydicom asks so
    return int(tag) >= _FIRST_BEHIND_META


def _is_blank(content: bytes, start: int) -> bool:
    return content.count(0, start) == len(content) - start


def _inflated(deflated: bytes, limits: Limits) -> tuple[bytes, bool]:
    """What it comes to, and whether other bytes follow it."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(deflated, limits.inflated_bytes)
    except zlib.error:
        raise FileProblemError(UNREADABLE) from None
    if inflater.unconsumed_tail:
        raise FileProblemError(INFLATES)
    if not inflater.eof:
        raise FileProblemError(TRUNCATED)
    return content, not _is_blank(inflater.unused_data, 0)


def _pixels(content: bytes, at: int, *, is_implicit: bool, is_little: bool, most: int) -> tuple[Pixels, int]:
    """Where the value of the pixel data that begin at `at` lies, and where it ends."""
    order = "<" if is_little else ">"
    is_long = not is_implicit and content[at + 4 : at + 6] in _LONG_FORMS
    start = at + (12 if is_long else 8)
    if start > len(content):
        raise FileProblemError(TRUNCATED)
    if is_implicit or is_long:
        (length,) = unpack_from(f"{order}L", content, start - 4)
    else:
        (length,) = unpack_from(f"{order}H", content, start - 2)
    if length != _UNDEFINED:
        if start + length > len(content):
            raise FileProblemError(TRUNCATED)
        return Pixels(start, length, is_encapsulated=False), start + length
    end = start
    for number, (tag, _, end) in enumerate(fragments(content, start)):
        if tag == _ITEMS_END:
            return Pixels(start, end - start, is_encapsulated=True), end
        if number > most:
            raise FileProblemError(HEADER_TOO_LARGE)
    raise FileProblemError(TRUNCATED)


def fragments(content: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """Tag, start of the value and end of each item of encapsulated pixels, which are little endian always."""
    while at + 8 <= len(content):
        group, element, length = unpack_from("<HHL", content, at)
        tag = group << 16 | element
        if tag not in (_ITEM, _ITEMS_END):
            raise FileProblemError(UNREADABLE)
        end = at + 8 + length
        if end > len(content):
            raise FileProblemError(TRUNCATED)
        yield tag, at + 8, end
        at = end


def _behind(
    stream: _Bounded, content: bytes, start: int, read: "Callable[[], Dataset]"
) -> "tuple[Dataset | None, bool]":
    """Attributes behind the pixels, and whether there are bytes that are none."""
    if _is_blank(content, start):
        return None, False
    stream.allow_from(start)
    try:
        found = read()
    except Exception:  # noqa: BLE001 - whatever is wrong with them, they are bytes that nobody can account for
        return None, True
    return found, stream.tell() < len(content)
