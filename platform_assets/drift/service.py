"""The watch of a line over HTTP: events in; metrics, newest verdicts and health out."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from platform_assets.drift.event import PredictionEvent
from platform_assets.drift.event_reading import NoEventError, json_events
from platform_assets.drift.metrics import registry_of
from platform_assets.drift.watch import RefusedEventError, Watch
from resources.errors import PlatformError
from resources.http_body import bounded_body
from resources.http_token import demand_token

_LARGEST_BODY_BYTES: Final = 4 << 20


def watch_service(watch: Watch, *, token: str | None = None) -> FastAPI:
    """The application; it starts the watch with itself, and stops it.

    Args:
        watch: Takes the events.
        token: What senders of events must send as `Authorization: Bearer …`; None lets everybody send.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watch.start()
        yield
        await run_in_threadpool(watch.stop)

    app = FastAPI(
        title=f"Drift of {watch.line}", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan
    )
    registry = registry_of(watch)

    def take(body: bytes, source: str) -> int:
        events = events_of(body)
        watch.receive(events, source)
        return len(events)

    @app.post("/v1/events", status_code=202)
    async def events(
        request: Request, source: Annotated[str | None, Query(max_length=128)] = None
    ) -> dict[str, int]:
        demand_token(request, token)
        body = await bounded_body(request, most_bytes=_LARGEST_BODY_BYTES, advice=": send several")
        sender = source or (request.client.host if request.client else "")
        try:
            return {"taken": await run_in_threadpool(take, body, sender)}
        except RefusedEventError as problem:
            raise HTTPException(422, {"row": problem.row, "problem": str(problem)}) from None
        except PlatformError as problem:
            # Not the sender's fault, and nothing was taken: it may send them again.
            raise HTTPException(503, f"cannot be taken now, send it again: {problem}") from None

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/verdicts")
    def verdicts() -> dict[str, Any]:
        return {
            "verdicts": [_as_json(asdict(each)) for each in watch.newest_verdicts],
            "not_watched": {
                str(version): watched.monitor.not_watched for version, watched in watch.by_version.items()
            },
        }

    @app.get("/health")
    def health() -> JSONResponse:
        problems = watch.problems
        return JSONResponse({"problems": problems}, 503 if problems else 200)

    return app


def events_of(body: bytes) -> list[PredictionEvent]:
    """The events of a request: a JSON array, or JSON Lines.

    Raises:
        RefusedEventError: One of them is no event; the message names its row and field.
    """
    try:
        return [event for _, event in json_events(body, name="the request")]
    except NoEventError as problem:
        raise RefusedEventError(problem.row or 1, problem.problem) from None


def _as_json(values: dict[str, Any]) -> dict[str, Any]:
    def as_json(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.isoformat()
        # JSON has no NaN.
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {name: as_json(value) for name, value in values.items()}
