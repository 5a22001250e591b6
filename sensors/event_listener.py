"""The event listener: webhooks of Git forges in, pushes to the queue out. Tekton's files say how.

`POST /` takes a webhook as Tekton's listener does and follows the same EventListener. Where Tekton would create
a PipelineRun, whose task posts to `/v1/retrain`, the run's parameters are taken at once. `POST /v1/retrain` is that
address, for a Tekton that runs elsewhere. An answer of 202 means that what was accepted is durable.

What is not signed spends no bucket of what is: strangers may send as much as they like, and a forge is still heard.
"""

import hashlib
import hmac
import logging
import re
import threading
from asyncio import timeout
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Self

import orjson
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from resources.git_names import is_commit_id
from sensors.cel import canonical_header
from sensors.client_address import client_of
from sensors.interceptors import BodyError, Event, StoppedError
from sensors.rate_limit import Rate, RateLimit, RateLimits
from sensors.tekton import SecretRef
from sensors.triggers import Trigger, TriggerError, Triggers

_LOG = logging.getLogger(__name__)

RETRAIN_TOKEN = SecretRef(secretName="retrain", secretKey="token")
"""The bearer token of `/v1/retrain`, as the template mounts it."""

LARGEST_BODY_BYTES = 4 << 20
"""GitHub sends up to 25 MB. A push of the 2,048 commits that it lists at most has 2 to 3."""

_LARGEST_RETRAIN_BYTES = 16 << 10
_ORDINARY_BODY_BYTES = 256 << 10
_LARGE_BODIES_BYTES = 64 << 20
"""What all bodies under way may hold beyond the size of an ordinary one: nobody has proved to be a forge yet."""
_BODY_TIMEOUT_SECONDS = 10
_REMEMBERED_BODIES = 4_096
_RETRY_SECONDS = 5
_PER_CLIENT = Rate(per_second=20, burst=100)
_OVERALL = Rate(per_second=100, burst=400)
_UNSIGNED = "no trigger knows the signature or token of this request"

Secrets = Callable[[SecretRef], str | None]
"""The secret behind a reference; None or empty where there is none."""


class Result(StrEnum):
    """What became of a push."""

    QUEUED = "queued"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class RetrainParams:
    """A push, as the parameters of a retraining run name it."""

    repository: str
    ref: str
    sha: str

    @classmethod
    def of_run(cls, run: Mapping[str, Any]) -> Self:
        """The parameters of a PipelineRun.

        Raises:
            TriggerError: It has not got them.
        """
        try:
            params = {each["name"]: each["value"] for each in run["spec"]["params"]}
            return cls(params["git-repo-url"], params["git-ref"], params["git-commit-sha"])
        except (KeyError, TypeError):
            raise TriggerError(
                "the TriggerTemplate must make a PipelineRun with the params git-repo-url, git-ref, git-commit-sha"
            ) from None

    @classmethod
    def of_body(cls, body: bytes) -> Self:
        """The parameters that a PipelineRun's task posts.

        Raises:
            ValueError: They are something else.
        """
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            document = None
        match document:
            case {"repository": str(repository), "ref": str(ref), "sha": str(sha), **other} if not other:
                if is_commit_id(sha):
                    return cls(repository, ref, sha)
        raise ValueError(
            'the body must be JSON: {"repository": URL, "ref": "refs/heads/…", "sha": a full commit id}'
        )


def secret_variable(ref: SecretRef) -> str:
    """The environment variable that holds a secret on a laptop: `PLATFORM_SECRET_<NAME>_<KEY>`."""
    return re.sub(r"[^A-Z0-9]", "_", f"PLATFORM_SECRET_{ref.secret_name}_{ref.secret_key}".upper())


def without_secret(triggers: Triggers, secrets: Secrets) -> list[str]:
    """The triggers that refuse everything for want of a secret."""
    return [trigger.name for trigger in triggers.triggers if not secrets(trigger.signature.secret)]


def event_listener(
    triggers: Triggers,
    *,
    accept: Callable[[RetrainParams], Result],
    secrets: Secrets,
    largest_body_bytes: int = LARGEST_BODY_BYTES,
    limits: RateLimits | None = None,
    trusted_proxies: Sequence[IPv4Network | IPv6Network] = (),
    large_bodies_bytes: int = _LARGE_BODIES_BYTES,
) -> FastAPI:
    """The application.

    Args:
        triggers: What to do with an event.
        accept: Takes a push, durably; called in a worker thread. Where it raises, the answer is 503 and the
            forge may deliver again.
        secrets: Of the triggers, and the token of `/v1/retrain`.
        largest_body_bytes: Of a webhook.
        limits: How many requests are answered.
        trusted_proxies: Whose `X-Forwarded-For` tells for which client a request is counted.
        large_bodies_bytes: What all webhooks that are arriving may hold beyond 256 KiB each.

    Raises:
        TriggerError: A trigger's template makes something else than a run of the known parameters.
    """
    for trigger in triggers.triggers:
        trial = dict.fromkeys(trigger.template.defaults, "")
        for run in trigger.template.resolve(trial, uid=""):
            RetrainParams.of_run(run)
    keys = {trigger.name: secrets(trigger.signature.secret) for trigger in triggers.triggers}
    token = secrets(RETRAIN_TOKEN)
    delivered = _Delivered(_REMEMBERED_BODIES)
    limits = limits or RateLimits.of(per_client=_PER_CLIENT, overall=_OVERALL)
    room = _Room(large_bodies_bytes)
    proofs = {each.signature.header.lower() for each in triggers.triggers}
    app = FastAPI(title="Event listener", docs_url=None, redoc_url=None, openapi_url=None)

    def client(request: Request) -> str:
        peer = request.client.host if request.client else ""
        return client_of(peer, request.headers.getlist("x-forwarded-for"), trusted_proxies)

    def refused(request: Request, advice: str) -> HTTPException:
        _check_rate(limits.unsigned, client(request))
        return HTTPException(401, advice)

    def handled(request: Request, event: Event) -> dict[str, Any]:
        authentic = [each for each in triggers.triggers if each.signature.holds(event, keys[each.name])]
        if not authentic:
            raise refused(request, _UNSIGNED)
        _check_rate(limits.signed, client(request))
        answer: dict[str, Any] = {"eventListener": triggers.name, "eventID": event.id}
        digest = hashlib.sha256(event.body).digest()
        if delivered.before(digest):
            return answer | {"result": Result.DUPLICATE, "reason": "this body was delivered before"}
        try:
            outcomes = [_outcome(each, event, accept) for each in authentic]
        except BodyError as problem:
            raise HTTPException(400, str(problem)) from None
        results = {outcome["result"] for outcome in outcomes}
        result = next(each for each in Result if each in results)
        if result is not Result.IGNORED:
            delivered.remember(digest)
        return answer | {"result": result, "triggers": outcomes}

    @app.post("/")
    async def webhook(request: Request) -> JSONResponse:
        if proofs.isdisjoint(request.headers.keys()):
            raise refused(request, _UNSIGNED)  # whatever the body is
        event = _event(request, await _body_of(request, largest_body_bytes, room))
        return JSONResponse(await run_in_threadpool(handled, request, event), 202)

    @app.post("/v1/retrain")
    async def retrain(request: Request) -> JSONResponse:
        sent = request.headers.get("authorization", "").encode("latin-1", "replace")
        if not token or not hmac.compare_digest(sent, f"Bearer {token}".encode()):
            raise refused(request, "send the token as Authorization: Bearer …")
        _check_rate(limits.signed, client(request))
        try:
            params = RetrainParams.of_body(await _body_of(request, _LARGEST_RETRAIN_BYTES, room))
        except ValueError as problem:
            raise HTTPException(400, str(problem)) from None
        return JSONResponse({"result": await run_in_threadpool(_accepted, accept, params)}, 202)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {}

    return app


def _outcome(trigger: Trigger, event: Event, accept: Callable[[RetrainParams], Result]) -> dict[str, Any]:
    try:
        runs = trigger.resources(event)
    except StoppedError as problem:
        return {"name": trigger.name, "result": Result.IGNORED, "reason": str(problem)}
    results = {_accepted(accept, RetrainParams.of_run(run)) for run in runs}
    result = next(each for each in Result if each in results)
    outcome = {"name": trigger.name, "result": result}
    return outcome | (
        {"reason": "nobody watches this repository and branch"} if result is Result.IGNORED else {}
    )


def _accepted(accept: Callable[[RetrainParams], Result], params: RetrainParams) -> Result:
    try:
        return accept(params)
    except Exception:  # noqa: BLE001 - whatever it is, the push is not lost: the forge delivers again
        _LOG.exception("the push of %s of %s could not be recorded", params.sha, params.ref)
        raise HTTPException(
            503, "the push could not be recorded; deliver it again", {"Retry-After": str(_RETRY_SECONDS)}
        ) from None


def _check_rate(limit: RateLimit, client: str) -> None:
    if wait := limit.wait_seconds(client):
        raise HTTPException(429, "too many requests", {"Retry-After": str(wait)})


class _Room:
    """Memory for large bodies, of all requests together. Used by the event loop's thread alone."""

    def __init__(self, most_bytes: int) -> None:
        self.left_bytes = most_bytes


async def _body_of(request: Request, largest_bytes: int, room: _Room) -> bytes:
    body = bytearray()
    taken = 0
    try:
        async with timeout(_BODY_TIMEOUT_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > largest_bytes:
                    raise HTTPException(413, f"a request has at most {largest_bytes:,} bytes")
                beyond = max(0, len(body) - _ORDINARY_BODY_BYTES) - taken
                if beyond > room.left_bytes:
                    raise HTTPException(
                        503, "too many large requests; deliver it again", {"Retry-After": str(_RETRY_SECONDS)}
                    )
                taken += beyond
                room.left_bytes -= beyond
    except TimeoutError:
        raise HTTPException(408, f"a request arrives within {_BODY_TIMEOUT_SECONDS} seconds") from None
    except ClientDisconnect:
        raise HTTPException(400, "the request was cut off") from None
    finally:
        room.left_bytes += taken
    return bytes(body)


def _event(request: Request, body: bytes) -> Event:
    headers: dict[str, tuple[str, ...]] = {}
    for name, value in request.headers.items():
        headers[canonical_header(name)] = (*headers.get(canonical_header(name), ()), value)
    query = request.scope["query_string"].decode("latin-1")
    return Event(body, headers, url=request.scope["path"] + (f"?{query}" if query else ""))


class _Delivered:
    """Digests of the bodies that were taken lately: a replay costs no more than a look here."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._digests: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def before(self, digest: bytes) -> bool:
        """Whether it is remembered."""
        with self._lock:
            return digest in self._digests

    def remember(self, digest: bytes) -> None:
        """Keeps it, and forgets the oldest."""
        with self._lock:
            self._digests[digest] = None
            if len(self._digests) > self._most:
                self._digests.popitem(last=False)
