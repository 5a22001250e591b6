"""The salt of row hashes: without it nobody can guess a value and check the guess against a hash."""

import hashlib
import hmac
import os
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Final
from uuid import uuid4

from resources.errors import ResourceError

SALT_VARIABLE: Final = "PLATFORM_ROW_SALT"
_SALT_BYTES: Final = 32
_FEWEST_CHARACTERS: Final = 16


class RowSaltError(ResourceError):
    """The salt is missing, too short or cannot be read."""


def row_salt(home: Path) -> bytes:
    """The salt: the environment variable PLATFORM_ROW_SALT, else the file `<home>/keys/row-salt`.

    The file is made once, readable by its owner alone; of several processes that make it at once, all get
    the same salt. Every machine that must recognise a row needs the same one.

    Raises:
        RowSaltError: the salt has fewer than 16 characters, or its file cannot be read or made.
    """
    stated = os.environ.get(SALT_VARIABLE)
    if stated is not None:
        return _checked(stated, SALT_VARIABLE)
    file = home / "keys" / "row-salt"
    try:
        if not file.exists():
            _make(file)
        return _checked(file.read_text(encoding="ascii"), str(file))
    except (OSError, UnicodeDecodeError) as problem:
        raise RowSaltError(
            f"{file}: cannot be read or made ({type(problem).__name__}); set {SALT_VARIABLE} instead"
        ) from None


def salted_hash(salt: bytes, value: bytes) -> str:
    """HMAC-SHA256 of the value under the salt, hexadecimal."""
    return hmac.new(salt, value, hashlib.sha256).hexdigest()


def _make(file: Path) -> None:
    """Write a new salt, whole or not at all; another process's salt stays."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    incoming = file.with_name(f"{file.name}.{uuid4().hex}")
    try:
        descriptor = os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as sink:
            sink.write(token_hex(_SALT_BYTES))
            sink.flush()
            os.fsync(sink.fileno())
        # A link, unlike a rename, never replaces the file of whoever came first.
        with suppress(FileExistsError):
            os.link(incoming, file)
    finally:
        incoming.unlink(missing_ok=True)


def _checked(text: str, place: str) -> bytes:
    salt = text.strip()
    if len(salt) < _FEWEST_CHARACTERS:
        raise RowSaltError(
            f"{place}: holds {len(salt)} characters; a salt needs at least {_FEWEST_CHARACTERS}, "
            f'e.g. python -c "import secrets; print(secrets.token_hex())"'
        )
    return salt.encode()
