"""The memory of a checkpoint: which entry answers which key, as a tree of hashes of 256 × 256 leaves.

    root    the hashes of 256 branches           its own hash stands in the chain
    branch  the hashes of 256 leaves
    leaf    the records of all keys whose digest begins with its two bytes, sorted
    record  digest of the key (16 bytes), `seq` of the entry (8), first bytes of the entry's hash (16)

Nodes have numbers: leaves 0 to 65,535, then the branches, then the root. An empty leaf is no node, and its
hash is 32 zeros. So a look-up reads three small nodes and checks three hashes, also where it finds nothing;
and what n new entries change are a few n nodes, however many entries there were before.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from platform_assets.ledger.entry import Entry
from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.keys import DIGEST_BYTES, keys_of

FORMAT = 1
"""Of the keys, records and nodes. Another number is another memory, which this program does not read."""


@contextmanager
def folder_of_notes() -> Iterator[Path]:
    """A folder for `Notes`, gone afterwards.

    Raises:
        LedgerError: There is nowhere to write, or no room.
    """
    try:
        with TemporaryDirectory(prefix="ledger-") as name:
            yield Path(name)
    except OSError as problem:
        raise LedgerError(
            f"a long ledger is read with notes in a temporary folder, and they cannot be kept ({problem.strerror}): "
            "make room there, or name another folder in TMPDIR"
        ) from problem


ReadNodes = Callable[[Collection[int]], Mapping[int, bytes]]
"""The contents of the nodes with these numbers, where there are such."""

_FAN_OUT = 256
_LEAVES = _FAN_OUT * _FAN_OUT
ROOT = _LEAVES + _FAN_OUT
"""Number of the root."""
_HASH_BYTES = 32
_EMPTY = bytes(_HASH_BYTES)
_SEQ_BYTES = 8
_RECORD_BYTES = DIGEST_BYTES + _SEQ_BYTES + DIGEST_BYTES
_SPILL_BYTES = 4_000_000


class Place(NamedTuple):
    """Which entry answers a key."""

    seq: int
    hash_prefix: str
    """The first 32 hexadecimal digits of its hash: nobody makes another entry that begins with them."""

    @classmethod
    def of(cls, entry: Entry) -> "Place":
        """Of this entry."""
        return cls(entry.seq, entry.hash[: 2 * DIGEST_BYTES])


Changes = dict[bytes, tuple[Place, bool]]
"""By digest of a key: the entry, and whether only the first one counts."""


def note(changes: Changes, entry: Entry) -> None:
    """Takes note of an entry that comes after all those noted before."""
    place = Place.of(entry)
    for key in keys_of(entry):
        digest = key.digest()
        if not (key.is_first and digest in changes):
            changes[digest] = place, key.is_first


def look_up(read: ReadNodes, root_hash: str, digests: Collection[bytes]) -> dict[bytes, Place]:
    """The entries that answer these keys; one that is not among them has none.

    Raises:
        LedgerError: A node is not the one that the root's hash vouches for.
    """
    leaves = _leaves(read, root_hash, {_leaf_of(digest) for digest in digests})
    found = {}
    for digest in digests:
        if (place := leaves[_leaf_of(digest)].get(digest)) is not None:
            found[digest] = place
    return found


def changed(read: ReadNodes, root_hash: str | None, changes: Changes) -> tuple[str, dict[int, bytes]]:
    """What the memory is after these changes: the hash of its root, and the nodes that differ.

    Args:
        read: Of the memory before.
        root_hash: Of the memory before; None: there is none.
        changes: At least one.

    Raises:
        LedgerError: A node is not the one that the root's hash vouches for.
    """
    concerned = {_leaf_of(digest) for digest in changes}
    if root_hash is None:
        leaves: dict[int, dict[bytes, Place]] = {number: {} for number in concerned}
        upper = {number: [_EMPTY] * _FAN_OUT for number in {ROOT, *map(_branch_of, concerned)}}
    else:
        leaves = _leaves(read, root_hash, concerned)
        upper = _upper(read, root_hash, concerned)
    for digest, (place, is_first) in changes.items():
        leaf = leaves[_leaf_of(digest)]
        if not (is_first and digest in leaf):
            leaf[digest] = place
    nodes = {}
    for number, leaf in leaves.items():
        nodes[number] = _content(leaf)
        upper[_branch_of(number)][number % _FAN_OUT] = _hash(nodes[number])
    for number in sorted(upper):  # the root is the last
        nodes[number] = b"".join(upper[number])
        if number != ROOT:
            upper[ROOT][number - _LEAVES] = _hash(nodes[number])
    return _hash(nodes[ROOT]).hex(), nodes


def root_hash_of(read: ReadNodes) -> str | None:
    """The hash of the root as it is kept; None where there is none."""
    content = read([ROOT]).get(ROOT)
    return None if content is None else _hash(content).hex()


# --- From the first entry on -------------------------------------------------------------------------


class Notes:
    """What a stretch of the chain is remembered by, noted in a folder: its size does not matter."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts = [bytearray() for _ in range(_FAN_OUT)]
        self._bytes = 0

    def add(self, entry: Entry) -> None:
        """Takes note of an entry that comes after all those noted before."""
        record = _record(Place.of(entry))
        for key in keys_of(entry):
            digest = key.digest()
            self._parts[digest[0]] += digest + record + bytes([key.is_first])
            self._bytes += _RECORD_BYTES + 1
        if self._bytes > _SPILL_BYTES:
            self.close()

    def close(self) -> None:
        """Writes down what is still in memory."""
        for number, part in enumerate(self._parts):
            if part:
                with (self._folder / f"{number:02x}").open("ab") as file:
                    file.write(part)
                part.clear()
        self._bytes = 0


def nodes_of(folders: Sequence[Path]) -> Iterator[tuple[int, bytes]]:
    """Every node of the memory of consecutive stretches, in the order of their numbers; the root is the last."""
    branches = []
    for first_byte in range(_FAN_OUT):
        places: dict[bytes, Place] = {}
        for folder in folders:
            part = folder / f"{first_byte:02x}"
            for digest, place, is_first in _noted(part.read_bytes() if part.exists() else b""):
                if not (is_first and digest in places):
                    places[digest] = place
        hashes = [_EMPTY] * _FAN_OUT
        for number, digests in groupby(sorted(places), _leaf_of):
            content = _content({digest: places[digest] for digest in digests})
            hashes[number % _FAN_OUT] = _hash(content)
            yield number, content
        branches.append(b"".join(hashes) if places else None)
    for offset, branch in enumerate(branches):
        if branch is not None:
            yield _LEAVES + offset, branch
    yield ROOT, b"".join(_EMPTY if branch is None else _hash(branch) for branch in branches)


def root_hash_from(folders: Sequence[Path]) -> str:
    """The hash of the root of the memory of consecutive stretches."""
    ((_, root),) = deque(nodes_of(folders), maxlen=1)
    return _hash(root).hex()


def _noted(part: bytes) -> Iterator[tuple[bytes, Place, bool]]:
    step = _RECORD_BYTES + 1
    for begin in range(0, len(part), step):
        digest, place = _read_record(part, begin)
        yield digest, place, bool(part[begin + _RECORD_BYTES])


# --- Nodes -------------------------------------------------------------------------------------------


def _leaf_of(digest: bytes) -> int:
    return digest[0] * _FAN_OUT + digest[1]


def _branch_of(leaf: int) -> int:
    return _LEAVES + leaf // _FAN_OUT


def _leaves(read: ReadNodes, root_hash: str, numbers: Collection[int]) -> dict[int, dict[bytes, Place]]:
    upper = _upper(read, root_hash, numbers)
    contents = read(numbers)
    found = {}
    for number in numbers:
        content = contents.get(number, b"")
        if _hash(content) != upper[_branch_of(number)][number % _FAN_OUT] or len(content) % _RECORD_BYTES:
            raise _not_vouched_for(number)
        found[number] = dict(_read_record(content, at) for at in range(0, len(content), _RECORD_BYTES))
    return found


def _upper(read: ReadNodes, root_hash: str, leaves: Iterable[int]) -> dict[int, list[bytes]]:
    """The hashes in the root and in the branches above these leaves."""
    branches = {_branch_of(number) for number in leaves}
    contents = read([ROOT, *branches])
    root = contents.get(ROOT, b"")
    if _hash(root).hex() != root_hash:
        raise _not_vouched_for(ROOT)
    upper = {ROOT: _hashes(root)}
    for number in branches:
        content, told = contents.get(number), upper[ROOT][number - _LEAVES]
        if (_EMPTY if content is None else _hash(content)) != told:
            raise _not_vouched_for(number)
        upper[number] = [_EMPTY] * _FAN_OUT if content is None else _hashes(content)
    return upper


def _hashes(content: bytes) -> list[bytes]:
    hashes = [content[at : at + _HASH_BYTES] for at in range(0, len(content), _HASH_BYTES)]
    if len(hashes) != _FAN_OUT:
        raise LedgerError(f"a node of the checkpoint has {len(hashes)} hashes instead of {_FAN_OUT}")
    return hashes


def _content(leaf: Mapping[bytes, Place]) -> bytes:
    return b"".join(digest + _record(leaf[digest]) for digest in sorted(leaf))


def _record(place: Place) -> bytes:
    return place.seq.to_bytes(_SEQ_BYTES, "big") + bytes.fromhex(place.hash_prefix)


def _read_record(content: bytes, at: int) -> tuple[bytes, Place]:
    seq_at, hash_at = at + DIGEST_BYTES, at + DIGEST_BYTES + _SEQ_BYTES
    place = Place(
        int.from_bytes(content[seq_at:hash_at], "big"), content[hash_at : hash_at + DIGEST_BYTES].hex()
    )
    return content[at:seq_at], place


def _hash(content: bytes) -> bytes:
    return hashlib.sha256(content).digest() if content else _EMPTY


def _not_vouched_for(number: int) -> LedgerError:
    return LedgerError(f"node {number} of the checkpoint is not the one that the chain vouches for")
