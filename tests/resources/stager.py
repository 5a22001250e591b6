"""Stages and publishes versions of a table and prints each one's number once it is current: tests run and kill it.

Each version has other columns than the one before.

`stager.py TABLE FIRST [COUNT]`: in the warehouse that the settings in its environment lead to.
"""

import sys
from itertools import count, islice

import pyarrow as pa

from platform_assets.datasets.snapshots import content_hash
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings

table, first, *limit = sys.argv[1:]
warehouse = OutsideSystems(PlatformSettings()).warehouse
for version in islice(count(int(first)), *map(int, limit or ["1000000"])):
    texts, numbers = [f"row {row}" for row in range(100)], [version] * 100
    shapes = [
        {"version": numbers, "text": texts},
        {"text": numbers, "version": numbers},
        {"version": numbers, "pixels": pa.array([[row, 255] for row in range(100)], pa.list_(pa.uint8(), 2))},
    ]
    rows = pa.table(shapes[version % len(shapes)])
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
