"""Identity of what an asset would make: resolved configuration, code, and the versions it reads.

Dagster shows staleness and never skips; equal fingerprints are how this platform knows that there is
nothing to do (docs/adr/0007).
"""

import ast
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import rfc8785


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


@lru_cache(maxsize=64)
def code_version(*modules: str) -> str:
    """Version of the code in `modules` (dotted names): a hash of what it does, not of how it is laid out.

    Comments, docstrings and formatting do not change it, so that polishing a sentence retrains nothing.
    """
    digest = hashlib.sha256()
    for module in modules:
        spec = find_spec(module)
        assert spec is not None, module
        assert spec.origin is not None, module
        tree = ast.parse(Path(spec.origin).read_bytes())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                node.body = [part for part in node.body if not _is_text(part)]
        digest.update(f"{module}\0{ast.dump(tree)}\0".encode())
    return digest.hexdigest()[:16]


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
