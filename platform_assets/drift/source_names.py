"""The names behind the hashes of sources that the ledger holds: kept apart from it, where they can be erased.

    reports/<env>/<line>/drift/<YYYY-MM-DD>/sources-<…>.json     {hash: name}, of one window

The key follows from what the ledger entry holds, so an entry finds its own. Past its days, or removed by hand, the entry
still tells that there were so many sources in these shares, and nobody can tell which.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from platform_assets.drift.segments import RETENTION_DAYS, folder_of
from platform_assets.validation.source_names import hashed_source
from resources.object_store import ObjectMissingError, ObjectStore
from resources.provenance import code_commit

MIX: Final = "mix_by_hash"
"""Field of a ledger entry: share by hash. Entries of earlier releases have names in `mix`."""
_NAMED_MIX: Final = "mix"


def hashed_mix(mix: Mapping[str, float], salt: bytes) -> dict[str, float]:
    """The shares of sources as the ledger holds them."""
    return {hashed_source(name, salt): share for name, share in mix.items()}


def keep_names(
    store: ObjectStore, mix: Mapping[str, float], window_end: datetime, *, env: str, line: str, salt: bytes
) -> None:
    """Keep what the sources of a window are called; the same names once more change nothing."""
    if not mix:
        return
    names = {hashed_source(name, salt): name for name in mix}
    store.put(
        _key(env, line, window_end, names),
        json.dumps(names, sort_keys=True, ensure_ascii=False).encode(errors="surrogatepass"),
        gdpr_class="personal",
        retention_days=RETENTION_DAYS,
        source_commit=code_commit(),
    )


def named_mix(store: ObjectStore, change: Mapping[str, Any], *, env: str, line: str) -> dict[str, float]:
    """The shares of sources of a ledger entry by their names, and by the hash where the name is not kept any more.

    Args:
        store: Where `keep_names` has kept them.
        change: Body of the entry.
        env: The environment's part of the keys.
        line: The line.
    """
    if _NAMED_MIX in change:
        return dict(change[_NAMED_MIX])
    mix: dict[str, float] = change.get(MIX, {})
    if not mix:
        return {}
    try:
        kept = store.get(_key(env, line, datetime.fromisoformat(change["window_end"]), mix))
        names = json.loads(kept.decode(errors="surrogatepass"))
    except ObjectMissingError:
        names = {}
    return {names.get(hashed, hashed): share for hashed, share in mix.items()}


def _key(env: str, line: str, window_end: datetime, hashes: Mapping[str, object]) -> str:
    digest = sha256("\n".join(sorted(hashes)).encode()).hexdigest()[:16]
    return f"{folder_of(env, line)}/{window_end.date()}/sources-{digest}.json"
