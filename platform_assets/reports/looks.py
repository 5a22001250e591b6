"""Who looks at stored sheets of cases: each look is recorded before the page is handed out."""

from platform_assets.governance.access import SHOWN, AccessLog, Look
from platform_assets.governance.subject_columns import ids_of, subject_of
from platform_assets.governance.subjects import hash_of
from platform_assets.sheets import Sheet
from resources.object_store import GdprClass


class SheetLooks:
    """Records looks at sheets in the name of the settings' principal. May be shared among threads."""

    def __init__(self, log: AccessLog, salt: bytes) -> None:
        """Records nothing yet.

        Args:
            log: Asks the policy, and records.
            salt: Of the hashes by which the ledger knows subjects.
        """
        self._log, self._salt = log, salt

    def look_at(self, sheet: Sheet, key: str, gdpr_class: GdprClass) -> None:
        """Lets somebody look at a sheet, and records whom it shows; nothing where it shows nobody.

        Args:
            sheet: What is left of it.
            key: Its object key.
            gdpr_class: Its class.

        Raises:
            AccessDeniedError: The policy does not let the principal; the denial is counted.
            LedgerError: It cannot be recorded.
        """
        shown = subject_of(sheet.images.schema)
        if shown is None or not sheet.images.num_rows:
            return
        ids = ids_of(sheet.images[shown.column]).to_pylist()
        self._log.look_at(
            Look(subject=key, about={"act": "page", "purpose": "sheet of errors", "outcome": SHOWN}),
            {hash_of(shown.namespace, each, self._salt) for each in ids if each is not None},
            path=f"/{key}",
            gdpr_class=gdpr_class,
        )
