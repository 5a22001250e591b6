"""Objects in a bucket of any S3 server: AWS, MinIO, SeaweedFS, Ceph.

What an object carries is its user metadata (`x-amz-meta-gdpr-class`, …), so both are written at once.
Class and region are its tags as well: those are what an S3 server shows to a policy before a read.
Objects that lack the metadata are not ours, and do not exist for any reader.
"""

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from filelock import FileLock
from pydantic import ValidationError

from resources.object_store import (
    GdprClass,
    ObjectInfo,
    ObjectStoreError,
    checked_key,
    damaged,
    described_object,
    missing,
    name_taken,
    no_objects,
    prune,
    refuse_held,
    sha256_of,
)

_ROOT = re.compile(r"s3://(?P<bucket>[^/]+)(?:/(?P<prefix>.+?))?/?")
_CARRIED = [str(field.alias or name) for name, field in ObjectInfo.model_fields.items()]
_CHUNK_BYTES = 1 << 20
_LARGEST_COPY_BYTES = 5 << 30
"""S3 copies no more at once."""
_CONCURRENT_REQUESTS = 8
_STALE = timedelta(days=1)
"""An upload that was begun so long ago is nobody's any more."""


class S3ObjectStore:
    """A bucket, or the part of it below a prefix.

    Holds under legal hold and folder names are checked before an act, not with it: S3 has no locks.
    """

    def __init__(self, root: str, *, endpoint: str | None, region: str, cache: Path) -> None:
        """Connects to nothing yet. Credentials come from the environment (`AWS_ACCESS_KEY_ID`, …).

        Args:
            root: `s3://bucket` or `s3://bucket/prefix`.
            endpoint: URL of a server that is not AWS.
            region: Region of the bucket.
            cache: Local folder for the copies that `folder` hands out; processes may share it.

        Raises:
            ObjectStoreError: `root` is something else, or boto3 is not installed.
        """
        if find_spec("boto3") is None:
            raise ObjectStoreError(
                f"object store {root} needs boto3: pip install 'platform-assets[cluster]', or unset PLATFORM_OBJECTS_URI"
            )
        parts = _ROOT.fullmatch(root)
        if parts is None:
            raise ObjectStoreError(f"object store {root!r} is no S3 address; use s3://bucket/prefix")
        self._root = root.rstrip("/")
        self._bucket = parts["bucket"]
        self._prefix = f"{parts['prefix']}/" if parts["prefix"] else ""
        self._endpoint = endpoint
        self._region = region
        self._copies = cache / "data"
        self._incoming = cache / "incoming"
        self._lock_file = cache / ".lock"

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
        """See `ObjectStore.put`; a large file goes up in parts and appears when all have arrived."""
        name = self._name(key)
        try:
            info = described_object(
                key,
                content,
                gdpr_class=gdpr_class,
                retention_days=retention_days,
                source_commit=source_commit,
                region=region,
            )
            if (before := self._find(key)) is not None:
                refuse_held(key, before, "overwritten")
            elif self._is_taken(key):
                raise name_taken(key)
            with self._explained(f"object {key} cannot be stored"):
                if isinstance(content, bytes):
                    self._client.put_object(Bucket=self._bucket, Key=name, Body=content, **_carried_by(info))
                else:
                    self._client.upload_file(str(content), self._bucket, name, ExtraArgs=_carried_by(info))
        except OSError as problem:
            raise ObjectStoreError(f"object {key} cannot be stored: {problem}") from problem
        return info

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        with self._answer(key) as (info, body):
            content: bytes = body.read()
        if hashlib.sha256(content).hexdigest() != info.sha256:
            raise damaged(key)
        return content

    def info(self, key: str) -> ObjectInfo:
        """See `ObjectStore.info`."""
        info = self._find(key)
        if info is None:
            raise missing(key, self._root)
        return info

    def exists(self, key: str) -> bool:
        """See `ObjectStore.exists`."""
        return self._find(key) is not None

    def list(self, prefix: str = "") -> Iterator[str]:
        """See `ObjectStore.list`. Costs one request for each object: lists do not show metadata."""
        return iter(self._described(prefix))

    def folder(self, prefix: str) -> Path:
        """See `ObjectStore.folder`; a local copy, of which only what has changed is fetched."""
        with self._lock:
            carried = self._described(checked_key(prefix))
            if not carried:
                raise no_objects(prefix, self._root)
            folder = self._copies / prefix
            for copy in [path for path in folder.rglob("*") if path.is_file()]:
                if copy.relative_to(self._copies).as_posix() not in carried:
                    copy.unlink()
                    prune(copy.parent, folder)
            for key, info in carried.items():
                copy = self._copies / key
                if not copy.is_file() or sha256_of(copy) != info.sha256:
                    self._fetch(key, copy)
        return folder

    def uri(self, key: str) -> str:
        """See `ObjectStore.uri`."""
        return f"{self._root}/{checked_key(key)}"

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`; of a versioned bucket, all versions go."""
        refuse_held(key, self.info(key), "deleted")
        name = self._name(key)
        with self._explained(f"object {key} cannot be deleted"):
            # First without a version: in a versioned bucket no older one shows while the rest goes.
            self._client.delete_object(Bucket=self._bucket, Key=name)
            pages = self._client.get_paginator("list_object_versions")
            for page in pages.paginate(Bucket=self._bucket, Prefix=name):
                for version in page.get("Versions", []) + page.get("DeleteMarkers", []):
                    if version["Key"] == name:
                        self._client.delete_object(
                            Bucket=self._bucket, Key=name, VersionId=version["VersionId"]
                        )
        with self._lock:
            (self._copies / key).unlink(missing_ok=True)

    def set_legal_hold(self, key: str, *, held: bool) -> ObjectInfo:
        """See `ObjectStore.set_legal_hold`; a copy of the object onto itself, since S3 cannot edit metadata."""
        from boto3.s3.transfer import TransferConfig

        name = self._name(key)
        with self._explained(f"legal hold of object {key} cannot be set"):
            found = self._head(key)
            if found is None:
                raise missing(key, self._root)
            info = _info_of(key, found).model_copy(update={"legal_hold": held})
            self._client.copy(
                {"Bucket": self._bucket, "Key": name},
                self._bucket,
                name,
                ExtraArgs=_carried_by(info)
                | {
                    "MetadataDirective": "REPLACE",
                    "TaggingDirective": "REPLACE",
                    "CopySourceIfMatch": found["ETag"],
                },
                Config=TransferConfig(multipart_threshold=_LARGEST_COPY_BYTES),
            )
        return info

    def sweep(self) -> int:
        """See `ObjectStore.sweep`: uploads that nobody ended in a day, and copies of what is no more."""
        from botocore.exceptions import ClientError

        removed = 0
        with self._lock:
            for leftover in self._incoming.iterdir():
                leftover.unlink()
                removed += 1
            for copy in [path for path in self._copies.rglob("*") if path.is_file()]:
                if not self.exists(copy.relative_to(self._copies).as_posix()):
                    copy.unlink()
                    prune(copy.parent, self._copies)
                    removed += 1
        # What was overwritten, and what a killed delete left behind its marker; markers go last, or it would show.
        with self._explained("earlier versions cannot be removed"):
            pages = self._client.get_paginator("list_object_versions")
            earlier: list[dict[str, Any]] = []
            markers: list[dict[str, Any]] = []
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix):
                earlier += [version for version in page.get("Versions", []) if not version["IsLatest"]]
                markers += page.get("DeleteMarkers", [])
            for version in earlier + markers:
                self._client.delete_object(
                    Bucket=self._bucket, Key=version["Key"], VersionId=version["VersionId"]
                )
                removed += 1
        # A server that lets nobody see uploads clears them away itself, by its lifecycle rules.
        with self._explained("stale uploads cannot be removed"), suppress(ClientError):
            pages = self._client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix):
                for upload in page.get("Uploads", []):
                    if datetime.now(UTC) - upload["Initiated"] > _STALE:
                        self._client.abort_multipart_upload(
                            Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                        removed += 1
        return removed

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        return boto3.session.Session().client(
            "s3",
            endpoint_url=self._endpoint,
            region_name=self._region,
            config=Config(
                retries={"mode": "standard"},
                connect_timeout=10,
                s3={"addressing_style": "path" if self._endpoint else "auto"},
            ),
        )

    @property
    def _lock(self) -> FileLock:
        """Of the copies, which are this machine's; in the bucket each act is whole by itself."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        return FileLock(self._lock_file)

    def _name(self, key: str) -> str:
        return self._prefix + checked_key(key)

    def _head(self, key: str) -> dict[str, Any] | None:
        from botocore.exceptions import ClientError

        name = self._name(key)
        with self._explained(f"object {key} cannot be looked up"):
            try:
                found: dict[str, Any] = self._client.head_object(Bucket=self._bucket, Key=name)
            except ClientError as problem:
                if not _says_missing(problem):
                    raise
                return None
        return found if _is_ours(found) else None

    def _find(self, key: str) -> ObjectInfo | None:
        found = self._head(key)
        return None if found is None else _info_of(key, found)

    def _described(self, prefix: str) -> dict[str, ObjectInfo]:
        """What the objects below a prefix carry, by key, sorted."""
        names = f"{self._name(prefix)}/" if prefix else self._prefix
        with self._explained(f"objects below {prefix or 'the root'} cannot be listed"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=names)
            found = [
                entry["Key"].removeprefix(self._prefix)
                for page in pages
                for entry in page.get("Contents", [])
            ]
        keys = []
        for key in sorted(found):
            with suppress(ObjectStoreError):
                keys.append(checked_key(key))
        with ThreadPoolExecutor(_CONCURRENT_REQUESTS) as pool:
            carried = zip(keys, pool.map(self._find, keys), strict=True)
            return {key: info for key, info in carried if info is not None}

    def _is_taken(self, key: str) -> bool:
        """Whether objects lie below this key, or one lies above it: no folder could hold both."""
        with self._explained(f"object {key} cannot be stored"):
            below = self._client.list_objects_v2(Bucket=self._bucket, Prefix=f"{self._name(key)}/", MaxKeys=1)
        above = [str(path) for path in Path(key).parents][:-1]
        return bool(below.get("Contents")) or any(map(self.exists, above))

    @contextmanager
    def _answer(self, key: str) -> Iterator[tuple[ObjectInfo, Any]]:
        """Metadata and the stream of the bytes, from one answer: they belong together."""
        from botocore.exceptions import ClientError

        name = self._name(key)
        with self._explained(f"object {key} cannot be read"):
            try:
                found = self._client.get_object(Bucket=self._bucket, Key=name)
            except ClientError as problem:
                if not _says_missing(problem):
                    raise
                raise missing(key, self._root) from None
            with closing(found["Body"]) as body:
                if not _is_ours(found):
                    raise missing(key, self._root)
                yield _info_of(key, found), body

    def _fetch(self, key: str, copy: Path) -> None:
        incoming = self._incoming / uuid4().hex
        digest = hashlib.sha256()
        try:
            with self._answer(key) as (info, body), incoming.open("wb") as sink:
                for chunk in body.iter_chunks(_CHUNK_BYTES):
                    digest.update(chunk)
                    sink.write(chunk)
            if digest.hexdigest() != info.sha256:
                raise damaged(key)
            copy.parent.mkdir(parents=True, exist_ok=True)
            incoming.replace(copy)
        finally:
            incoming.unlink(missing_ok=True)

    @contextmanager
    def _explained(self, failure: str) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (Boto3Error, BotoCoreError, ClientError) as problem:
            raise ObjectStoreError(
                f"{failure} in {self._root} at {self._endpoint or 'AWS'}: {problem}; "
                "check PLATFORM_OBJECTS_URI, PLATFORM_S3_ENDPOINT and the credentials in AWS_…"
            ) from problem


def _carried_by(info: ObjectInfo) -> dict[str, Any]:
    """What an upload says of an object: its metadata, and the tags that a policy of the server sees."""
    carried = info.model_dump(mode="json", by_alias=True, exclude_none=True)
    tags = [(name, carried[name]) for name in ("gdpr-class", "region") if name in carried]
    return {
        "Metadata": {name: _text(value) for name, value in carried.items()},
        "Tagging": urlencode(tags),
    }


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_ours(answer: dict[str, Any]) -> bool:
    return "gdpr-class" in answer["Metadata"]


def _info_of(key: str, answer: dict[str, Any]) -> ObjectInfo:
    metadata = answer["Metadata"]
    try:
        return ObjectInfo.model_validate_strings(
            {name: metadata[name] for name in _CARRIED if name in metadata}
        )
    except ValidationError:
        raise damaged(key) from None


def _says_missing(problem: Any) -> bool:
    return problem.response["Error"]["Code"] in {"404", "NoSuchKey", "NotFound"}
