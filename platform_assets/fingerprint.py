"""Identity of what an asset would make: resolved configuration, code, and the versions it reads.

Dagster shows staleness and never skips; equal fingerprints are how this platform knows that there is
nothing to do (docs/adr/0007).
"""

import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import rfc8785

from platform_assets.statements import statements


def canonical_sha256(content: Any) -> str:
    """SHA-256 of the RFC 8785 (canonical JSON) form of `content`, hexadecimal."""
    return hashlib.sha256(rfc8785.dumps(content)).hexdigest()


def fingerprint(asset: str, *, code: str, config: Mapping[str, Any], upstream: Mapping[str, str]) -> str:
    """Fingerprint of one asset.

    Args:
        asset: the asset's key.
        code: `code_version` of the modules that compute it.
        config: the resolved configuration that it reads, JSON-like.
        upstream: data version by upstream name; for a source, its content hash.
    """
    return canonical_sha256(
        {"asset": asset, "code": code, "config": dict(config), "upstream": dict(upstream)}
    )


@lru_cache(maxsize=256)
def code_version(name: str, *modules: str) -> str:
    """Version of the code that computes an asset: a hash of its stated name and of what the code does.

    It is the same wherever that code stands: modules may be renamed, moved, split and put together, functions
    may change places, imports may be regrouped or lead to another place of our own packages. Comments,
    docstrings, formatting and annotations of functions do not count either. Whatever else changes in the
    listed modules changes the version (docs/adr/0026).

    Args:
        name: What the code is for: `features`, `validation`. It stays when modules move.
        modules: Dotted names of the modules, in any order; a package stands for all of its modules.

    Raises:
        ModuleNotFoundError: There is no source of such a module.
    """
    files = {dotted: path for module in modules for dotted, path in _sources(module)}
    return canonical_sha256([name, sorted(statements(files))])[:16]


def _sources(module: str) -> Iterator[tuple[str, Path]]:
    spec = find_spec(module)
    if spec is None or not (spec.submodule_search_locations or spec.has_location):
        raise ModuleNotFoundError(
            f"{module}: no source of such a module; code_version needs dotted names of modules"
        )
    if spec.submodule_search_locations is None:
        yield module, Path(str(spec.origin))
        return
    for folder in map(Path, spec.submodule_search_locations):
        for path in folder.rglob("*.py"):
            *parents, stem = path.relative_to(folder).with_suffix("").parts
            yield ".".join([module, *parents, *([] if stem == "__init__" else [stem])]), path
