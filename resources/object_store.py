"""Objects with a classification: model files, reports and cards.

Keys are relative POSIX paths, `<kind>/<env>/<line>/<version>/…`. Every object carries its GDPR class,
retention, source commit and SHA-256; writing without a class is refused.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol, get_args
from uuid import uuid4

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from resources.errors import ResourceError

GdprClass = Literal["public", "internal", "personal", "sensitive"]
"""How an object may be read: `sensitive` is for the privacy group alone."""

_KEY = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._+@=-]*(/[A-Za-z0-9][A-Za-z0-9._+@=-]*)*$")
_CHUNK_BYTES = 1 << 20


class ObjectStoreError(ResourceError):
    """An object is missing, damaged, or was offered without what it must carry."""


class ObjectInfo(BaseModel):
    """What every object carries (on S3: `x-amz-meta-…`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    gdpr_class: GdprClass = Field(alias="gdpr-class")
    retention_days: int = Field(alias="retention-days", gt=0)
    source_commit: str = Field(alias="source-commit", min_length=1)
    sha256: str
    size_bytes: int = Field(alias="size-bytes", ge=0)


class ObjectStore(Protocol):
    """The contract of every store.

    `put` is atomic: a reader sees the whole object with its metadata, or none. `get`, `info` and
    `folder` raise ObjectStoreError for a key that does not exist or whose bytes are not those that
    were put.
    """

    def put(
        self,
        key: str,
        content: bytes | Path,
        *,
        gdpr_class: GdprClass,
        retention_days: int,
        source_commit: str,
    ) -> ObjectInfo:
        """Store bytes, or the content of a file, under `key`."""
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

    def list(self, prefix: str) -> Iterator[str]:
        """Keys below `prefix`, sorted."""
        ...

    def folder(self, prefix: str) -> Path:
        """A local folder with the objects below `prefix`, each checked; for libraries that load folders."""
        ...

    def uri(self, key: str) -> str:
        """The address of a key for outside systems."""
        ...


class LocalObjectStore:
    """A folder; metadata lies in a parallel tree, so that model folders hold model files only."""

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
    ) -> ObjectInfo:
        """See `ObjectStore.put`."""
        target = self._objects / _checked(key)
        if gdpr_class not in get_args(GdprClass):
            known = ", ".join(get_args(GdprClass))
            raise ObjectStoreError(f"object {key}: GDPR class {gdpr_class!r} is unknown; use one of {known}")
        metadata = self._metadata_of(key)
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
            info = ObjectInfo(
                gdpr_class=gdpr_class,
                retention_days=retention_days,
                source_commit=source_commit,
                sha256=sha256_of(incoming),
                size_bytes=incoming.stat().st_size,
            )
            described.write_text(info.model_dump_json(by_alias=True), encoding="utf-8")
            target.parent.mkdir(parents=True, exist_ok=True)
            metadata.parent.mkdir(parents=True, exist_ok=True)
            with self._lock:
                # Metadata last: an object without it is incomplete and does not exist for any reader.
                metadata.unlink(missing_ok=True)
                incoming.replace(target)
                described.replace(metadata)
        except ValidationError as problem:
            wrong = "; ".join(f"{error['loc'][0]}: {error['msg']}" for error in problem.errors())
            raise ObjectStoreError(f"object {key} is refused: {wrong}") from None
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
        content = (self._objects / key).read_bytes()
        if hashlib.sha256(content).hexdigest() != info.sha256:
            raise _damaged(key)
        return content

    def info(self, key: str) -> ObjectInfo:
        """See `ObjectStore.info`."""
        missing = ObjectStoreError(f"object {key} does not exist in {self._objects}")
        if not self.exists(key):
            raise missing
        try:
            return ObjectInfo.model_validate_json(self._metadata_of(key).read_bytes())
        except FileNotFoundError:
            raise missing from None
        except ValidationError:
            raise _damaged(key) from None

    def exists(self, key: str) -> bool:
        """See `ObjectStore.exists`."""
        return (self._objects / _checked(key)).is_file() and self._metadata_of(key).is_file()

    def list(self, prefix: str) -> Iterator[str]:
        """See `ObjectStore.list`."""
        root = self._objects / _checked(prefix)
        found = (path.relative_to(self._objects).as_posix() for path in root.rglob("*") if path.is_file())
        yield from (key for key in sorted(found) if self.exists(key))

    def folder(self, prefix: str) -> Path:
        """See `ObjectStore.folder`; here it is the store's own folder, so nothing is copied."""
        keys = list(self.list(prefix))
        if not keys:
            raise ObjectStoreError(f"no object lies under {prefix} in {self._objects}")
        for key in keys:
            if sha256_of(self._objects / key) != self.info(key).sha256:
                raise _damaged(key)
        return self._objects / prefix

    def uri(self, key: str) -> str:
        """See `ObjectStore.uri`."""
        return (self._objects / _checked(key)).as_uri()

    def sweep(self) -> int:
        """Remove what killed writers left behind; returns how many files went."""
        removed = 0
        with self._lock:
            for leftover in self._incoming.iterdir():
                if not _alive(int(leftover.name.split("-", 1)[0])):
                    leftover.unlink(missing_ok=True)
                    removed += 1
            for path in [path for path in self._objects.rglob("*") if path.is_file()]:
                if not self._metadata_of(path.relative_to(self._objects).as_posix()).exists():
                    path.unlink()
                    removed += 1
        return removed

    def _metadata_of(self, key: str) -> Path:
        return self._metadata / f"{key}.json"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key) or ".." in PurePosixPath(key).parts:
        raise ObjectStoreError(
            f"object key {key!r} is not a plain relative path; use <kind>/<env>/<line>/<version>/<file>"
        )
    return key


def _damaged(key: str) -> ObjectStoreError:
    return ObjectStoreError(
        f"object {key} is damaged: its bytes are not those that were stored; restore or rebuild it"
    )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
