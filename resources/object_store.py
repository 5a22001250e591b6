"""Objects with a classification: model files, reports and cards.

Keys are relative POSIX paths, `<kind>/<env>/<line>/<version>/…`. Every object carries its GDPR class,
retention, source commit and SHA-256; writing without a class is refused.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol
from uuid import uuid4

from filelock import FileLock
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from resources.errors import ResourceError

GdprClass = Literal["public", "internal", "personal", "sensitive"]
"""How an object may be read: `sensitive` is for the privacy group alone."""

_KEY = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._+@=-]*(/[A-Za-z0-9][A-Za-z0-9._+@=-]*)*$")
_CHUNK_BYTES = 1 << 20
_PENDING = ".pending"


class ObjectStoreError(ResourceError):
    """An object is missing, damaged, or was offered without what it must carry."""


class ObjectMissingError(ObjectStoreError):
    """There is no object under this key."""


class ObjectDamagedError(ObjectStoreError):
    """Bytes or metadata of an object are not those that were stored."""


class ObjectInfo(BaseModel):
    """What every object carries (on S3: `x-amz-meta-…`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    gdpr_class: GdprClass = Field(alias="gdpr-class")
    retention_days: int = Field(alias="retention-days", gt=0)
    source_commit: str = Field(alias="source-commit", pattern=r"^[!-~]+$")
    sha256: str
    size_bytes: int = Field(alias="size-bytes", ge=0)
    stored_at: AwareDatetime = Field(alias="stored-at")
    """When the bytes were put; retention counts from here."""
    legal_hold: bool = Field(alias="legal-hold", default=False)
    """Whether the object must stay, whatever its retention: it is neither deleted nor overwritten."""
    region: str | None = Field(default=None, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    """Where its readers and writers must be, e.g. `cn-shanghai`; None: anywhere."""


class ObjectStore(Protocol):
    """The contract of every store.

    `put` is atomic: a reader sees the whole object with its metadata, the one before, or none. `get`,
    `info` and `folder` raise ObjectMissingError for a key that does not exist, and ObjectStoreError for
    one whose bytes are not those that were put.
    """

    def put(
        self,
        key: str,
        content: bytes | Path,
        *,
        gdpr_class: GdprClass,
        retention_days: int,
        source_commit: str,
        region: str | None = None,
    ) -> ObjectInfo:
        """Store bytes, or the content of a file, under `key`; refused over an object under legal hold."""
        ...

    def get(self, key: str) -> bytes:
        """The object's bytes, checked against its SHA-256."""
        ...

    def info(self, key: str) -> ObjectInfo:
        """The object's metadata."""
        ...

    def exists(self, key: str) -> bool:
        """Whether a complete object lies under `key`."""
        ...

    def list(self, prefix: str = "") -> Iterator[str]:
        """Keys below `prefix`, sorted; every key without one."""
        ...

    def folder(self, prefix: str) -> Path:
        """A local folder with the objects below `prefix`, each checked; for libraries that load folders."""
        ...

    def uri(self, key: str) -> str:
        """The address of a key for outside systems."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; refused where there is none, and under legal hold."""
        ...

    def set_legal_hold(self, key: str, *, held: bool) -> ObjectInfo:
        """Place or lift an object's legal hold."""
        ...

    def sweep(self) -> int:
        """Remove what killed processes left behind; returns how many things went."""
        ...


class LocalObjectStore:
    """A folder; metadata lies in a parallel tree, so that model folders hold model files only.

    An object is replaced in two renames, its bytes and then its metadata. The new metadata waits
    beside the old, as *pending*, while that happens: after a kill, the bytes tell which is true.
    """

    def __init__(self, root: Path) -> None:
        self._objects = root / "data"
        self._metadata = root / "metadata"
        self._incoming = root / "incoming"
        for folder in (self._objects, self._metadata, self._incoming):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(root / ".lock")

    def put(
        self,
        key: str,
        content: bytes | Path,
        *,
        gdpr_class: GdprClass,
        retention_days: int,
        source_commit: str,
        region: str | None = None,
    ) -> ObjectInfo:
        """See `ObjectStore.put`."""
        target = self._objects / checked_key(key)
        metadata, pending = self._metadata_of(key), self._pending_of(key)
        incoming = self._incoming / f"{os.getpid()}-{uuid4().hex}"
        described = incoming.with_name(incoming.name + ".json")
        try:
            with incoming.open("wb") as sink:
                if isinstance(content, bytes):
                    sink.write(content)
                else:
                    with content.open("rb") as source:
                        shutil.copyfileobj(source, sink, _CHUNK_BYTES)
                sink.flush()
                os.fsync(sink.fileno())
            info = described_object(
                key,
                incoming,
                gdpr_class=gdpr_class,
                retention_days=retention_days,
                source_commit=source_commit,
                region=region,
            )
            described.write_text(info.model_dump_json(by_alias=True), encoding="utf-8")
            with self._lock:
                if self.exists(key):
                    refuse_held(key, self.info(key), "overwritten")
                target.parent.mkdir(parents=True, exist_ok=True)
                metadata.parent.mkdir(parents=True, exist_ok=True)
                if target.is_dir():
                    raise name_taken(key)
                described.replace(pending)
                incoming.replace(target)
                pending.replace(metadata)
        except OSError as problem:
            raise ObjectStoreError(f"object {key} cannot be stored: {problem}") from problem
        finally:
            incoming.unlink(missing_ok=True)
            described.unlink(missing_ok=True)
        return info

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        try:
            return self._read(key)
        except ObjectStoreError:
            # A writer may have been between the bytes and their metadata; under the lock there is none.
            with self._lock:
                return self._read(key)

    def _read(self, key: str) -> bytes:
        info = self.info(key)
        try:
            content = (self._objects / key).read_bytes()
        except FileNotFoundError:
            raise self._missing(key) from None
        if hashlib.sha256(content).hexdigest() != info.sha256:
            raise damaged(key)
        return content

    def info(self, key: str) -> ObjectInfo:
        """See `ObjectStore.info`."""
        if not self.exists(key):
            raise self._missing(key)
        try:
            # Objects of earlier versions do not say when they were stored.
            stored_at = datetime.fromtimestamp((self._objects / key).stat().st_mtime, UTC)
            carried = json.loads(self._metadata_of(key).read_bytes())
            return ObjectInfo.model_validate({"stored-at": stored_at} | carried)
        except FileNotFoundError:
            raise self._missing(key) from None
        except (ValueError, TypeError):
            raise damaged(key) from None

    def exists(self, key: str) -> bool:
        """See `ObjectStore.exists`."""
        target = self._objects / checked_key(key)
        if self._pending_of(key).exists():
            with self._lock:
                self._settle(key)
        return target.is_file() and self._metadata_of(key).is_file()

    def list(self, prefix: str = "") -> Iterator[str]:
        """See `ObjectStore.list`."""
        root = self._objects / checked_key(prefix) if prefix else self._objects
        found = (path.relative_to(self._objects).as_posix() for path in root.rglob("*") if path.is_file())
        yield from (key for key in sorted(found) if self.exists(key))

    def folder(self, prefix: str) -> Path:
        """See `ObjectStore.folder`; here it is the store's own folder, so nothing is copied."""
        keys = list(self.list(checked_key(prefix)))
        if not keys:
            raise no_objects(prefix, str(self._objects))
        for key in keys:
            if sha256_of(self._objects / key) != self.info(key).sha256:
                raise damaged(key)
        return self._objects / prefix

    def uri(self, key: str) -> str:
        """See `ObjectStore.uri`."""
        return (self._objects / checked_key(key)).as_uri()

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        with self._lock:
            refuse_held(key, self.info(key), "deleted")
            # Bytes first: `folder` shows what lies there. A sweep clears metadata without bytes away.
            for root, path in (
                (self._objects, self._objects / key),
                (self._metadata, self._metadata_of(key)),
            ):
                path.unlink()
                prune(path.parent, root)

    def set_legal_hold(self, key: str, *, held: bool) -> ObjectInfo:
        """See `ObjectStore.set_legal_hold`."""
        described = self._incoming / f"{os.getpid()}-{uuid4().hex}.json"
        with self._lock:
            info = self.info(key).model_copy(update={"legal_hold": held})
            described.write_text(info.model_dump_json(by_alias=True), encoding="utf-8")
            described.replace(self._metadata_of(key))
        return info

    def sweep(self) -> int:
        """See `ObjectStore.sweep`."""
        removed = 0
        with self._lock:
            for leftover in self._incoming.iterdir():
                if not _alive(int(leftover.name.split("-", 1)[0])):
                    leftover.unlink(missing_ok=True)
                    removed += 1
            for pending in [*self._metadata.rglob(f".*{_PENDING}")]:
                folder = pending.parent.relative_to(self._metadata)
                self._settle((folder / pending.name[1 : -len(_PENDING)]).as_posix())
            for path in [path for path in self._objects.rglob("*") if path.is_file()]:
                if not self._metadata_of(path.relative_to(self._objects).as_posix()).exists():
                    path.unlink()
                    removed += 1
            for path in [*self._metadata.rglob("*.json")]:
                if not (
                    self._objects / path.relative_to(self._metadata).as_posix()[: -len(".json")]
                ).is_file():
                    path.unlink()
                    prune(path.parent, self._metadata)
                    removed += 1
        return removed

    def _settle(self, key: str) -> None:
        """Under the lock: end the replacement that a killed writer began; the bytes tell how far it came."""
        pending, target = self._pending_of(key), self._objects / key
        with suppress(FileNotFoundError, ValueError):
            if json.loads(pending.read_bytes())["sha256"] == sha256_of(target):
                pending.replace(self._metadata_of(key))
        pending.unlink(missing_ok=True)

    def _metadata_of(self, key: str) -> Path:
        return self._metadata / f"{key}.json"

    def _pending_of(self, key: str) -> Path:
        folder, _, name = key.rpartition("/")
        return self._metadata / folder / f".{name}{_PENDING}"  # no segment of a key begins with a dot

    def _missing(self, key: str) -> ObjectMissingError:
        return missing(key, str(self._objects))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def checked_key(key: str) -> str:
    """The key itself, a plain relative path.

    Raises:
        ObjectStoreError: It is anything else.
    """
    if not _KEY.fullmatch(key):
        raise ObjectStoreError(
            f"object key {key!r} is not a plain relative path; use <kind>/<env>/<line>/<version>/<file>"
        )
    return key


def described_object(
    key: str,
    content: bytes | Path,
    *,
    gdpr_class: GdprClass,
    retention_days: int,
    source_commit: str,
    region: str | None,
) -> ObjectInfo:
    """What an object that is put now carries.

    Raises:
        ObjectStoreError: It lacks what every object must carry.
    """
    if isinstance(content, bytes):
        sha256, size_bytes = hashlib.sha256(content).hexdigest(), len(content)
    else:
        sha256, size_bytes = sha256_of(content), content.stat().st_size
    try:
        return ObjectInfo(
            gdpr_class=gdpr_class,
            retention_days=retention_days,
            source_commit=source_commit,
            sha256=sha256,
            size_bytes=size_bytes,
            stored_at=datetime.now(UTC),
            region=region,
        )
    except ValidationError as problem:
        wrong = "; ".join(f"{error['loc'][0]}: {error['msg']}" for error in problem.errors())
        raise ObjectStoreError(f"object {key} is refused: {wrong}") from None


def refuse_held(key: str, info: ObjectInfo, act: str) -> None:
    """Raises ObjectStoreError where the object is under legal hold."""
    if info.legal_hold:
        raise ObjectStoreError(
            f"object {key} is under legal hold and cannot be {act}; whoever placed the hold must lift it first"
        )


def missing(key: str, where: str) -> ObjectMissingError:
    """The error of a key that holds no object."""
    return ObjectMissingError(f"object {key} does not exist in {where}")


def no_objects(prefix: str, where: str) -> ObjectMissingError:
    """The error of a folder that holds no objects."""
    return ObjectMissingError(f"no object lies under {prefix} in {where}")


def name_taken(key: str) -> ObjectStoreError:
    """The error of a key that is a folder of other objects, or lies below an object."""
    return ObjectStoreError(
        f"object {key} cannot be stored: a folder cannot hold it beside the objects above or below that name"
    )


def damaged(key: str) -> ObjectDamagedError:
    """The error of bytes or metadata that are not those that were stored."""
    return ObjectDamagedError(
        f"object {key} is damaged: its bytes are not those that were stored; restore or rebuild it"
    )


def prune(folder: Path, root: Path) -> None:
    """Remove a folder and those above it, up to `root`, as far as they are empty: their names are free again."""
    with suppress(OSError):
        while folder != root:
            folder.rmdir()
            folder = folder.parent


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
