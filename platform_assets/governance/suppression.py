"""Suppression: what was erased does not come back with whoever reads sources again, or has read them before."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final, Self

from platform_assets.governance.errors import ErasureError
from platform_assets.governance.release import ERASURE
from platform_assets.governance.subject_columns import as_object, ids_of
from platform_assets.governance.subjects import REVIEW, Subject, hash_of, id_text
from platform_assets.ledger.ledger import Entry, Ledger, fingerprint_of
from resources.locks import LockLostError, Locks
from resources.object_store import GdprClass, ObjectInfo, ObjectMissingError, ObjectStore
from resources.row_salt import salted_hash
from resources.warehouse import Snapshot, Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

PERSONAL_OBJECTS: Final = "personal-objects"
"""The lock that is held while an object about subjects is put, or an erasure is recorded."""
LOCK_TIMEOUT_SECONDS: Final = 600
_AT_ONCE: Final = 1 << 16
"""Ids that are looked at together."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """The subjects that were erased, for whoever reads sources in again."""

    _salt: bytes = field(repr=False)
    subjects: Mapping[str, frozenset[str]]
    """Salted hashes by namespace."""

    @classmethod
    def of(cls, ledger: Ledger, salt: bytes) -> Self:
        """The subjects of all erasures, finished or not.

        Raises:
            ErasureError: They were hashed under another salt, so none would be recognised.
        """
        subjects: dict[str, set[str]] = {}
        for entry in erasures(ledger, salt):
            subjects.setdefault(entry.body.get("namespace", REVIEW), set()).add(entry.subject)
        return cls(salt, {namespace: frozenset(hashes) for namespace, hashes in subjects.items()})

    def hash_of(self, namespace: str) -> str:
        """Identity of what was erased in a namespace, for fingerprints; empty where nothing was."""
        erased = self.subjects.get(namespace)
        return fingerprint_of(subjects=sorted(erased)) if erased else ""

    def covers(self, subject: Subject) -> bool:
        """Whether this subject was erased."""
        return self.covers_each(subject.namespace, [subject.id]) == [True]

    def covers_each(self, namespace: str, ids: Sequence[object]) -> list[bool]:
        """Whether each of these subjects of one namespace was erased, in their order.

        Args:
            namespace: Of all of them.
            ids: Texts or whole numbers, or hashes as `hash_of` gives them; a row about nobody has None.

        Raises:
            SubjectError: One of them can be no id.
        """
        erased = self.subjects.get(namespace)
        if not erased:
            return [False] * len(ids)
        texts = map(id_text, ids)
        return [
            text is not None and (text in erased or hash_of(namespace, text, self._salt) in erased)
            for text in texts
        ]


def publish_unless_erased(
    staged: Snapshot,
    ids: Iterable[object],
    *,
    namespace: str,
    warehouse: Warehouse,
    ledger: Ledger,
    salt: bytes,
) -> Snapshot:
    """Publishes staged rows. A subject that was erased since they were read does not come back with them.

    An erasure that is recorded after this look finds the staged rows in its own last search.

    Args:
        staged: What `Warehouse.stage` gave.
        ids: Whom its rows are about.
        namespace: Of these ids.
        warehouse: Holds the rows.
        ledger: Knows who was erased.
        salt: Of the hash by which it knows them.

    Raises:
        ErasureError: A subject among the rows was erased; the staged rows are gone, unless they are a version
            that is published already.
    """
    try:
        refuse_erased(ids, namespace=namespace, of=f"table {staged.table}", ledger=ledger, salt=salt)
    except ErasureError:
        # Equal rows may have been published before; the erasure itself writes those again.
        if not staged.published:
            warehouse.drop(staged.table, [staged.snapshot_id], also_current=False)
        raise
    return warehouse.publish(staged)


def put_unless_erased(
    store: ObjectStore,
    key: str,
    rows: "pa.Table",
    *,
    namespace: str,
    column: str,
    gdpr_class: GdprClass,
    retention_days: int,
    source_commit: str,
    region: str | None = None,
    ledger: Ledger,
    salt: bytes,
    locks: Locks,
) -> ObjectInfo:
    """Stores rows about subjects as one Parquet object. No erasure misses it, whenever it comes.

    The look into the ledger and the put happen under a lock under which an erasure records its entry:

    - the entry came first: the look finds it, and nothing is put;
    - the lock was here first: the erasure waits, and its last search, which comes after its entry, finds
      what was put.

    There is no third order. A writer that is killed lets go of the lock, and has put the whole object or none;
    what it leaves in the store's antechamber goes with the sweep of that erasure, which comes after its entry
    too. A lock can be lost, where a database keeps it: then somebody may have recorded and searched before the
    put, so the ledger is looked into again, and the object taken back where it says so.

    Args:
        store: Where it is put.
        key: See `ObjectStore.put`, as for the three below.
        rows: The table.
        namespace: Of the subjects.
        column: Its values are their ids.
        gdpr_class: How it may be read.
        retention_days: How long it may be kept.
        source_commit: What made it.
        region: Where its readers must be; None: anywhere.
        ledger: Knows who was erased.
        salt: Of the hash by which it knows them.
        locks: Must reach as far as the store and the ledger do.

    Raises:
        ErasureError: A subject among the rows was erased; nothing was put, or it was taken back.
        SubjectError: The column is missing, or cannot hold ids.
        LockLostError: The lock was lost meanwhile; run it again.
    """
    content, ids = as_object(rows, namespace=namespace, column=column), ids_of(rows[column]).to_pylist()
    try:
        with locks.hold(PERSONAL_OBJECTS, timeout_seconds=LOCK_TIMEOUT_SECONDS):
            refuse_erased(ids, namespace=namespace, of=f"object {key}", ledger=ledger, salt=salt)
            return store.put(
                key,
                content,
                gdpr_class=gdpr_class,
                retention_days=retention_days,
                source_commit=source_commit,
                region=region,
            )
    except LockLostError:
        try:
            refuse_erased(ids, namespace=namespace, of=f"object {key}", ledger=ledger, salt=salt)
        except ErasureError:
            with suppress(ObjectMissingError):
                store.delete(key)
            raise
        raise


def refuse_erased(ids: Iterable[object], *, namespace: str, of: str, ledger: Ledger, salt: bytes) -> None:
    """Nothing, where none of the subjects was erased.

    Args:
        ids: Whom rows are about, one for each row.
        namespace: Of these ids.
        of: What holds the rows, for the message.
        ledger: Knows who was erased.
        salt: Of the hash by which it knows them.

    Raises:
        ErasureError: Some were.
    """
    suppression, given = Suppression.of(ledger, salt), iter(ids)
    if not suppression.subjects.get(namespace):
        return
    erased = rows = 0
    while part := list(islice(given, _AT_ONCE)):
        erased, rows = erased + sum(suppression.covers_each(namespace, part)), rows + len(part)
    if erased:
        raise ErasureError(
            f"{of}: {erased} of {rows} rows are about subjects that were erased meanwhile; materialize the dataset again"
        )


def erasures(ledger: Ledger, salt: bytes) -> Iterator[Entry]:
    """The entries of all erasures, each known to be under this salt.

    Raises:
        ErasureError: One is under another.
    """
    for entry in ledger.entries(kind=ERASURE):
        if entry.body["salt_check"] != salt_check(salt):
            raise ErasureError(
                f"entry {entry.seq} names an erased subject under another salt, so its rows would not be recognised; "
                "restore the salt (PLATFORM_ROW_SALT, or keys/row-salt)"
            )
        yield entry


def salt_check(salt: bytes) -> str:
    """By what an entry tells whether it is under this salt."""
    return salted_hash(salt, b"salt check")
