"""Versions whose rows lie by day, each day in a file of its own that all versions share which have the day alike.

What one publication costs is then what changed, and one list of files, however long the table goes back. The name of a
file tells its day and the content hash of its rows, so neither is read again: `<day>_<content hash>_<uuid>.parquet`. What a
writer wants to know of a day again, its mark, stands there as well: `<day>_<content hash>_<mark>_<uuid>.parquet`.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import uuid4

_NAME = re.compile(r"(\d{4}-\d\d-\d\d)_([0-9a-f]{64})(?:_([0-9a-f]{64}))?_[0-9a-f-]{36}\.parquet")
MARK = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class DayFile:
    """One day of a version."""

    day: date
    content_hash: str
    """Of its rows."""
    mark: str | None
    """64 hexadecimal digits that its writer has given it."""
    file: Any
    """What Iceberg knows of it."""


def new_name(day: date, content_hash: str, mark: str | None) -> str:
    """The name of a new file for these rows of a day."""
    return "_".join(filter(None, (str(day), content_hash, mark, f"{uuid4()}.parquet")))


def day_files(target: Any, snapshot: Any) -> dict[date, DayFile] | None:
    """The files of a version by day, the oldest first; None where its rows lie otherwise."""
    found = {}
    for manifest in snapshot.manifests(target.io):
        for entry in manifest.fetch_manifest_entry(target.io, discard_deleted=True):
            name = _NAME.fullmatch(entry.data_file.file_path.rsplit("/", 1)[-1])
            if name is None:
                return None
            day = date.fromisoformat(name[1])
            found[day] = DayFile(day, name[2], name[3], entry.data_file)
    return dict(sorted(found.items()))


def hash_of_days(days: Iterable[tuple[date, str, str | None]]) -> str:
    """The content hash of a version, made of those of its days and of their marks: equal days, equal hash."""
    told = sorted((day, *filter(None, (content_hash, mark))) for day, content_hash, mark in days)
    listed = "\n".join(" ".join(map(str, each)) for each in told)
    return hashlib.sha256(f"days\n{listed}".encode()).hexdigest()
