"""Who looks into a quarantine: the policy is asked, and each look at a case is an entry of the ledger.

A look at a case is at what a file shows and is held for, also as one of several on a page; counts and ids are none. The
entry is written first, so what cannot be recorded is not shown. So that no reader makes the ledger grow, whoever looks at
a file again within the hour adds nothing: an entry names all files that were looked at together, and its key are the
principal, the hour, the act and these files.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Final, Literal

from platform_assets.datasets.quarantine import TABLE
from platform_assets.datasets.quarantine_cases import Quarantine, read_quarantine, thumbnails
from platform_assets.ledger.ledger import fingerprint_of
from platform_assets.outside_systems import OutsideSystems
from resources.policed_object_store import AccessDeniedError
from resources.warehouse import Snapshot

ACCESS: Final = "quarantine_access"
"""The kind of the entries."""
Act = Literal["case", "page", "thumbnail"]
_HOUR: Final = "%Y-%m-%dT%H"
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
        self._outside, self._clock, self._lock = outside, clock, Lock()
        self._hour = ""
        self._noted: set[tuple[str, str]] = set()
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
        self._ask(line, snapshot)
        self._note(line, files, act)

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

    def _ask(self, line: str, snapshot: Snapshot) -> None:
        principal = self._outside.settings.principal
        request: dict[str, Any] = {
            "method": "GET",
            "path": f"/datasets/{self._outside.env}/{line}/quarantine",
            "user": {
                "name": principal.user,
                "groups": list(principal.groups),
                "roles": list(principal.roles),
                "labels": principal.labels.model_dump(),
                "consent": {"gdpr": principal.consent},
            },
            "object": {"gdpr_class": snapshot.gdpr_class, "region": None},
        }
        decision = self._outside.policy_engine.decide(request)
        if not decision.allow:
            self._outside.denials.record(request, decision)
            raise AccessDeniedError(request, decision)

    def _note(self, line: str, files: Collection[str], act: Act) -> None:
        hour = self._clock().strftime(_HOUR)
        with self._lock:
            if hour != self._hour:
                self._hour, self._noted = hour, set()
            new = sorted(each for each in set(files) if (line, each) not in self._noted)
        if not new:
            return
        body = {"line": line, "act": act, "files": new, "hour": f"{hour} UTC"}
        self._outside.ledger.append(
            ACCESS,
            f"{line}_quarantine",
            fingerprint=fingerprint_of(principal=self._outside.principal, **body),
            body=body,
        )
        with self._lock:
            if hour == self._hour:
                self._noted.update((line, each) for each in new)
