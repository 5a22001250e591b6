"""A writer and an eraser of one subject as two processes, again and again, each time in a home of its own.

racers.py FOLDER KEY APPLICANT ROUNDS: prints for each round the exit statuses of both; the writer's 3 is a refusal.
"""

import os
import random
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from platform_assets.governance.errors import ErasureError
from tests.governance.eraser import erase_subject
from tests.governance.object_writer import put

_SPREAD_SECONDS = 1.0
"""About as long as an erasure takes to its entry."""


def started(delay: float, act: Callable[..., object], *given: object) -> int:
    """The process id of this act."""
    child = os.fork()  # nothing has run yet, so there are no threads and no connections to inherit
    if child:
        return child
    time.sleep(delay)
    try:
        act(*given)
    except ErasureError:
        os._exit(3)
    except Exception:  # noqa: BLE001 - it must not go on in the parent's program
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    folder, key, applicant = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    chance = random.Random(7)
    for number in range(int(sys.argv[4])):
        home = folder / str(number)
        pids = [
            started(chance.uniform(0, _SPREAD_SECONDS), put, home, key),
            started(chance.uniform(0, _SPREAD_SECONDS / 4), erase_subject, home, applicant),
        ]
        print(*(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids), flush=True)
