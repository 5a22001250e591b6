"""Webhooks as the forges send them: recorded shapes in `data/`, signed on demand."""

import copy
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from sensors.interceptors import Event
from sensors.tekton import SecretRef

SHA = "6113728f27ae82c7b1a177c8d03f9e96e0adf246"
SECRETS = {
    "github-webhook": "github secret",
    "gitea-webhook": "gitea secret",
    "gitlab-webhook": "gitlab secret",
    "retrain": "retrain token",
}
PUSHES = {
    "github": ("https://github.com/acme/reviews.git", "refs/heads/main"),
    "gitea": ("https://gitea.example.com/acme/reviews.git", "refs/heads/master"),
    "gitlab": ("https://gitlab.example.com/acme/reviews.git", "refs/heads/main"),
}
"""Repository and ref of each forge's push; its commit is `SHA`."""

_DATA = Path(__file__).parent / "data"


def secret_of(ref: SecretRef) -> str | None:
    """What stands in the environment of the tests."""
    return SECRETS.get(ref.secret_name)


def payload(name: str, **changes: Any) -> dict[str, Any]:
    """A recorded body; `changes` are made to its fields, `repository__clone_url` to nested ones."""
    body = copy.deepcopy(json.loads((_DATA / f"{name}.json").read_text())["body"])
    for field, value in changes.items():
        *parents, last = field.split("__")
        node = body
        for parent in parents:
            node = node[parent]
        node[last] = value
    return body


def delivery(
    name: str, body: dict[str, Any] | bytes | None = None, *, secret: str | None = None
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a recorded webhook, signed by its forge.

    Args:
        name: Of the file in `data/`; it begins with the forge.
        body: Another body than the recorded one.
        secret: Another secret than the forge's own.
    """
    forge = name.partition("_")[0]
    content = payload(name) if body is None else body
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = dict(json.loads((_DATA / f"{name}.json").read_text())["headers"])
    key = SECRETS[f"{forge}-webhook"] if secret is None else secret
    if forge == "gitlab":
        headers["X-Gitlab-Token"] = key
    else:
        headers["X-Hub-Signature-256"] = "sha256=" + hmac.new(key.encode(), raw, hashlib.sha256).hexdigest()
    return raw, headers


def event(name: str, body: dict[str, Any] | bytes | None = None, *, secret: str | None = None) -> Event:
    """The same as an event."""
    raw, headers = delivery(name, body, secret=secret)
    return Event.of(raw, headers)
