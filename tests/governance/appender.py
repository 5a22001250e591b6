"""Appends to a ledger and prints each hash once the entry is durable: the tests run and kill it."""

import sys
from pathlib import Path

from platform_assets.governance.ledger import Ledger

path, name, count = sys.argv[1:]
ledger = Ledger.open(Path(path), principal=name)
for number in range(int(count)):
    entry = ledger.append("note", name, fingerprint=str(number), body={"number": number})
    print(entry.hash, flush=True)
