"""What the DICOM standard says that a gate needs, read from two small tables beside this file."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Final, Literal

COMPUTED_RADIOGRAPHY: Final = "1.2.840.10008.5.1.4.1.1.1"
DIGITAL_X_RAY: Final = frozenset({"1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1.1"})
"""For presentation, and for processing."""
STANDARD_UIDS: Final = "1.2.840.10008."
_HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Identifier:
    """An attribute that the Basic Application Level Confidentiality Profile takes away (PS3.15, table E.1-1)."""

    keyword: str
    action: str
    """As the table has it: X, Z, D, U, or several."""
    kept_by: str
    """Code of the option under which it may stay; `dates` for dates and times; empty for none."""

    @property
    def may_be_dummy(self) -> bool:
        """Whether the profile lets another value stand in its place."""
        return "Z" in self.action or "D" in self.action


@dataclass(frozen=True, slots=True)
class AttributeType:
    """What a module demands of an attribute."""

    tag: int
    keyword: str
    type: Literal["1", "2"]
    """1: it has a value. 2: it is there."""


@cache
def identifiers() -> dict[int, Identifier]:
    """The attributes of the profile, by tag."""
    return {
        int(row["tag"], 16): Identifier(row["keyword"], row["action"], row["kept_by"])
        for row in _rows("identifiers.csv")
    }


@cache
def attribute_types(sop_class: str) -> tuple[AttributeType, ...]:
    """What the mandatory modules of a class demand (PS3.3); nothing of classes that are neither CR nor DX."""
    column = (
        "computed_radiography"
        if sop_class == COMPUTED_RADIOGRAPHY
        else "digital_x_ray"
        if sop_class in DIGITAL_X_RAY
        else None
    )
    return tuple(
        AttributeType(int(row["tag"], 16), row["keyword"], "1" if row[column] == "1" else "2")
        for row in _rows("attribute_types.csv")
        if column and row[column]
    )


def tag_name(tag: int) -> str:
    """The keyword of an attribute; `(gggg,eeee)` of one that has none, such as a private one."""
    from pydicom.datadict import keyword_for_tag

    if found := identifiers().get(tag):
        return found.keyword
    return keyword_for_tag(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


@lru_cache(maxsize=1 << 14)
def vr_of(tag: int) -> str | None:
    """How the dictionary has an attribute's value; None of what stands in no dictionary."""
    from pydicom.datadict import dictionary_VR

    try:
        known: str = dictionary_VR(tag)
    except KeyError:
        return None
    return known


def _rows(name: str) -> Iterator[dict[str, str]]:
    with (_HERE / name).open(encoding="ascii", newline="") as file:
        yield from csv.DictReader(line for line in file if not line.startswith("#"))
