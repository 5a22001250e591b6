"""Builders for tests of the warehouse: small tables, written, published and rewritten with defaults."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from platform_assets.datasets.snapshots import content_hash
from platform_assets.outside_systems import OutsideSystems
from resources.iceberg_warehouse import IcebergWarehouse
from resources.settings import PlatformSettings
from resources.warehouse import Rewrite, Snapshot

TABLE = "datasets.reviews"
COMMIT = "0c0ffee" + 33 * "0"


def rows(version: int, count: int = 5) -> pa.Table:
    """A small table whose every row tells its version."""
    return pa.table(
        {
            "version": pa.array([version] * count, pa.int64()),
            "text": [f"row {row}" for row in range(count)],
            "token_ids": pa.array([list(range(row)) for row in range(count)], pa.list_(pa.int32())),
            "label": pa.array([None, *[0] * (count - 1)], pa.int32()),
        }
    )


def write(warehouse: IcebergWarehouse, content: pa.Table, table: str = TABLE, **given: object) -> Snapshot:
    """Stage these rows; what is not given has a default."""
    carried = {"gdpr_class": "personal", "retention_days": 30, "source_commit": COMMIT} | given
    return warehouse.stage(table, content, content_hash=content_hash(content), **carried)


def stage(warehouse: IcebergWarehouse, version: int, table: str = TABLE) -> Snapshot:
    """Stage the rows of this version."""
    return write(warehouse, rows(version), table)


def publish(warehouse: IcebergWarehouse, version: int) -> Snapshot:
    """Stage and publish the rows of this version."""
    return warehouse.publish(stage(warehouse, version))


def local(home: Path) -> PlatformSettings:
    """Everything under a home, the catalogue beside the tables."""
    return PlatformSettings(home=home, catalog_uri=f"sqlite:///{home / 'catalog.sqlite'}")


def opened(home: Path) -> IcebergWarehouse:
    """The warehouse of a home, as another process would open it."""
    return OutsideSystems(local(home)).warehouse


def files_of(place: PlatformSettings) -> set[str]:
    """Every file of the tables."""
    root = place.resolved_warehouse_uri
    if root.startswith("s3://"):
        s3fs = pytest.importorskip("s3fs")
        s3fs.S3FileSystem.clear_instance_cache()
        found = (f"s3://{path}" for path in s3fs.S3FileSystem().find(root))
        # Some servers list folders as well.
        return {path for path in found if not path.endswith("/")}
    return {str(path) for path in Path(root).rglob("*") if path.is_file()}


def referenced(place: PlatformSettings, table: str = TABLE) -> set[str]:
    """Every file that the table's metadata names, found by pyiceberg's own inspection."""
    from pyiceberg.catalog.sql import SqlCatalog

    properties = {"s3.endpoint": place.s3_endpoint} if place.s3_endpoint else {}
    catalog = SqlCatalog(
        "platform", uri=place.resolved_catalog_uri, warehouse=place.resolved_warehouse_uri, **properties
    )
    inspect = catalog.load_table(table).inspect
    manifests = inspect.all_manifests()["path"].to_pylist()
    named = (
        (inspect.all_files()["file_path"].to_pylist() if manifests else [])
        + manifests
        + inspect.snapshots()["manifest_list"].to_pylist()
        + inspect.metadata_log_entries()["file"].to_pylist()
    )
    return {name.removeprefix("file://") for name in named}


def without(text: str):
    """Keeps the rows of all other texts."""
    return lambda _, found: pc.not_equal(found["text"], text)


def text_of(version: Snapshot) -> list[str]:
    """Where the text stands in a version, if it has one."""
    return [column for column in version.columns if column == "text"]


def rewrite(warehouse: IcebergWarehouse, text: str) -> list[Rewrite]:
    """Take the rows with this text out of every version."""
    return warehouse.rewrite(TABLE, without(text), columns=text_of, content_hash=content_hash)
