"""Which files a table has, and which of them its metadata refers to.

Manifests and their lists never change once they are written: each is read once, and that may be before whoever clears
up holds the lock.
"""

from typing import Any


class TableFiles:
    """The files of an Iceberg table; remembers what it has read."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self._manifests: dict[str, tuple[str, ...]] = {}
        """Paths of manifests, by that of their list."""
        self._data: dict[str, frozenset[str]] = {}
        """Paths of data files, by that of their manifest."""

    def look_ahead(self) -> None:
        """Read the manifests of all snapshots that are there now."""
        for snapshot in self._target.metadata.snapshots:
            try:
                self._read(self._target, snapshot)
            except OSError:
                continue  # taken out meanwhile by who holds the lock; if not, it fails again, under the lock

    def there(self) -> list[str]:
        """Every file under the table's location, as the file system names it."""
        from pyarrow import fs

        filesystem, root = filesystem_of(self._target)
        found = filesystem.get_file_info(fs.FileSelector(root, recursive=True))
        return [file.path for file in found if file.type == fs.FileType.File]

    def referenced(self, target: Any) -> set[str]:
        """Paths, as the file system names them, of everything that the table's metadata refers to now."""
        from pyiceberg.io.pyarrow import PyArrowFileIO

        metadata = target.metadata
        uris = {target.metadata_location, *(entry.metadata_file for entry in metadata.metadata_log)}
        for snapshot in metadata.snapshots:
            uris.add(snapshot.manifest_list)
            for manifest in self._read(target, snapshot):
                uris |= {manifest, *self._data[manifest]}
        return {PyArrowFileIO.parse_location(uri)[2] for uri in uris}

    def _read(self, target: Any, snapshot: Any) -> tuple[str, ...]:
        """The manifests of a snapshot, each read."""
        listed = self._manifests.get(snapshot.manifest_list)
        if listed is None:
            manifests = snapshot.manifests(target.io)
            for manifest in manifests:
                if manifest.manifest_path not in self._data:
                    entries = manifest.fetch_manifest_entry(target.io, discard_deleted=False)
                    self._data[manifest.manifest_path] = frozenset(
                        entry.data_file.file_path for entry in entries
                    )
            listed = tuple(manifest.manifest_path for manifest in manifests)
            self._manifests[snapshot.manifest_list] = listed
        return listed


def filesystem_of(target: Any) -> tuple[Any, str]:
    """The file system that holds a table, and the table's folder in it."""
    from pyiceberg.io.pyarrow import PyArrowFileIO

    # The FileIO that wrote the files: its endpoint, its account, its idea of a path.
    scheme, netloc, root = PyArrowFileIO.parse_location(target.location())
    return target.io.fs_by_scheme(scheme, netloc), root
