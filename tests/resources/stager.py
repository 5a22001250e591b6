"""Stages and publishes versions of a table and prints each one's number once it is current: tests run and kill it."""

import sys
from itertools import count
from pathlib import Path

import pyarrow as pa

from platform_assets.datasets.snapshots import content_hash
from resources.warehouse import IcebergWarehouse

home, table, first = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
warehouse = IcebergWarehouse(
    f"sqlite:///{home / 'catalog.sqlite'}", str(home / "warehouse"), locks=home / "locks"
)
for version in count(first):
    rows = pa.table({"version": [version] * 100, "text": [f"row {row}" for row in range(100)]})
    staged = warehouse.stage(
        table,
        rows,
        content_hash=content_hash(rows),
        gdpr_class="personal",
        retention_days=30,
        source_commit="0c0ffee",
    )
    warehouse.publish(staged)
    print(version, flush=True)
