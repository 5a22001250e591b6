"""Versions of a table as Iceberg keeps them: snapshots that carry a content hash, and names that point at them.

| where | name | meaning |
|---|---|---|
| branch | `main` | what was published last |
| branch | `audit` | what was written last, published or not |
| tag | `v-<16 digits of the content hash>` | a published version |
| tag | `git-<12 digits of a commit>-<8 digits of the content hash>` | who produced it |
| tag | either, and `-<snapshot id>` | the same, of equal rows in another schema |
| snapshot property | `platform.content-hash`, `platform.source-commit`, `platform.written-at` | of one version |
| snapshot property | `platform.arrow-schema` | its columns as they were given; none in earlier releases |
| snapshot property | `platform.subject` | which column names whom, as JSON; none in earlier releases |
| snapshot property | `platform.gdpr-class`, `platform.retention-days`, … | the policy that it was staged with |
| table property | the same | the policy, of every published version |
| table property | `platform.subject-column`, `platform.subject-namespace` | the subject of versions of earlier releases |
| table property | `platform.gone.<snapshot id>` | what is left of a version that was rewritten or dropped |
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from resources.iceberg_policy import policy_of, staged_policy_of, subject_of
from resources.provenance import UNVERSIONED
from resources.warehouse import Snapshot, WarehouseError

MAIN, AUDIT_BRANCH = "main", "audit"
OWN = "platform."
"""Begins all properties but Iceberg's."""
CONTENT_HASH = "platform.content-hash"
SOURCE_COMMIT = "platform.source-commit"
WRITTEN_AT = "platform.written-at"
GONE = "platform.gone."
_VERSION_TAG, _COMMIT_TAG = "v-", "git-"
_COMMIT = re.compile(r"([0-9a-f]{7,64})(\+dirty)?")
_HASH_PREFIX = re.compile(r"[0-9a-f]{8,64}")


def kept_versions(target: Any, table: str) -> list[Snapshot]:
    """What a sweep keeps: the published versions and the newest write, oldest first."""
    kept = {str(ref.snapshot_id) for ref in target.metadata.refs.values()}
    found = [snapshot for snapshot in versions_of(target, table) if snapshot.snapshot_id in kept]
    return sorted(found, key=lambda snapshot: snapshot.committed_at)


def versions_of(target: Any, table: str) -> list[Snapshot]:
    """Every snapshot that is a version."""
    tagged = {ref.snapshot_id for name, ref in target.metadata.refs.items() if name.startswith(_VERSION_TAG)}
    of_table, schemas = policy_of(target), target.schemas()
    found = []
    for snapshot in target.metadata.snapshots:
        carried = snapshot.summary.additional_properties if snapshot.summary else {}
        if content_hash := carried.get(CONTENT_HASH):
            written_at, published = carried.get(WRITTEN_AT), snapshot.snapshot_id in tagged
            policy = of_table if published else staged_policy_of(target, carried)
            subject_column, subject_namespace = subject_of(target, carried)
            found.append(
                Snapshot(
                    table=table,
                    snapshot_id=str(snapshot.snapshot_id),
                    content_hash=content_hash,
                    rows=int(carried["total-records"]),
                    committed_at=datetime.fromisoformat(written_at)
                    if written_at
                    else datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC),
                    published=published,
                    gdpr_class=policy.gdpr_class,
                    retention_days=policy.retention_days,
                    source_commit=carried.get(SOURCE_COMMIT, UNVERSIONED),
                    time_column=policy.time_column,
                    columns=tuple(field.name for field in schemas[snapshot.schema_id].fields),
                    subject_column=subject_column,
                    subject_namespace=subject_namespace,
                )
            )
    return found


def version_at(target: Any, table: str, ref: str) -> Snapshot | None:
    """The version that a branch or tag names."""
    pointer = target.metadata.refs.get(ref)
    known = {snapshot.snapshot_id: snapshot for snapshot in versions_of(target, table)}
    return known.get(str(pointer.snapshot_id)) if pointer else None


def version_named(target: Any, table: str, version: str) -> Snapshot:
    """The published version with this content hash (8 digits suffice) or from this commit (7 do).

    Of equal rows in several schemas it is the newest.

    Raises:
        WarehouseError: There is none, or several that differ.
    """
    published = [found for found in kept_versions(target, table) if found.published]
    produced = _produced_by(target, version)
    by_hash = _HASH_PREFIX.fullmatch(version) is not None
    found = [
        each
        for each in published
        if each.snapshot_id in produced or (by_hash and each.content_hash.startswith(version))
    ]
    if len({each.content_hash for each in found}) == 1:
        return found[-1]
    problem = "is ambiguous" if found else "does not exist"
    listed = ", ".join(f"{each.content_hash[:12]} (commit {each.source_commit[:12]})" for each in published)
    raise WarehouseError(
        f"table {table}: version {version!r} {problem}; name 8 digits of a content hash or 7 of a commit; "
        f"there are {listed or 'no published versions'}"
    )


# --- Tags ----------------------------------------------------------------------------------------------


def new_tags(target: Any, snapshot: Snapshot) -> list[str]:
    """The tags that a version lacks to be published."""
    content_hash = snapshot.content_hash
    tags = [f"{_VERSION_TAG}{content_hash[:16]}"]
    if commit := _COMMIT.fullmatch(snapshot.source_commit):
        digits, dirty = commit.groups(default="")
        tags.append(f"{_COMMIT_TAG}{digits[:12]}{dirty}-{content_hash[:8]}")
    refs = target.metadata.refs
    return [tag for tag in own_tags(refs, tags, int(snapshot.snapshot_id)) if tag not in refs]


def own_tags(refs: dict[str, Any], tags: Iterable[str], snapshot_id: int) -> list[str]:
    """These tags, each made the snapshot's own where equal rows in another schema have it already."""
    return [
        tag if tag not in refs or refs[tag].snapshot_id == snapshot_id else f"{tag}-{snapshot_id}"
        for tag in tags
    ]


def renamed(tag: str, content_hash: str) -> str:
    """The name that a tag has on other content."""
    if tag.startswith(_VERSION_TAG):
        return f"{_VERSION_TAG}{content_hash[:16]}"
    return f"{'-'.join(tag.split('-')[:2])}-{content_hash[:8]}"


def _produced_by(target: Any, commit: str) -> set[str]:
    """Ids of the snapshots that are tagged with this commit; 7 digits suffice."""
    asked = _COMMIT.fullmatch(commit)
    if asked is None:
        return set()
    digits, dirty = asked.groups(default="")
    name = re.compile(rf"{_COMMIT_TAG}{digits[:12]}[0-9a-f]*{re.escape(dirty)}-[0-9a-f]+(-\d+)?")
    return {str(ref.snapshot_id) for tag, ref in target.metadata.refs.items() if name.fullmatch(tag)}


# --- What became of a version --------------------------------------------------------------------------


def left_of(target: Any, snapshot_id: str) -> str:
    """What a version has become, however often it was rewritten; empty where it was dropped."""
    left: str = snapshot_id
    while (further := target.properties.get(f"{GONE}{left}")) is not None:
        left = further
    return left


def known_id(target: Any, table: str, snapshot_id: str) -> int:
    """The id of a snapshot that is there.

    Raises:
        WarehouseError: It is not; the message tells what is left of it.
    """
    if snapshot_id.isdigit() and target.metadata.snapshot_by_id(int(snapshot_id)) is not None:
        return int(snapshot_id)
    left = left_of(target, snapshot_id)
    if left == snapshot_id:
        raise WarehouseError(f"table {table} has no snapshot {snapshot_id}; it was expired or never written")
    remains = f"what is left of it is snapshot {left}" if left else "nothing is left of it"
    raise WarehouseError(
        f"table {table}: snapshot {snapshot_id} was erased, in part or as a whole; {remains}"
    )
