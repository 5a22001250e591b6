"""What is left of rows that something was fitted on, once an erasure or retention has taken some of them."""

from platform_assets.references import TableSnapshot
from resources.warehouse import Warehouse, WarehouseError


def remains_of(given: TableSnapshot, warehouse: Warehouse) -> TableSnapshot | None:
    """What a snapshot is today: itself, the version that took its place, or None where it is lost.

    Raises:
        WarehouseError: the warehouse does not answer, which says nothing about the snapshot.
    """
    try:
        left = warehouse.left_of(given.table, given.snapshot_id)
    except WarehouseError:
        # It was expired, or nobody knows; in the latter case the next question is not answered either.
        if given.table not in warehouse.tables() or given.snapshot_id not in _versions(given, warehouse):
            return None
        raise
    if left is None or left == given.snapshot_id:
        return None if left is None else given
    return _versions(given, warehouse).get(left)


def _versions(given: TableSnapshot, warehouse: Warehouse) -> dict[str, TableSnapshot]:
    known = warehouse.versions(given.table, unpublished=True)
    return {each.snapshot_id: TableSnapshot.of(each) for each in known}
