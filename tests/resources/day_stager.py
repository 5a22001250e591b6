"""Publishes versions by day, forgets all but the newest, and prints the number of each once it is current.

`day_stager.py TABLE FIRST`: in the warehouse that the settings in its environment lead to, until it is killed. The newest
day of version n has n in all of its rows, and is the one with the number n % 5 of five.
"""

import sys
from datetime import UTC, date, datetime
from itertools import count

import pyarrow as pa

from platform_assets.datasets.snapshots import content_hash
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings

DAYS = [date(2026, 11, number) for number in range(1, 6)]


def rows_of(number: int) -> pa.Table:
    """The rows of a day that was written by this version."""
    return pa.table({"version": [number] * 10, "row": list(range(10))})


if __name__ == "__main__":
    table, first = sys.argv[1:]
    warehouse = OutsideSystems(PlatformSettings()).warehouse
    for number in count(int(first)):
        current = warehouse.current(table) if table in warehouse.tables() else None
        known = warehouse.days(current, rows_of(0).schema) if current else None
        day = DAYS[number % len(DAYS)]
        staged = warehouse.stage_days(
            table,
            {day: rows_of(number)},
            on=current,
            keep=[each for each in known or () if each != day],
            content_hash=content_hash,
            gdpr_class="internal",
            retention_days=365,
            source_commit="0c0ffee",
        )
        warehouse.publish(staged)
        print(number, flush=True)
        warehouse.expire(table, written_before=datetime.now(UTC))
