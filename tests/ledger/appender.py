"""Appends to a ledger and prints each hash once the entry is durable: the tests run and kill it."""

import sys
from pathlib import Path

from platform_assets.ledger.ledger import Ledger

location, name, count = sys.argv[1:]
ledger = Ledger.open(location if "://" in location else Path(location), principal=name)
for number in range(int(count)):
    entry = ledger.append("note", name, fingerprint=str(number), body={"number": number})
    # In one piece, whatever the buffering: two processes may share a pipe.
    print(f"{entry.hash}\n", end="", flush=True)
