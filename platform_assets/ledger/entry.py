"""One entry of the ledger: format 1, which is final.

An entry is one RFC 8785 (canonical JSON) object, kept verbatim:

    {"body": {…}, "fingerprint": str, "kind": str, "previous_hash": hex, "principal": str,
     "schema_version": 1, "seq": N, "subject": str, "time": "2026-11-22T15:00:00.123456Z"}

`seq` counts from 1. `previous_hash` is the SHA-256 of the previous entry's bytes, 64 zeros for the
first, so the hash of the last entry vouches for all before it. (kind, subject, fingerprint) is the
idempotency key. The bytes are the only truth; every field is parsed from them.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

import orjson
import rfc8785

from platform_assets.ledger.errors import LedgerError

SCHEMA_VERSION = 1
GENESIS = "0" * 64
"""The previous hash of the first entry."""

# In canonical form the keys are sorted, so a valid entry has just these, in just this order.
_FIELDS = (
    "body",
    "fingerprint",
    "kind",
    "previous_hash",
    "principal",
    "schema_version",
    "seq",
    "subject",
    "time",
)
_TYPES = [dict, str, str, str, str, int, int, str, str]
_TIME = re.compile(r"\d{4}-\d\d-\d\dT([01]\d|2[0-3]):\d\d:\d\d\.\d{6}Z", re.ASCII)

_LARGEST_EXACT_INTEGER = 2**53 - 1
_SORTED_AND_EXACT = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
_LOOKED_INTO = {float, dict, list}
_SMALLEST_ALIKE = 1e-5
"""From here on up orjson and RFC 8785 write every float that has a fraction in the same way."""
_BEYOND_D7FF = bytes(range(0xEE, 0x100))
"""The first bytes of U+E000 and all beyond in UTF-8."""


class Entry(NamedTuple):
    """One entry. Every field is parsed from `raw`, the verbatim bytes."""

    seq: int
    hash: str
    """SHA-256 of `raw`, hexadecimal."""
    kind: str
    subject: str
    fingerprint: str
    raw: bytes
    previous_hash: str
    time: datetime
    """UTC, microseconds."""
    principal: str
    body: dict[str, Any]

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """The entry that these bytes are.

        Raises:
            LedgerError: They are not exactly one entry of format 1 in canonical form.
        """
        document = _read_fast(raw)
        if document is None:
            document = _read_exactly(raw)
        if type(document) is not dict or tuple(document) != _FIELDS:
            raise LedgerError("not the fields of a ledger entry")
        body, fingerprint, kind, previous_hash, principal, version, seq, subject, text = document.values()
        if not (
            type(body) is dict
            and type(version) is type(seq) is int
            and type(fingerprint) is type(kind) is type(previous_hash) is str
            and type(principal) is type(subject) is type(text) is str
        ):
            raise LedgerError("not the types of a ledger entry's fields")
        if version != SCHEMA_VERSION:
            raise LedgerError(f"not of schema version {SCHEMA_VERSION}: a newer program may have written it")
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            time = None
        if time is None or not _TIME.fullmatch(text):
            raise LedgerError(f"time {text!r} is not written as 2026-11-22T15:00:00.123456Z")
        return cls(seq, sha256(raw), kind, subject, fingerprint, raw, previous_hash, time, principal, body)


# --- Reading ---------------------------------------------------------------------------------------
# Canonical means that writing again what was read gives the same bytes. rfc8785 decides that, in pure
# Python; most entries are spared it, because orjson writes them alike in a tenth of the time.


def _read_fast(raw: bytes) -> Any:
    """What `_read_exactly` would return; None where that cannot be told without asking it.

    orjson writes sorted keys, no blanks and the shortest escapes, as RFC 8785 demands, and is told to
    refuse integers beyond 2^53 − 1. It differs in floats, which are therefore looked at one by one, and
    in the order of keys beyond U+D7FF, which RFC 8785 compares as UTF-16.
    """
    try:
        document = orjson.loads(raw)
        if type(document) is not dict or orjson.dumps(document, option=_SORTED_AND_EXACT) != raw:
            return None
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None
    if not raw.isascii() and len(raw.translate(None, _BEYOND_D7FF)) != len(raw):
        return None
    nodes: list[Any] = [document]
    for node in nodes:  # which grows on the way
        for value in node.values() if type(node) is dict else node:
            if (kind := type(value)) in _LOOKED_INTO:
                if kind is not float:
                    nodes.append(value)
                elif value.is_integer() or -_SMALLEST_ALIKE < value < _SMALLEST_ALIKE:
                    return None
    return document


def _read_exactly(raw: bytes) -> Any:
    try:
        document = json.loads(raw.decode(), parse_int=_parse_integer)
        is_canonical = rfc8785.dumps(document) == raw
    except (ValueError, RecursionError) as error:
        raise LedgerError(f"not canonical JSON ({error})") from error
    if not is_canonical:
        raise LedgerError("not canonical JSON")
    return document


def _parse_integer(digits: str) -> int | float:
    """RFC 8785 writes the float 1e20 as an integer; no int beyond 2^53 − 1 was ever written."""
    integer = int(digits)
    return integer if abs(integer) <= _LARGEST_EXACT_INTEGER else float(digits)


# --- Writing ---------------------------------------------------------------------------------------


def canonical(value: object, name: str) -> bytes:
    """RFC 8785 bytes of `value`, which `name` stands for in messages.

    Raises:
        LedgerError: JSON cannot hold it exactly; the message names the path to the culprit.
    """
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]  # judging arbitrary values is its task
    except ValueError as error:
        raise LedgerError(f"{_path_to_culprit(value, name)} cannot be recorded: {error}") from error


def fingerprint_of(**parts: object) -> str:
    """SHA-256 over the canonical form of the named parts."""
    return sha256(canonical(parts, "fingerprint"))


def sha256(raw: bytes) -> str:
    """Hexadecimal."""
    return hashlib.sha256(raw).hexdigest()


def format_time(time: datetime) -> str:
    """As entries carry it: UTC, microseconds, `Z`.

    Raises:
        LedgerError: It has no time zone.
    """
    if time.tzinfo is None:
        raise LedgerError(f"time {time} has no time zone")
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _path_to_culprit(value: object, path: str) -> str:
    children: Iterable[tuple[object, str]] = ()
    if isinstance(value, dict):
        children = ((child, f"{path}.{key}") for key, child in value.items())
    elif isinstance(value, list | tuple):
        children = ((child, f"{path}[{index}]") for index, child in enumerate(value))
    for child, child_path in children:
        try:
            rfc8785.dumps(child)  # type: ignore[arg-type]
        except ValueError:
            return _path_to_culprit(child, child_path)
    return path
