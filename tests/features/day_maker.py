"""Makes all days of the newest version of a transformer, two at a time, and prints each once it is published.

`day_maker.py HOME`: of the meters whose home that is, until it is done or killed.
"""

import sys
from pathlib import Path

from platform_assets.features import day_making
from tests.features.day_factory import Meters

if __name__ == "__main__":
    meters = Meters(Path(sys.argv[1]))
    day_making.DAYS_AT_ONCE = 2  # type: ignore[misc]
    making = meters.making_of_latest()
    for made in making.made([each.day for each in making.index.days]):
        print(made.day, flush=True)
