"""Whether a value is one that its attribute can have: its representation (PS3.5, table 6.2-1) and how many (PS3.6).

A number, a date or a code leaves little room for anything else, as long as nobody writes text where it belongs, gives
the attribute another representation, or lets more values follow. Text has no form; what may be text is asked elsewhere.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final

_SEPARATOR: Final = b"\\"
_PADDING: Final = b" \0"
_NAME_PART: Final = b"^"
_LONGEST: Final = 64
"""Bytes of one number, date or code. Numbers of text are longer than the standard's 16 in many honest files."""
_PATTERNS: Final = {
    "AS": rb"[0-9]{3}[DWMY]",
    "CS": rb"[A-Z0-9 _]{1,16}",
    "DA": rb"[0-9]{4}(\.?)[0-9]{2}\1[0-9]{2}",
    "DS": rb"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?",
    "DT": rb"[0-9]{4,14}(?:\.[0-9]{1,6})?(?:[-+][0-9]{4})?",
    "IS": rb"[-+]?[0-9]{1,12}",
    "TM": rb"[0-9]{2}(?::?[0-9]{2}){0,2}(?:\.[0-9]{1,6})?",
    "UI": rb"[0-9]+(?:\.[0-9]+)*",
}
_WIDTHS: Final = {"AT": 4, "FD": 8, "FL": 4, "SL": 4, "SS": 2, "SV": 8, "UL": 4, "US": 2, "UV": 8}
_TEXTS: Final = frozenset({"LO", "LT", "SH", "ST", "UC", "UR", "UT"})
"""One may stand for another: all are text, and are asked for as that."""
_SPECIAL: Final = {
    0x00080005: rb"ISO_IR [0-9]{1,3}|ISO 2022 IR [0-9]{1,3}|GB18030|GBK",
    0x00080100: rb"[A-Za-z0-9._/+-]{1,16}",
    0x00080102: rb"[A-Za-z0-9._-]{1,16}",
}
"""Specific Character Set, Code Value and Coding Scheme Designator, whose terms have a form though they are text."""
_FREE: Final = _TEXTS | {"AE", "OB", "OD", "OF", "OL", "OV", "OW", "UN"}
_MANY_BYTES: Final = 64

_Fits = Callable[[bytes], bool]


def fits(tag: int, vr: str | None, value: Any) -> bool:
    """Whether an attribute can have this value; True of what stands in no dictionary.

    Args:
        tag: Of the attribute.
        vr: The representation that the file gives it; None where it gives none.
        value: Bytes as the file has them, or what pydicom has made of them by itself.
    """
    if not isinstance(value, bytes):
        return isinstance(value, int) or _is_sequence(tag)
    return any(fit(value) for fit in _forms(tag, vr))


def is_free(tag: int, value: Any) -> bool:
    """Whether an attribute's value is text, bytes, or so many numbers that they could be either."""
    representations = _entry(tag)[0]
    return not _FREE.isdisjoint(representations) or (
        isinstance(value, bytes)
        and len(value) > _MANY_BYTES
        and not _WIDTHS.keys().isdisjoint(representations)
    )


def looks_like_a_name(tag: int, value: Any) -> bool:
    """Whether a text has what parts the names of a person, and stands in nothing else."""
    return isinstance(value, bytes) and _NAME_PART in value and not _TEXTS.isdisjoint(_entry(tag)[0])


@lru_cache(maxsize=1 << 14)
def _entry(tag: int) -> tuple[tuple[str, ...], int | None]:
    """Representations of an attribute, none where no dictionary has it, and how many values it may have at most."""
    from pydicom.datadict import get_entry

    try:
        vr, vm, *_ = get_entry(tag)
    except KeyError:
        return (), None
    most = vm.rpartition("-")[2]
    return tuple(vr.split(" or ")), int(most) if most.isdigit() else None


def _is_sequence(tag: int) -> bool:
    known, _ = _entry(tag)
    return not known or "SQ" in known


@lru_cache(maxsize=1 << 14)
def _forms(tag: int, vr: str | None) -> tuple[_Fits, ...]:
    known, most = _entry(tag)
    if not known:
        return (_anything,)
    stated: Iterable[str] = known if vr in (None, "UN") else [vr] if vr in known else []
    if special := _SPECIAL.get(tag):
        return (_text_form(special, None),) if vr in (None, "UN", *known) else ()
    if vr in _TEXTS and not _TEXTS.isdisjoint(known):
        return (_anything,)
    return tuple(_form(each, most) for each in stated)


def _form(vr: str, most: int | None) -> _Fits:
    if pattern := _PATTERNS.get(vr):
        return _text_form(pattern, most)
    if width := _WIDTHS.get(vr):
        return lambda value: len(value) % width == 0 and (most is None or len(value) <= width * most)
    return _anything


def _text_form(pattern: bytes, most: int | None) -> _Fits:
    fullmatch = re.compile(pattern).fullmatch

    def fit(value: bytes) -> bool:
        values = value.split(_SEPARATOR)
        if most is not None and len(values) > most:
            return False
        plain = [each.strip(_PADDING) for each in values]
        return all(len(each) <= _LONGEST and fullmatch(each) for each in plain if each)

    return fit


def _anything(value: bytes) -> bool:  # noqa: ARG001 - text and bytes have no form
    return True
