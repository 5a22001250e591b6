"""Puts ever new large objects, printing each key once it is stored, and one again and again: tests kill it."""

import sys
from itertools import count
from pathlib import Path

from resources.object_store import LocalObjectStore

store = LocalObjectStore(Path(sys.argv[1]))
for number in count(int(sys.argv[2])):
    key = f"models/dev/line/{number}/weights"
    content = number.to_bytes(4, "big") * (1 << 20)
    store.put(key, content, gdpr_class="internal", retention_days=1, source_commit="0c0ffee")
    print(key, flush=True)
    store.put(
        "models/dev/line/latest", content, gdpr_class="internal", retention_days=1, source_commit="0c0ffee"
    )
