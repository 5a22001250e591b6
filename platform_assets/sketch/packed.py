"""Bytes of profiles and histograms: a format with a version, which every later version of this code reads.

8 bytes     what it is, such as `DRIFTREF`
uint16      version of the format
uint32      length of the header
header      JSON, UTF-8
arrays      one after the other, little-endian; the header tells how long each is
32 bytes    SHA-256 of all before
"""

import hashlib
import json
import struct
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from platform_assets.sketch.errors import SketchError

_PREFIX: Final = struct.Struct("<8sHI")
_DIGEST_BYTES: Final = 32
VERSION: Final = 1


def pack(kind: bytes, header: dict[str, Any], arrays: Iterable[NDArray[Any]]) -> bytes:
    """The bytes; equal content makes equal bytes."""
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    body = b"".join([_PREFIX.pack(kind, VERSION, len(text)), text, *map(_little_endian, arrays)])
    return body + hashlib.sha256(body).digest()


def unpack(kind: bytes, data: bytes) -> tuple[dict[str, Any], "Reader"]:
    """The header, and the arrays to be read in their order.

    Raises:
        SketchError: The bytes are something else, of a later version, or damaged.
    """
    if len(data) < _PREFIX.size + _DIGEST_BYTES or not data.startswith(kind):
        raise SketchError(f"these {len(data)} bytes are no {kind.decode()}")
    _, version, length = _PREFIX.unpack_from(data)
    if version > VERSION:
        raise SketchError(
            f"{kind.decode()} of format {version}: this code reads up to {VERSION}; install a newer one"
        )
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise SketchError(f"{kind.decode()}: the bytes are damaged (SHA-256 differs)")
    header = json.loads(body[_PREFIX.size : _PREFIX.size + length])
    return header, Reader(body, _PREFIX.size + length)


def _little_endian(array: NDArray[Any]) -> bytes:
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


class Reader:
    """Takes arrays from bytes, one after the other."""

    def __init__(self, body: bytes, offset: int) -> None:
        self._body, self._offset = body, offset

    def take(self, length: int, dtype: str) -> NDArray[Any]:
        """The next array. A copy: in the bytes it may lie where the processor does not like it to."""
        array = np.frombuffer(self._body, np.dtype(dtype).newbyteorder("<"), length, self._offset)
        self._offset += array.nbytes
        return array.astype(dtype)
