"""What a profile may let stand, by the options of PS3.15, each with the code under which a file states it (CID 7050)."""

from enum import StrEnum
from typing import Final

BASIC: Final = ("113100", "Basic Application Confidentiality Profile")


class Profile(StrEnum):
    """Profiles of PS3.15, annex E."""

    BASIC = "basic"


class Keep(StrEnum):
    """What stays."""

    CHARACTERISTICS = "characteristics"
    DEVICE = "device"
    DATES_MODIFIED = "dates-modified"

    @property
    def code(self) -> tuple[str, str]:
        """Code and meaning."""
        return _CODES[self]


_CODES: Final = {
    Keep.CHARACTERISTICS: ("113108", "Retain Patient Characteristics Option"),
    Keep.DEVICE: ("113109", "Retain Device Identity Option"),
    Keep.DATES_MODIFIED: ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
}
