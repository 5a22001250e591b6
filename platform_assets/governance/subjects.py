"""Subjects: whom rows are about. An id tells them apart within its namespace only.

`applicant:4711` and `patient:4711` are two subjects. Wherever a subject is looked for, suppressed or
erased, it goes by both parts. The ledger knows it by a salted hash.
"""

import re
from dataclasses import dataclass
from numbers import Integral
from typing import Final, Self

from platform_assets.governance.errors import SubjectError
from resources.row_salt import salted_hash
from resources.warehouse import SUBJECT_NAMESPACE

REVIEW: Final = "review"
"""The namespace of all that earlier versions wrote: they knew reviews alone, by the SHA-256 of their texts."""

LARGEST_EXACT: Final = 2**53 - 1
"""Beyond it a float may stand for several whole numbers."""

_BARE_REVIEW = re.compile(r"[0-9a-f]{64}")
_NAMESPACED = b"\xff"
"""Begins what is hashed in all namespaces but `review`; no text does, in UTF-8."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Somebody, or something, that rows are about; `str` gives `namespace:id`.

    Raises:
        SubjectError: The namespace is none, or the id is blank or no text that could be written.

    Example:
        >>> Subject.parse("applicant:4711")
        Subject(namespace='applicant', id='4711')
        >>> str(Subject.parse("visit:2026:17"))
        'visit:2026:17'
    """

    namespace: str
    """Lower-case letters, digits, `_` and `-`, beginning with a letter: `applicant`."""
    id: str
    """Any text that is not blank; whole numbers are written without sign, point or leading zeros."""

    def __post_init__(self) -> None:
        checked_namespace(self.namespace)
        if not self.id.strip():
            raise SubjectError(
                f"a subject of namespace {self.namespace} has a blank id; write e.g. applicant:4711"
            )
        try:
            self.id.encode()
        except UnicodeEncodeError:
            raise SubjectError(
                f"the id of a subject of namespace {self.namespace} is no valid text; write it in UTF-8"
            ) from None

    @classmethod
    def parse(cls, text: str) -> Self:
        """The subject that a text names: `namespace:id`. 64 hexadecimal digits alone are a review.

        Raises:
            SubjectError: It names none.
        """
        if _BARE_REVIEW.fullmatch(text):
            return cls(REVIEW, text)
        namespace, colon, subject_id = text.partition(":")
        if not colon:
            # The text itself is not told: errors end up in logs.
            raise SubjectError(
                "the subject has no namespace, and its id alone may be that of several; "
                "write namespace:id, e.g. applicant:4711"
            )
        return cls(namespace, subject_id)

    def __str__(self) -> str:
        return f"{self.namespace}:{self.id}"

    def hashed(self, salt: bytes) -> str:
        """By what the ledger knows the subject: see `hash_of`."""
        return hash_of(self.namespace, self.id, salt)

    def written(self, salt: bytes) -> tuple[str, str]:
        """How a subject column may write the subject: its id, or the hash of one that readers must not see."""
        return self.id, self.hashed(salt)


def hash_of(namespace: str, subject_id: str, salt: bytes) -> str:
    """The salted hash of a subject, another one for each namespace and id.

    That of a review is over its bare id, as earlier versions have recorded it.
    """
    if namespace == REVIEW:
        return salted_hash(salt, subject_id.encode())
    # A namespace holds no colon, so no two pairs are written alike.
    return salted_hash(salt, _NAMESPACED + f"{namespace}:{subject_id}".encode())


def checked_namespace(namespace: str) -> str:
    """The namespace itself.

    Raises:
        SubjectError: It is none.
    """
    if not re.fullmatch(SUBJECT_NAMESPACE, namespace):
        raise SubjectError(
            f"{namespace!r} is no namespace of subjects; use lower-case letters, digits, _ and -, "
            "as in applicant:4711"
        )
    return namespace


def id_text(value: object) -> str | None:
    """An id of a column as the text by which ids are compared; None for a row about nobody.

    Whole numbers are what they are as integers, also where a missing neighbour has made them floats.

    Raises:
        SubjectError: The value can be no id.

    Example:
        >>> id_text("4711"), id_text(4711), id_text(4711.0), id_text(float("nan"))
        ('4711', '4711', '4711', None)
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Integral) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        if value != value:  # noqa: PLR0124 - NaN
            return None
        if value.is_integer() and abs(value) <= LARGEST_EXACT:
            return str(int(value))
    raise SubjectError(f"a {type(value).__name__} cannot be a subject's id; use texts or whole numbers")
