"""The outside systems that the settings choose. Nothing is connected to before it is used."""

from platform_assets.governance.ledger import Ledger
from resources.object_store import LocalObjectStore, ObjectStore
from resources.settings import PlatformSettings
from resources.warehouse import IcebergWarehouse


def open_ledger(settings: PlatformSettings) -> Ledger:
    """The ledger, in the name of the settings' principal."""
    return Ledger.open(settings.ledger_path, principal=settings.principal.user)


def open_warehouse(settings: PlatformSettings) -> IcebergWarehouse:
    """The versioned tables."""
    return IcebergWarehouse(
        settings.resolved_catalog_uri, settings.resolved_warehouse_uri, locks=settings.locks_path
    )


def open_object_store(settings: PlatformSettings) -> ObjectStore:
    """The classified objects."""
    return LocalObjectStore(settings.objects_path)
