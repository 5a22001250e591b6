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
    """Keep what the sources of a window are called.

    Names that are there already stay as they are: nothing else can be under their key, and it may be held or partly erased.
    """
    names = {hashed_source(name, salt): name for name in mix}
    key = _key(env, line, window_end, names)
    if not names or store.exists(key):
        return
    store.put(
        key,
        json.dumps(names, sort_keys=True, ensure_ascii=False).encode(errors="surrogatepass"),
        gdpr_class="personal",
        retention_days=RETENTION_DAYS,
        source_commit=code_commit(),
    )


def own_mix(change: Mapping[str, Any]) -> dict[str, float]:
    """The shares of sources as a ledger entry itself has them: by hash, or in one of an earlier release by name."""
    return dict(change.get(_NAMED_MIX, change.get(MIX, {})))


def named_mix(store: ObjectStore, change: Mapping[str, Any], *, env: str, line: str) -> dict[str, float]:
    """The shares of sources of a ledger entry by their names, and by the hash where the name is not kept any more.

    Args:
        store: Where `keep_names` has kept them.
        change: Body of the entry.
        env: The environment's part of the keys.
        line: The line.

    Raises:
        ObjectStoreError: The names cannot be read: the store is away, or denies them.
    """
    mix = own_mix(change)
    if _NAMED_MIX in change or not mix:
        return mix
    try:
        kept = store.get(_key(env, line, datetime.fromisoformat(change["window_end"]), mix))
        names = json.loads(kept.decode(errors="surrogatepass"))
    except ObjectMissingError:
        names = {}
    return {names.get(hashed, hashed): share for hashed, share in mix.items()}


def _key(env: str, line: str, window_end: datetime, hashes: Mapping[str, object]) -> str:
    digest = sha256("\n".join(sorted(hashes)).encode()).hexdigest()[:16]
    return f"{folder_of(env, line)}/{window_end.date()}/sources-{digest}.json"
