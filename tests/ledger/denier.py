"""Denies, and prints a letter for each denial once it is recorded: the tests run and kill it."""

import sys
from pathlib import Path

from platform_assets.ledger.denial_log import DenialLog
from platform_assets.ledger.denials import Denials
from platform_assets.ledger.ledger import Ledger
from resources.policy_engine import Decision

home, name, count, at_end = sys.argv[1:]
ledger = Ledger.open(Path(home) / "ledger.sqlite", principal=name)
denials = Denials(DenialLog(Path(home) / "denials", segment_bytes=4_000), lambda: ledger)
for number in range(int(count)):
    denials.record(
        {"method": "GET", "path": f"/models/prod/{number}", "user": {"name": name}},
        Decision(allow=False, reasons=("no",)),
    )
    print("x", end="", flush=True)
    if number % 20 == 19 and at_end == "often":
        denials.summarise(at_once=True)
