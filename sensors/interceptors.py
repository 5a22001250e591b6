"""Tekton's interceptors `github`, `gitlab` and `cel`: what checks an event, and what it adds to it.

Source of the semantics: tektoncd/triggers, `pkg/interceptors` (June 2026). Two differences: a signature
is checked before anything else is looked at, and SHA-1 is none.
"""

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import orjson

from sensors.cel import EvaluationError, Expression, canonical_header, cel_value, to_json
from sensors.tekton import SecretRef

_DEEPEST_BODY = 64
_MOST_VALUES = 250_000


class BodyError(Exception):
    """A body that is no JSON object of moderate size."""


class StoppedError(Exception):
    """A trigger makes nothing of an event, and why."""


@dataclass(frozen=True)
class Event:
    """A webhook's request."""

    body: bytes
    headers: Mapping[str, tuple[str, ...]]
    """By canonical name, `X-Github-Event`."""
    url: str = "/"
    """Path and query."""
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @classmethod
    def of(cls, body: bytes, headers: Mapping[str, str], url: str = "/") -> "Event":
        """An event whose headers have one value each, by any spelling of their names."""
        return cls(body, {canonical_header(name): (value,) for name, value in headers.items()}, url)

    def header(self, name: str) -> str:
        """The header's first value; empty where it was not sent."""
        return next(iter(self.headers.get(name, ())), "")

    @cached_property
    def document(self) -> dict[str, Any]:
        """The parsed body.

        Raises:
            BodyError: It is not JSON, not an object, or unreasonably deep or large.
        """
        try:
            document = _parsed(self.body)
        except ValueError:
            raise BodyError(
                "the body must be JSON: set the webhook's content type to application/json"
            ) from None
        if not isinstance(document, dict):
            raise BodyError("the body must be a JSON object")
        if not _is_moderate(document):
            raise BodyError(f"the body nests deeper than {_DEEPEST_BODY} or has over {_MOST_VALUES:,} values")
        return document

    @cached_property
    def cel_variables(self) -> dict[str, Any]:
        """What CEL sees of it, but for the extensions."""
        return {
            "body": cel_value(self.document),
            "header": cel_value(dict(self.headers)),
            "requestURL": cel_value(self.url),
        }


class Step(Protocol):
    """An interceptor, once the signature is known to be good."""

    def __call__(self, event: Event, extensions: Mapping[str, Any], /) -> Mapping[str, Any]:
        """What it adds to the extensions.

        Raises:
            StoppedError: The event goes no further.
        """
        ...


@dataclass(frozen=True)
class Signature:
    """How a forge proves that it knows the secret."""

    secret: SecretRef
    header: str
    is_hmac: bool
    """Whether the header holds an HMAC-SHA256 of the body, or the secret itself."""

    def holds(self, event: Event, secret: str | None) -> bool:
        """Whether the event is signed with the secret, in constant time; nothing is signed with an empty one."""
        if not secret:
            return False
        expected = secret.encode()
        if self.is_hmac:
            expected = b"sha256=" + hmac.new(expected, event.body, hashlib.sha256).hexdigest().encode()
        return hmac.compare_digest(event.header(self.header).encode("latin-1", "replace"), expected)


@dataclass(frozen=True)
class EventTypes:
    """Lets the listed events through."""

    header: str
    allowed: tuple[str, ...]

    def __call__(self, event: Event, _extensions: Mapping[str, Any], /) -> Mapping[str, Any]:
        """See `Step`."""
        if event.header(self.header) not in self.allowed:
            raise StoppedError(f"events other than {', '.join(self.allowed)} are ignored")
        return {}


def changed_files(event: Event, _extensions: Mapping[str, Any], /) -> Mapping[str, Any]:
    """GitHub's list of the paths that a push adds, modifies or removes; see `Step`."""
    paths: list[str] = []
    commits = event.document.get("commits")
    for commit in commits if isinstance(commits, list) else []:
        for kind in ("added", "modified", "removed"):
            listed = commit.get(kind) if isinstance(commit, dict) else None
            if not isinstance(listed, list):
                raise StoppedError(f"the payload has a commit without {kind}")
            paths += map(str, listed)
    return {"changed_files": ",".join(paths)}


@dataclass(frozen=True)
class CelStep:
    """A filter, and values that are added to the extensions."""

    name: str
    filter: Expression | None
    overlays: tuple[tuple[str, Expression], ...]

    def __call__(self, event: Event, extensions: Mapping[str, Any], /) -> Mapping[str, Any]:
        """See `Step`."""
        variables = event.cel_variables | {"extensions": cel_value(dict(extensions))}
        added: dict[str, Any] = {}
        try:
            if self.filter is not None and to_json(self.filter(variables)) is not True:
                raise StoppedError(f"stopped by the filter {self.name}")
            for key, expression in self.overlays:
                *parents, last = key.split(".")
                inner = added
                for parent in parents:
                    inner = inner.setdefault(parent, {})
                inner[last] = to_json(expression(variables))
        except EvaluationError as problem:
            raise StoppedError(f"stopped by {self.name}, which has no value: {problem}") from None
        return added


def _parsed(body: bytes) -> Any:
    """JSON as Go reads it: half of a surrogate pair, such as a commit message cut within an emoji, becomes U+FFFD.

    Raises:
        ValueError: It is not JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        if b"\\u" not in body:
            raise
    try:
        text = json.dumps(json.loads(body.decode()), ensure_ascii=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return orjson.loads(whole)  # which is stricter than Python about numbers


def _is_moderate(document: dict[str, Any]) -> bool:
    """Whether a walk over it ends soon and needs no deep stack."""
    level: list[Any] = [document]
    seen = 0
    for _ in range(_DEEPEST_BODY):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list):
                below += value
        seen += len(below)
        if not below:
            return True
        if seen > _MOST_VALUES:
            return False
        level = below
    return False
