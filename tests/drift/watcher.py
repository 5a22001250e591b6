"""Watch services that tests kill, forked one after the other from a process that has calibrated once.

`python watcher.py HOME`: for each port on stdin a service on it; its pid on stdout, and in the end its exit status.
"""

import os
import sys
from pathlib import Path

import uvicorn

from platform_assets.drift.monitor import Monitor
from platform_assets.drift.service import watch_service
from platform_assets.drift.watch import Watch
from platform_assets.ledger.ledger import Ledger
from resources.object_store import LocalObjectStore
from tests.drift.watching import ENV, LINE, POLICY, SALT, make_profile


def serve(home, port, profile):
    """The service, with a profile that needs no release."""
    watch = Watch(
        LINE,
        POLICY,
        ledger=Ledger.open(home / "ledger.db", principal="watcher"),
        store=LocalObjectStore(home / "objects"),
        env=ENV,
        salt=SALT,
        profile_of=lambda line, version: ("release-1", profile),
    )
    watch.watched(1)
    uvicorn.run(watch_service(watch), host="127.0.0.1", port=port, log_level="error")


if __name__ == "__main__":
    profile = make_profile()
    Monitor(LINE, 1, profile, POLICY)  # thresholds are kept in the process, and so in those forked from it
    for port in sys.stdin:
        pid = os.fork()
        if not pid:
            serve(Path(sys.argv[1]), int(port), profile)
            os._exit(0)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
