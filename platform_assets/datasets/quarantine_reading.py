"""Who looks into a quarantine: the policy is asked, and each look at a case is an entry of the ledger.

A look at a case is at what a file shows and is held for, also as one of several on a page; counts and ids are none. How
looks are recorded, and that none is shown that cannot be, `governance/access.py` says.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Final, Literal

from platform_assets.datasets.quarantine import TABLE
from platform_assets.datasets.quarantine_cases import Quarantine, read_quarantine, thumbnails
from platform_assets.governance.access import AccessLog, Look
from platform_assets.outside_systems import OutsideSystems
from resources.warehouse import Snapshot

ACCESS: Final = "quarantine_access"
"""The kind of the entries."""
Act = Literal["case", "page", "thumbnail"]
_MOST_BYTES: Final = 16 << 20
"""Of thumbnails in memory."""


@dataclass(frozen=True, slots=True)
class _Thumbnails:
    of: Snapshot
    files: frozenset[str]
    """All that have one."""
    by_file: dict[str, bytes]
    """Those that are in memory."""


class QuarantineReader:
    """Reads the quarantines of all lines in the name of the settings' principal. May be shared among threads."""

    def __init__(
        self, outside: OutsideSystems, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Reads nothing yet.

        Args:
            outside: The systems.
            clock: Gives the current time with its time zone.
        """
        self._outside, self._lock = outside, Lock()
        self._log = AccessLog(outside, clock=clock)
        self._thumbnails: _Thumbnails | None = None

    def read(self, line: str) -> Quarantine:
        """The quarantine of a line: for counts and ids. Whoever shows more calls `look_at` first.

        Raises:
            WarehouseError: The table cannot be read.
            LedgerError: The ledger cannot be read.
        """
        return read_quarantine(self._outside.warehouse, self._outside.ledger, line)

    def look_at(self, line: str, snapshot: Snapshot, files: Collection[str], act: Act) -> None:
        """Lets somebody look at these files, and records it.

        Args:
            line: Whose they are.
            snapshot: The version of the table that holds them.
            files: Their ids.
            act: How they are looked at.

        Raises:
            AccessDeniedError: The policy does not let the principal read what is of this class; the denial is counted.
            LedgerError: It cannot be recorded.
        """
        look = Look(
            subject=f"{line}_quarantine", about={"line": line, "act": act}, kind=ACCESS, objects="files"
        )
        self._log.look_at(
            look,
            files,
            path=f"/datasets/{self._outside.env}/{line}/quarantine",
            gdpr_class=snapshot.gdpr_class,
        )

    def thumbnail(self, line: str, file_id: str) -> bytes | None:
        """The PNG of a file that is held now; None where there is none. A look at the case, as `look_at` records it.

        What was read last stays in memory as long as it is current, until `forget`.

        Raises:
            AccessDeniedError: As `look_at`.
            LedgerError: As `look_at`.
            WarehouseError: The table cannot be read.
        """
        snapshot = self._outside.warehouse.current(TABLE.format(line=line))
        if snapshot is None:
            return None
        png = self._kept(snapshot, file_id).by_file.get(file_id)
        if png is not None:
            self.look_at(line, snapshot, [file_id], "thumbnail")
        return png

    def with_thumbnail(self, snapshot: Snapshot) -> frozenset[str]:
        """Ids of the files of a version of a table that have one."""
        return self._kept(snapshot).files

    def forget(self) -> None:
        """Keeps no thumbnail in memory any longer."""
        with self._lock:
            self._thumbnails = None

    def _kept(self, snapshot: Snapshot, wanted: str | None = None) -> _Thumbnails:
        with self._lock:
            kept = self._thumbnails
            if kept is None or kept.of != snapshot or wanted in kept.files - kept.by_file.keys():
                kept = self._thumbnails = self._read(snapshot, wanted)
            return kept

    def _read(self, snapshot: Snapshot, wanted: str | None) -> _Thumbnails:
        files, by_file, size = set(), {}, 0
        for file_id, png in thumbnails(self._outside.warehouse, snapshot):
            files.add(file_id)
            size += len(png)
            if size <= _MOST_BYTES or file_id == wanted:
                by_file[file_id] = png
        return _Thumbnails(snapshot, frozenset(files), by_file)
