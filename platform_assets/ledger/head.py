"""Heads: how far a chain goes. Kept elsewhere, and better signed, a head anchors everything before it.

A head document is one JSON object; with a key it is signed:

    {"count": N, "format": "ledger-head-1", "hash": hex, "time": "2026-11-22T15:00:00.123456Z",
     "public_key": base64, "signature": base64}

`count` and `hash` are those of the last entry. The signature is Ed25519 over the RFC 8785 form of the
rest, `public_key` included. It shows that whoever holds the key vouched for the chain up to there;
whose key it is, only a copy of the public key from elsewhere can tell.
"""

import base64
import binascii
import os
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from platform_assets.ledger.entry import GENESIS, canonical, format_time
from platform_assets.ledger.errors import LedgerError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNING_KEY_VARIABLE = "PLATFORM_LEDGER_SIGNING_KEY"
"""Environment variable with the private key: base64 of its 32 bytes, as `new_key_pair` makes it."""

_KEY_BYTES = 32


@dataclass(frozen=True)
class Head:
    """How long a chain is, and the hash of its last entry."""

    count: int
    hash: str


EMPTY = Head(0, GENESIS)


class HeadDocument(BaseModel):
    """A head to be kept elsewhere. One that `seal` or `read_head` returned is genuine, where it is signed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["ledger-head-1"] = "ledger-head-1"
    count: int = Field(ge=0)
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    time: str
    """When it was made, as entries write it."""
    public_key: str | None = None
    signature: str | None = None

    @property
    def head(self) -> Head:
        """What it says about the chain."""
        return Head(self.count, self.hash)

    def to_json(self) -> bytes:
        """Its RFC 8785 form, without the fields that it does not have."""
        return canonical(self.model_dump(exclude_none=True), "head")

    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return canonical(self.model_dump(exclude_none=True, exclude={"signature"}), "head")


def seal(head: Head, *, time: datetime, key: "Ed25519PrivateKey | None" = None) -> HeadDocument:
    """The document of a head, signed where there is a key."""
    unsigned = HeadDocument(
        count=head.count,
        hash=head.hash,
        time=format_time(time),
        public_key=None if key is None else _encoded(key.public_key().public_bytes_raw()),
    )
    if key is None:
        return unsigned
    return unsigned.model_copy(update={"signature": _encoded(key.sign(unsigned.signed_bytes()))})


def read_head(raw: bytes, *, public_key: str | None = None) -> HeadDocument:
    """The document that these bytes are.

    Args:
        raw: What `HeadDocument.to_json` gave, or any other JSON form of it.
        public_key: Who must have signed it (base64); without it, whoever signed it will do.

    Raises:
        LedgerError: It is no head document, its signature is wrong, or it is not signed by `public_key`.
    """
    try:
        document = HeadDocument.model_validate_json(raw)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "content"
        raise LedgerError(f"not a head document of this format: {where}: {problem['msg']}") from error
    if public_key is not None and document.public_key != public_key:
        signer = "nobody" if document.public_key is None else document.public_key
        raise LedgerError(f"the head must be signed by {public_key}; it is signed by {signer}")
    if (document.public_key, document.signature) != (None, None):
        _check_signature(document)
    return document


def signing_key() -> "Ed25519PrivateKey | None":
    """The private key that the environment gives.

    Raises:
        LedgerError: The variable is set and holds no key.
    """
    given = os.environ.get(SIGNING_KEY_VARIABLE)
    if not given:
        return None
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        return Ed25519PrivateKey.from_private_bytes(_decoded(given))
    except ValueError:
        # Neither the value nor anything derived from it is told.
        raise LedgerError(
            f"{SIGNING_KEY_VARIABLE} is not base64 of {_KEY_BYTES} bytes; "
            "`platform-assets ledger keygen` makes a key"
        ) from None


def new_key_pair() -> tuple[str, str]:
    """A new private key and its public key, both base64."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    return _encoded(key.private_bytes_raw()), _encoded(key.public_key().public_bytes_raw())


def _check_signature(document: HeadDocument) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(_decoded(document.public_key or ""))
        key.verify(_decoded(document.signature or ""), document.signed_bytes())
    except (ValueError, InvalidSignature) as error:
        raise LedgerError(
            "the signature of the head is wrong: the head was altered, or another key made it"
        ) from error


def _encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decoded(text: str) -> bytes:
    """Raises ValueError where this is not the one way to write the bytes in base64."""
    raw = base64.b64decode(text, validate=True)
    if _encoded(raw) != text:
        raise binascii.Error("not canonical base64")
    return raw
