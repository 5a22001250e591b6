"""What an entry is found by, without reading the chain: the keys under which a checkpoint remembers it.

Of each entry of one kind, the newest on a subject is remembered. Where the body has one of the fields of
`NEWEST_BY`, also the newest with this value of it; and of the table versions that it lists under `versions`,
as an erasure does, the first entry that named each. Whatever else is asked of a ledger is read from it.
"""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import orjson

from platform_assets.ledger.entry import Entry

NEWEST_BY = ("rule_set", "release_id")
"""Fields of a body: the newest entry with each value is remembered besides the newest of its subject."""
FIRST_BY = ("content_hash", "snapshot_id")
"""Fields of a version that a body lists: the first entry that named it is remembered, by its table."""
DIGEST_BYTES = 16


class Key(NamedTuple):
    """One question to a ledger that has at most one entry as its answer."""

    kind: str
    subject: str
    """Of the entry; with a field of `FIRST_BY`, the table."""
    field: str = ""
    value: str = ""

    @property
    def is_first(self) -> bool:
        """Whether the first entry counts, and not the newest."""
        return self.field in FIRST_BY

    def digest(self) -> bytes:
        """Stands for the key: 16 bytes, evenly spread."""
        return hashlib.sha256(orjson.dumps(list(self))).digest()[:DIGEST_BYTES]


def keys_of(entry: Entry) -> Iterator[Key]:
    """The keys that this entry may be the answer to."""
    kind, subject, body = entry.kind, entry.subject, entry.body
    yield Key(kind, subject)
    for field in NEWEST_BY:
        value = body.get(field)
        if type(value) is str:
            yield Key(kind, subject, field, value)
    versions = body.get("versions")
    if type(versions) is list:
        for version in versions:
            if type(version) is dict and type(table := version.get("table")) is str:
                for field in FIRST_BY:
                    if type(value := version.get(field)) is str:
                        yield Key(kind, table, field, value)


def collected(found: dict[Key, Entry], entry: Entry, key: Key) -> None:
    """Takes note of an entry that comes after all those that were `found`."""
    if not (key.is_first and key in found):
        found[key] = entry
