"""Signed statements: a file that shows who decided, wherever it was carried.

One JSON object: the statement, and an Ed25519 signature over its RFC 8785 form:

    {"format": "signed-review-1", "statement": {…, "public_key": base64}, "signature": base64}

The private key is the person's own. No process of the platform needs it, and none is told it: whoever signs does so with a
file of a machine of their own.
"""

import base64
import binascii
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict
from pydantic import ValidationError as PydanticValidationError

from platform_assets.governance.errors import ReviewError
from platform_assets.governance.review_statement import Statement
from platform_assets.ledger.entry import canonical
from platform_assets.manifest import first_problem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_KEY_BYTES = 32
_KEYGEN = "`platform-assets review keygen` makes one"


class SignedStatement(BaseModel):
    """A statement with its signature. One that `sign` or `read_signed` returned is genuine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["signed-review-1"] = "signed-review-1"
    statement: Statement
    signature: str
    """Base64, Ed25519."""

    def to_json(self) -> bytes:
        """The RFC 8785 form."""
        return canonical(self.model_dump(mode="json", exclude_none=True), "signed review")


def sign(statement: Statement, key: "Ed25519PrivateKey") -> SignedStatement:
    """The statement, signed.

    Raises:
        ReviewError: It is to be signed by another key, as the platform knows the person.
    """
    public_key = _encoded(key.public_key().public_bytes_raw())
    if statement.public_key != public_key:
        known = statement.public_key or "none"
        raise ReviewError(
            f"this key's public key is {public_key}, and that of {statement.printed_name} at the platform is {known}: sign with "
            "the other one, or have somebody commit this one to reviewers.yaml and export the request again"
        )
    return SignedStatement(statement=statement, signature=_encoded(key.sign(statement.to_json())))


def read_signed(raw: bytes, *, name: str) -> SignedStatement:
    """The signed statement that a file holds, with its signature checked.

    Args:
        raw: The file.
        name: Of the file, for messages.

    Raises:
        ReviewError: It holds none, or the signature is not by the key that it names.
    """
    try:
        signed = SignedStatement.model_validate_json(raw)
    except PydanticValidationError as problem:
        raise ReviewError(
            f"{name} is no signed review: {first_problem(problem)}; `platform-assets review sign` makes one"
        ) from None
    if not is_signed_by(signed.statement.public_key, signed.statement, signed.signature):
        raise ReviewError(
            f"{name}: the signature is wrong: what it says was altered after {signed.statement.printed_name} signed it, or "
            "another key signed it; sign the request again"
        )
    return signed


def is_signed_by(public_key: str | None, statement: Statement, signature: str) -> bool:
    """Whether a signature is over this statement, and by this key (base64)."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(_decoded(public_key or ""))
        key.verify(_decoded(signature), statement.to_json())
    except (ValueError, InvalidSignature):
        return False
    return True


def new_review_key() -> tuple[str, str]:
    """A new private key and its public key, both base64."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    return _encoded(key.private_bytes_raw()), _encoded(key.public_key().public_bytes_raw())


def read_review_key(file: Path) -> "Ed25519PrivateKey":
    """The private key in a file: base64 of its 32 bytes.

    Raises:
        ReviewError: The file cannot be read or holds none; nothing of it is told.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        given = file.read_bytes()
    except OSError as problem:
        raise ReviewError(
            f"{file} cannot be read ({problem.strerror}); name the file of your key, {_KEYGEN}"
        ) from None
    try:
        return Ed25519PrivateKey.from_private_bytes(_decoded(given.decode("ascii").strip()))
    except ValueError:
        # Neither the value nor anything derived from it is told.
        raise ReviewError(f"{file} does not hold a key, base64 of {_KEY_BYTES} bytes; {_KEYGEN}") from None


def _encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decoded(text: str) -> bytes:
    """Raises ValueError where this is not the one way to write the bytes in base64."""
    raw = base64.b64decode(text, validate=True)
    if _encoded(raw) != text:
        raise binascii.Error("not canonical base64")
    return raw
