"""Taking rows and versions out of an Iceberg table, one commit each, and then the files that nothing refers to.

The caller holds the warehouse's lock, and hands it on, so that whoever lost it commits and removes nothing.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from resources import iceberg_rows
from resources.iceberg_change import change_of
from resources.iceberg_days import DayFile, day_files, hash_of_days, new_name
from resources.iceberg_files import TableFiles, filesystem_of
from resources.iceberg_policy import NEW_TABLE
from resources.iceberg_types import from_text, kept
from resources.iceberg_versions import (
    AUDIT_BRANCH,
    CONTENT_HASH,
    GONE,
    MAIN,
    OWN,
    WRITTEN_AT,
    kept_versions,
    own_tags,
    renamed,
    versions_of,
)
from resources.locks import Held
from resources.warehouse import Rewrite, Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

    from resources.warehouse import Columns, Keep

    Append = Callable[[Any, dict[str, str]], None]
    """Writes files within a transaction, as a snapshot on the branch of rewrites that carries these properties."""

_REWRITE_BRANCH = "rewrite"
_MOST_EXPIRED_AT_ONCE = 500
"""Others wait for the lock; what is left over goes the next time."""

log = logging.getLogger(__name__)


def affected(target: Any, table: str, keep: "Keep", columns: "Columns") -> Iterator[tuple[Snapshot, int]]:
    """Each version that holds rows which are not to be kept, oldest first, and how many."""
    import pyarrow.compute as pc

    for version in kept_versions(target, table):
        if looked_at := columns(version):
            rows = iceberg_rows.read(table, target, int(version.snapshot_id), looked_at)
            lost = version.rows - pc.sum(keep(version, rows), min_count=0).as_py()
            if lost:
                yield version, lost


def rewrite(
    target: Any,
    table: str,
    keep: "Keep",
    columns: "Columns",
    content_hash: "Callable[[pa.Table], str]",
    held: Held,
) -> list[Rewrite]:
    """Write every version again that loses rows; one is in memory at a time, and of one by day a day."""
    rewrites: list[Rewrite] = []
    for old, _ in affected(target, table, keep, columns):
        log.info("table %s: version %s is being written again", table, old.content_hash[:12])
        then = target.metadata.snapshot_by_id(int(old.snapshot_id))

        def left_of(rows: "pa.Table", old: Snapshot = old) -> "pa.Table":
            return rows.filter(keep(old, rows.select(list(columns(old)))))

        if (days := day_files(target, then)) is not None and iceberg_rows.arrow_schema_of(then) is not None:
            new = _replace(target, old, *_days_left(target, table, then, days, left_of, content_hash), held)
        else:
            left = left_of(iceberg_rows.read(table, target, int(old.snapshot_id)))
            new = _replace(target, old, content_hash(left), partial(_append, table, then, left), held)
        log.info("table %s: version %s has become %s", table, old.content_hash[:12], new.content_hash[:12])
        rewrites.append(Rewrite(old, new, old.rows - new.rows))
    return rewrites


def drop(target: Any, old: Snapshot, held: Held) -> None:
    """Remove a version in one commit; `main` falls back to an empty beginning if it was there."""
    with change_of(target) as change:
        new_id = None
        if str(target.metadata.refs[MAIN].snapshot_id) == old.snapshot_id:
            change.append(target.schema().as_arrow().empty_table(), branch=_REWRITE_BRANCH)
            new_id = _taken_off_its_branch(change)
        _move_refs(change, old, new_id, content_hash=None)
        held.check()
    log.info("table %s: version %s is dropped", old.table, old.content_hash[:12])


def expire(target: Any, table: str, written_before: datetime, held: Held) -> int:
    """Forget versions that were written before then, in one commit and without a word of what became of them.

    The current version and the newest write stay. Their files are what nothing refers to, for the next sweep.
    """
    from pyiceberg.table.update import RemoveSnapshotsUpdate

    in_use = {ref.snapshot_id for name, ref in target.metadata.refs.items() if name in {MAIN, AUDIT_BRANCH}}
    old = [
        int(version.snapshot_id)
        for version in kept_versions(target, table)
        if version.committed_at < written_before and int(version.snapshot_id) not in in_use
    ][:_MOST_EXPIRED_AT_ONCE]
    if old:
        with change_of(target) as change:
            # With the names that point at them; pyiceberg's own way takes no snapshot that has one.
            change._apply((RemoveSnapshotsUpdate(snapshot_ids=old),))  # noqa: SLF001 - no public way
            held.check()
        log.info("table %s: %s versions have expired", table, len(old))
    return len(old)


def clear(target: Any, held: Held, files: TableFiles, there: Sequence[str] | None = None) -> int:
    """Expire what no name points at, and remove what nothing refers to; how many files went.

    Args:
        target: The table.
        held: The lock.
        files: What is known of the table's files.
        there: Those that may be removed; default: all that are there now.
    """
    _expire_unpublished(target)
    referenced = files.referenced(target.refresh())
    log.debug("table %s: %s files are referred to", target.name(), len(referenced))
    filesystem, _ = filesystem_of(target)
    unreferenced = set(files.there() if there is None else there) - referenced
    for path in sorted(unreferenced):
        # Without the lock, it may be a file that another writer is about to refer to.
        held.check()
        filesystem.delete_file(path)
    return len(unreferenced)


def _days_left(
    target: Any,
    table: str,
    then: Any,
    days: "Mapping[date, DayFile]",
    left_of: "Callable[[pa.Table], pa.Table]",
    content_hash: "Callable[[pa.Table], str]",
) -> tuple[str, "Append"]:
    """The content hash of what is left of a version by day, and what appends it; a day that loses nothing keeps its file."""
    arrow = str(iceberg_rows.arrow_schema_of(then))
    schema = from_text(arrow)
    told = {day: (each.content_hash, each.mark) for day, each in days.items()}
    losing = {}
    for day, each in days.items():
        rows = iceberg_rows.read_files(target.io, [each.file.file_path], schema)
        left = left_of(rows)
        if left.num_rows < rows.num_rows:
            losing[day], told[day] = left, (content_hash(left), each.mark)

    def append(change: Any, carried: dict[str, str]) -> None:
        write = iceberg_rows.writer(change)
        files = [
            write([kept(table, losing[day])], new_name(day, *told[day])) if day in losing else each.file
            for day, each in days.items()
        ]
        iceberg_rows.append_files(change, files, arrow=arrow, branch=_REWRITE_BRANCH, carried=carried)

    return hash_of_days((day, *each) for day, each in told.items()), append


def _append(table: str, then: Any, left: "pa.Table", change: Any, carried: dict[str, str]) -> None:
    arrow = iceberg_rows.arrow_schema_of(then)
    if arrow is None:
        change.append(left, branch=_REWRITE_BRANCH, snapshot_properties=carried)
    else:
        iceberg_rows.append(change, [kept(table, left)], arrow=arrow, branch=_REWRITE_BRANCH, carried=carried)


def _replace(target: Any, old: Snapshot, content_hash: str, append: "Append", held: Held) -> Snapshot:
    """Put what `append` writes in the place of a version, in one commit; an equal version takes the place by itself."""
    table = old.table
    then = target.metadata.snapshot_by_id(int(old.snapshot_id))
    equal = next(
        (
            each
            for each in kept_versions(target, table)
            if each.content_hash == content_hash
            and each.published >= old.published
            and _same_subject(each, old)
            and _equally_shaped(then, target.metadata.snapshot_by_id(int(each.snapshot_id)))
        ),
        None,
    )
    with change_of(target) as change:
        if equal:
            new_id = int(equal.snapshot_id)
        else:
            own = then.summary.additional_properties.items()
            carried = {name: value for name, value in own if name.startswith(OWN)} | {
                CONTENT_HASH: content_hash,
                WRITTEN_AT: old.committed_at.isoformat(),
            }
            # Written under the columns that the version had, so that it reads as before.
            with iceberg_rows.under(change, then.schema_id):
                append(change, carried)
            new_id = _taken_off_its_branch(change)
        _move_refs(change, old, new_id, content_hash)
        held.check()
    return next(each for each in versions_of(target, table) if each.snapshot_id == str(new_id))


def _equally_shaped(one: Any, other: Any) -> bool:
    return (one.schema_id, iceberg_rows.arrow_schema_of(one)) == (
        other.schema_id,
        iceberg_rows.arrow_schema_of(other),
    )


def _same_subject(one: Snapshot, other: Snapshot) -> bool:
    return (one.subject_column, one.subject_namespace) == (other.subject_column, other.subject_namespace)


def _taken_off_its_branch(change: Any) -> int:
    """The id of a snapshot that began empty, on a branch that the same commit removes again."""
    from pyiceberg.table.update.snapshot import ManageSnapshots

    new_id: int = change.table_metadata.refs[_REWRITE_BRANCH].snapshot_id
    with ManageSnapshots(change) as refs:
        refs.remove_branch(_REWRITE_BRANCH)
    return new_id


def _move_refs(change: Any, old: Snapshot, new_id: int | None, content_hash: str | None) -> None:
    """Let all that names a version name the new one, and expire the old one.

    Tags are derived from the content, so they are named anew; without content they go.
    """
    from pyiceberg.table.update.snapshot import ExpireSnapshots, ManageSnapshots

    refs = change.table_metadata.refs
    pointing = [name for name, ref in refs.items() if str(ref.snapshot_id) == old.snapshot_id]
    for name in pointing:
        with ManageSnapshots(change) as moved:
            if name == MAIN:
                moved.set_current_snapshot(snapshot_id=new_id)
            elif name == AUDIT_BRANCH:
                moved.remove_branch(name)
                if content_hash is not None:
                    moved.create_branch(new_id, name)
            else:
                moved.remove_tag(name)
                if content_hash is not None and new_id is not None:
                    (tag,) = own_tags(refs, [renamed(name, content_hash)], new_id)
                    if tag not in refs:
                        moved.create_tag(new_id, tag)
    change.set_properties(
        NEW_TABLE | {f"{GONE}{old.snapshot_id}": str(new_id) if content_hash is not None else ""}
    )
    ExpireSnapshots(change).by_id(int(old.snapshot_id)).commit()


def _expire_unpublished(target: Any) -> None:
    kept = {ref.snapshot_id for ref in target.metadata.refs.values()}
    # A parent that no ref names (the delete half of an overwrite) is history only.
    dropped = [
        snapshot.snapshot_id for snapshot in target.metadata.snapshots if snapshot.snapshot_id not in kept
    ]
    if dropped:
        target.maintenance.expire_snapshots().by_ids(dropped).commit()
