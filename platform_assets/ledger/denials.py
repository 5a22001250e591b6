"""Denied accesses are decisions too: each becomes a ledger entry."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from platform_assets.ledger.ledger import Ledger
from resources.policy_engine import Decision

_LONGEST = 256
_MOST_GROUPS = 32


def record_denial(ledger: Ledger, request: Mapping[str, Any], decision: Decision) -> None:
    """Append a `denial` of this request on its path.

    The request comes from outside: only the fields named here are recorded, and of each only text of
    moderate length. Claims, conditions and headers may hold secrets and are left out.

    Args:
        ledger: Where to append.
        request: A request of either form that k8s/policy/minio_authz.rego describes.
        decision: The denial of it.
    """
    user = _mapping(request.get("user"))
    claims = _mapping(request.get("claims"))
    if "action" in request:
        path = f"/{_text(request.get('bucket'))}/{_text(request.get('object'))}"
    else:
        path = _text(request.get("path"))
    # Behind a question mark stand signatures and tokens.
    path = path.partition("?")[0]
    groups = user.get("groups", request.get("groups"))
    ledger.append(
        "denial",
        path or "(no path)",
        fingerprint=uuid4().hex,
        body={
            "method": _text(request.get("method", request.get("action"))),
            "user": _text(user.get("name", request.get("account"))),
            "groups": [_text(group) for group in groups[:_MOST_GROUPS]] if isinstance(groups, list) else [],
            "env": _text(_mapping(user.get("labels", claims)).get("env")),
            "reasons": list(decision.reasons),
        },
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    """A text without what no ledger can hold; empty for anything else."""
    if not isinstance(value, str):
        return ""
    # Postgres knows no NUL, and JSON no lone surrogate.
    return value[:_LONGEST].replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
