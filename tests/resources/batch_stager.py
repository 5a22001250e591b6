"""Stages rows that come in batches, and stops in their middle until it is killed: `batch_stager.py TABLE FIRST`."""

import sys
import time

import pyarrow as pa

from platform_assets.outside_systems import OutsideSystems
from resources.row_batches import RowBatches
from resources.settings import PlatformSettings

table, first = sys.argv[1:]
BATCH = pa.record_batch({"version": [int(first)] * 2_000_000})
scans = 0


def scan(columns):
    """Three batches of which a row group is written before the last; the second time, while they are written, none ends."""
    global scans  # noqa: PLW0603 - of this program
    scans += 1
    yield BATCH
    yield BATCH
    if scans > 1:
        print("half", flush=True)
        while True:
            time.sleep(60)
    yield BATCH


OutsideSystems(PlatformSettings()).warehouse.stage(
    table,
    RowBatches(BATCH.schema, 3 * BATCH.num_rows, scan),
    content_hash="0" * 64,
    gdpr_class="personal",
    retention_days=30,
    source_commit="0c0ffee",
)
