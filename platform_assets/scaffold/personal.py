"""Personal data: told by what a column is called, and by what its values look like.

Only descriptions leave this module, never a value.
"""

import re
from collections.abc import Sequence
from typing import Final

_FEWEST: Final = 0.2
"""Share of the values that must look alike: one cell that looks like a phone number makes no column of them."""

_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD: Final = re.compile(r"[^\W\d_]+|\d+")

# A column of one of these names tells who somebody is, if it has many values.
_NAMED: Final[tuple[tuple[str, frozenset[str]], ...]] = (
    ("e-mail addresses", frozenset({"email", "emails", "e mail", "mail address"})),
    (
        "phone numbers",
        frozenset({"phone", "telephone", "mobile", "cellphone", "fax", "phone number", "msisdn"}),
    ),
    (
        "official numbers of people",
        frozenset(
            {"ssn", "social security", "passport", "tax id", "national id", "nino", "licence", "license"}
        ),
    ),
    (
        "bank accounts or payment cards",
        frozenset({"iban", "bic", "card number", "credit card", "account number"}),
    ),
    ("dates of birth", frozenset({"birth", "birthday", "birthdate", "dob", "born"})),
    (
        "addresses",
        frozenset({"address", "addr", "street", "zip", "zipcode", "postcode", "postal", "postal code"}),
    ),
    ("devices of people", frozenset({"ip", "ip address", "mac address", "imei", "device id", "cookie"})),
)
_NAMES: Final = frozenset(
    {"name", "names", "firstname", "lastname", "surname", "forename", "fullname", "username"}
)
_WHOSE_NAME: Final = re.compile(
    "first|last|middle|full|given|family|maiden|user|customer|client|patient|person|passenger|employee|contact"
)
_PROTECTED: Final = re.compile(
    "sex|gender|race|ethnicity|ethnic|religion|nationality|disability|pregnant|orientation|foreign|citizenship"
)

_PATTERNS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    ("e-mail addresses", re.compile(r"[^@\s]@[A-Za-z0-9-]+\.[A-Za-z]{2}")),
    ("official numbers of people", re.compile(r"\A\s*\d{3}-\d{2}-\d{4}\s*\Z")),
    (
        "devices of people",
        re.compile(r"\A\s*\d{1,3}(\.\d{1,3}){3}\s*\Z|\A\s*([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\s*\Z"),
    ),
    (
        "phone numbers",
        re.compile(
            r"\A\s*(\+[\d ()./-]{8,}|\(?0?[2-9]\d{1,3}\)?[ ./-]{1,2}\d{3}[ ./-]?\d{3,5}|0\d{8,12})\s*\Z"
        ),
    ),
    ("names of people", re.compile(r"(\A|\s)(Mr|Mrs|Miss|Ms|Dr|Herr|Frau|Mme|Sr|Sra)\.?\s+\S")),
    (
        "addresses",
        re.compile(
            r"(?i)\d+\S*\s+(\S+\s+){1,3}(street|st|road|rd|avenue|ave|lane|ln|drive|dr|blvd|court|way|place)\b|"
            r"\b\S+(straße|strasse|str\.|weg|gasse)\s+\d|\b(rue|via|calle|avenida)\s+\S+.*\d"
        ),
    ),
)
_ACCOUNT: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_CARD: Final = re.compile(r"[0-9]{13,19}")


def personal_by_name(name: str) -> str:
    """What a column of this name holds of people, in words; empty where it says nothing of the kind."""
    words = words_of(name)
    joined = f" {' '.join(words)} "
    for what, names in _NAMED:
        if any(f" {each} " in joined for each in names):
            return what
    if _NAMES.intersection(words) and (len(words) == 1 or any(map(_WHOSE_NAME.fullmatch, words))):
        return "names of people"
    return ""


def personal_by_values(sample: Sequence[str]) -> str:
    """What the distinct values look like, in words; empty where they look like nothing of people."""
    if not sample:
        return ""
    enough = _FEWEST * len(sample)
    for what, pattern in _PATTERNS:
        if sum(bool(pattern.search(text)) for text in sample) >= enough:
            return what
    if sum(_is_account(text) for text in sample) >= enough:
        return "bank accounts or payment cards"
    return ""


def is_protected(name: str) -> bool:
    """Whether a column of this name is about what nobody may be treated worse for."""
    return any(map(_PROTECTED.fullmatch, words_of(name)))


def words_of(name: str) -> list[str]:
    """The words of a column's name, small: `CustomerID`, `customer_id` and `customer.id` are customer, id."""
    return [word.casefold() for word in _WORD.findall(_HUMP.sub(" ", name))]


def _is_account(text: str) -> bool:
    """Whether the check digits of an IBAN or of a payment card are right."""
    plain = re.sub(r"[\s-]", "", text)
    if _ACCOUNT.fullmatch(plain):
        return int("".join(str(int(each, 36)) for each in plain[4:] + plain[:4])) % 97 == 1
    if _CARD.fullmatch(plain):
        digits = [int(each) for each in reversed(plain)]
        doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
        return (sum(digits[::2]) + sum(doubled)) % 10 == 0
    return False
