"""What stands in the place of identifiers: the same for the same one, in every file and every run with one key.

Each is drawn by HMAC-SHA-256 from the key, what it is for, and the old value, so nobody without the key gets back, or can
try names until one fits.
"""

import hashlib
import hmac
from typing import Final

_LABEL: Final = b"platform-assets deidentify"
_MOST_DAYS: Final = 3650
_PATIENT_DIGITS: Final = 15
_UUID_BYTES: Final = 16
_VERSION, _VARIANT = 0x8, 0x2
"""Of UUIDs whose bits are of their maker's choice (RFC 9562, 5.8)."""


class Pseudonyms:
    """Draws them."""

    def __init__(self, key: bytes) -> None:
        """Use a key.

        Args:
            key: Secret; who has it can tell whose a pseudonym is.
        """
        self._key = key

    def uid(self, old: str) -> str:
        """A UID by UUID (PS3.5, B.2), at most 44 characters."""
        number = int.from_bytes(self._drawn("uid", old)[:_UUID_BYTES], "big")
        number = number & ~(0xF << 76) | _VERSION << 76
        return f"2.25.{number & ~(0x3 << 62) | _VARIANT << 62}"

    def patient(self, old: str) -> str:
        """An id of a patient, which is none of any hospital: P and 15 digits."""
        number = int.from_bytes(self._drawn("patient", old)[:8], "big")
        return f"P{number % 10**_PATIENT_DIGITS:0{_PATIENT_DIGITS}}"

    def days(self, patient: str) -> int:
        """By how many days all dates of a patient become earlier: 1 to 3650."""
        return 1 + int.from_bytes(self._drawn("days", patient)[:8], "big") % _MOST_DAYS

    def _drawn(self, kind: str, old: str) -> bytes:
        return hmac.new(self._key, b"\0".join((_LABEL, kind.encode(), old.encode())), hashlib.sha256).digest()
