"""An erasure, as somebody asks for it."""

from datetime import UTC, datetime

from platform_assets.datasets.snapshots import content_hash
from platform_assets.governance.erasure import ErasureReport, erase
from platform_assets.governance.subjects import Subject
from platform_assets.outside_systems import OutsideSystems


def erase_subject(outside: OutsideSystems, namespace: str, who: str) -> ErasureReport:
    """Erases somebody."""
    return erase(
        Subject(namespace, who),
        by="ada",
        reason="request 7",
        ledger=outside.ledger,
        warehouse=outside.warehouse,
        store=outside.object_store,
        locks=outside.locks,
        salt=outside.salt,
        content_hash=content_hash,
        environment="dev",
        now=datetime.now(UTC),
    )
