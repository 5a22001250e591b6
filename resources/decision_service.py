"""Policy decisions over HTTP: OPA's Data API, for S3 servers and whoever else would ask OPA.

An S3 server's access-management plugin posts `{"input": {…}}` to `/v1/data/minio/auth` and reads
`{"result": {"allow": …}}`. Any other answer, and none, is a denial for it.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from resources.http_body import bounded_body
from resources.http_token import demand_token
from resources.policy_engine import Decision, PolicyEngine

TOKEN_VARIABLE = "PLATFORM_DECISION_TOKEN"  # noqa: S105 - the name of a variable
_LARGEST_BODY_BYTES = 64 << 10
_SUMMARY_SECONDS = 60.0


def decision_service(
    engine: PolicyEngine,
    *,
    record: Callable[[Mapping[str, Any], Decision], None],
    token: str | None = None,
    summarise: Callable[[], object] = lambda: None,
) -> FastAPI:
    """The application.

    Args:
        engine: Decides.
        record: Told of every denial before it is answered; should it raise, the answer is an error.
        token: What callers must send as `Authorization: Bearer …`; None lets everybody ask.
        summarise: Called every minute, and when the service ends.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(_each_minute(summarise))
        yield
        task.cancel()
        await run_in_threadpool(summarise)

    app = FastAPI(
        title="Policy decisions", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan
    )

    async def decided(request: Request) -> Decision:
        demand_token(request, token)
        asked = _input_of(await bounded_body(request, most_bytes=_LARGEST_BODY_BYTES))
        decision = await run_in_threadpool(engine.decide, asked)
        if not decision.allow:
            await run_in_threadpool(record, asked, decision)
        return decision

    @app.post("/v1/data/minio/auth")
    async def auth(request: Request) -> dict[str, Any]:
        decision = await decided(request)
        return {"result": {"allow": decision.allow, "reasons": list(decision.reasons)}}

    @app.post("/v1/data/minio/auth/allow")
    async def allow(request: Request) -> dict[str, bool]:
        return {"result": (await decided(request)).allow}

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {}

    return app


async def _each_minute(act: Callable[[], object]) -> None:
    while True:
        await asyncio.sleep(_SUMMARY_SECONDS)
        await run_in_threadpool(act)


def _input_of(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    asked = document.get("input") if isinstance(document, dict) else None
    if not isinstance(asked, dict):
        raise HTTPException(400, 'the body must be a JSON object {"input": {…}}')
    return asked
