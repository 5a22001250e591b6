"""The report server: stored objects by their keys, and the pages about lines. It only shows, and records who looked.

Whoever reaches it sees what its principal may see: the policy is asked for each object, and there is no log-in. So it is
for the loopback, or for behind a proxy that asks who is there.
"""

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, ParamSpec, TypeVar

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from platform_assets.datasets.quarantine_reading import QuarantineReader
from platform_assets.ledger.errors import LedgerError
from platform_assets.reports.held_files import held_files
from platform_assets.reports.hosts import is_ours
from platform_assets.reports.looks import SheetLooks
from platform_assets.reports.openable import content_type_of, is_sheet, openable_key
from platform_assets.reports.overview import Overview
from platform_assets.reports.pages import (
    front_page,
    line_page,
    problem_page,
    quarantine_page,
    sheet_page,
    style,
)
from platform_assets.sheets import Sheet
from resources.errors import PlatformError
from resources.object_store import ObjectMissingError, ObjectStore
from resources.outages import outage_of
from resources.policed_object_store import AccessDeniedError

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_LARGEST_BYTES: Final = 16 << 20
_AT_ONCE: Final = 8
"""Objects that are in memory at the same time; whoever comes later waits."""
_PIECE_BYTES: Final = 256 << 10
"""What a connection holds of an object while its reader is slow; the rest is sent when this is gone."""
_SEND_SECONDS: Final = 60.0
"""For one object, to somebody who reads slowly."""
_OBJECTS: Final = "/objects/"
_THUMBNAILS_SECONDS: Final = 60.0
"""So long they are in memory after somebody looked at one; nothing of them lies on a disk."""
_FILE_ID: Final = re.compile(r"[0-9a-f]{64}")
_NOT_STORED: Final = {"Cache-Control": "no-store"}
_METHODS: Final = ("GET", "HEAD")

_SHARED_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # What may be read may change: a copy is shown again only once the policy was asked again.
    "Cache-Control": "private, no-cache",
}
_NOWHERE: Final = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_PAGE_POLICY: Final = f"default-src 'none'; style-src 'self'; img-src 'self' data:; {_NOWHERE}"
_OBJECT_POLICY: Final = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; {_NOWHERE}"
"""Cards and Data Docs are whole in themselves: styles within, pictures as data. A sandbox has no origin, so whatever got
into one reads nothing else of this server."""


@dataclass(frozen=True, slots=True)
class _Stored:
    content: bytes
    media_type: str
    etag: str


def report_server(
    store: ObjectStore,
    overview: Callable[[], Overview],
    reader: QuarantineReader,
    looks: SheetLooks,
    *,
    names: frozenset[str] = frozenset(),
    send_seconds: float = _SEND_SECONDS,
) -> ASGIApp:
    """The application.

    Args:
        store: One that asks the policy.
        overview: What there is to tell of all lines.
        reader: Of what lines hold back, which asks the policy and records who looks.
        looks: Records who looks at sheets.
        names: Hosts by which it may be addressed, besides this machine's own.
        send_seconds: For one object; whoever has not read it by then gets no more of it.
    """

    async def front(_: Request) -> Response:
        return HTMLResponse(front_page(await _asked(overview)))

    async def line(request: Request) -> Response:
        found = await _asked(overview)
        view = found.line(request.path_params["name"])
        if view is None:
            raise HTTPException(404, "There is no line of this name, or its spec is broken.")
        return HTMLResponse(line_page(found, view))

    async def held(request: Request) -> Response:
        line, decided_by = await _holding(overview, request.path_params["name"])
        page = await _asked(held_files, reader, line, decided_by, request.query_params)
        if page is None:
            raise HTTPException(404, "There is no such page of this quarantine.")
        asyncio.get_running_loop().call_later(_THUMBNAILS_SECONDS, reader.forget)
        return HTMLResponse(quarantine_page(page), headers=_NOT_STORED)

    async def thumbnail(request: Request) -> Response:
        line, _ = await _holding(overview, request.path_params["name"])
        file_id = request.path_params["file"]
        png = await _asked(reader.thumbnail, line, file_id) if _FILE_ID.fullmatch(file_id) else None
        if png is None:
            raise HTTPException(404, "No file of this id is held, or it has no thumbnail.")
        asyncio.get_running_loop().call_later(_THUMBNAILS_SECONDS, reader.forget)
        return Response(png, media_type="image/png", headers=_NOT_STORED)

    async def sheet(_: Request) -> Response:
        return Response(style(), media_type="text/css")

    async def health(_: Request) -> Response:
        return JSONResponse({})

    async def stored(request: Request) -> Response:
        # As it was sent: what is decoded first may turn into another path.
        raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
        key = openable_key(raw.decode("latin-1").removeprefix(_OBJECTS))
        if key is None:
            raise HTTPException(404, "There is no page, picture or document of this name.")
        found = await _asked(_read, store, key, request.headers.get("if-none-match", ""), looks)
        headers = {"ETag": found.etag}
        if is_sheet(key):
            # Who was erased is not to be left in a browser.
            headers |= _NOT_STORED
        else:
            headers["Content-Security-Policy"] = _OBJECT_POLICY
        if not found.media_type:
            return Response(status_code=304, headers=headers)
        return _Pieces(found.content, media_type=found.media_type, headers=headers)

    routes = [
        Route("/", front),
        Route("/lines/{name}", line),
        Route("/quarantine/{name}", held),
        Route("/quarantine/{name}/{file}.png", thumbnail),
        Route("/style.css", sheet),
        Route("/health", health),
        Route(_OBJECTS + "{key:path}", stored),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _answered})
    app.router.redirect_slashes = False
    return _Guarded(app, names, send_seconds)


class _Pieces(Response):
    """A body that is handed on as fast as it is read, so that whoever reads it slowly is noticed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's form
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for at in range(0, len(self.body), _PIECE_BYTES):
            piece = self.body[at : at + _PIECE_BYTES]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


class _Guarded:
    """Answers only to our own names, only to who reads, never more at once than memory allows, always with headers."""

    def __init__(self, app: ASGIApp, names: frozenset[str], send_seconds: float) -> None:
        self._app, self._names, self._send_seconds = app, names, send_seconds
        self._reading = asyncio.Semaphore(_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in {**_SHARED_HEADERS, "Content-Security-Policy": _PAGE_POLICY}.items():
                    headers.setdefault(name, value)
            await send(message)

        if refusal := self._refusal(scope):
            await refusal(scope, receive, headed)
        elif not scope["path"].startswith(_OBJECTS):
            await self._app(scope, receive, headed)
        else:
            async with self._reading:
                try:
                    async with asyncio.timeout(self._send_seconds):
                        await self._app(scope, receive, headed)
                except TimeoutError:
                    # The connection is closed, as it is wherever an answer stays incomplete.
                    log.warning("nobody has read an object for %g s", self._send_seconds)

    def _refusal(self, scope: Scope) -> Response | None:
        hosts = Headers(scope=scope).getlist("host")
        # A kubelet asks by the address of the pod; there is nothing to be learned from health.
        if scope["path"] != "/health" and not (len(hosts) == 1 and is_ours(hosts[0], self._names)):
            return _problem(
                421,
                "This server is not called so; PLATFORM_REPORTS_URL and PLATFORM_REPORTS_HOSTS say how it may be.",
            )
        if scope["method"] not in _METHODS:
            return _problem(
                405, "This server only shows: ask with GET or HEAD.", headers={"Allow": "GET, HEAD"}
            )
        return None


async def _holding(overview: Callable[[], Overview], name: str) -> tuple[str, str]:
    """Name of a line that holds files back, and the group that decides about them.

    Raises:
        HTTPException: There is none of this name.
    """
    line = (await _asked(overview)).line(name)
    if line is None or line.decided_by is None:
        raise HTTPException(
            404, "There is no line of this name that holds files back, or its spec is broken."
        )
    return line.name, line.decided_by


def _read(store: ObjectStore, key: str, known: str, looks: SheetLooks) -> _Stored:
    """An object; nothing of it where the caller knows it already, which the policy is asked for all the same.

    That somebody looks at the cases of a sheet is recorded first.
    """
    info = store.info(key)
    etag = f'"{info.sha256}"'
    if etag in known:
        return _Stored(b"", "", etag)
    if info.size_bytes > _LARGEST_BYTES:
        raise HTTPException(
            413, f"This object has {info.size_bytes:,} bytes, and at most {_LARGEST_BYTES:,} are shown here."
        )
    content = store.get(key)
    if is_sheet(key):
        try:
            sheet = Sheet.of_bytes(content)
        except ValueError as problem:
            raise HTTPException(500, f"This sheet cannot be shown: {problem}.") from None
        looks.look_at(sheet, key, info.gdpr_class)
        content = sheet_page(sheet, depth=key.count("/") + 1).encode()
    return _Stored(content, content_type_of(key) or "", etag)


def _problem(
    status: int, sentence: str, *, path: str = "/", headers: dict[str, str] | None = None
) -> Response:
    return HTMLResponse(problem_page(status, sentence, path=path), status, headers)


async def _answered(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    # Starlette's own errors have no sentence.
    is_bare = problem.detail == HTTPStatus(problem.status_code).phrase
    sentence = "There is nothing here." if is_bare else problem.detail
    return _problem(problem.status_code, sentence, path=request.scope["path"])


async def _asked(ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a function that waits for others says; its errors as answers.

    Raises:
        HTTPException: It raised an error.
    """
    try:
        return await run_in_threadpool(ask, *args, **kwargs)
    except HTTPException:
        raise
    except Exception as problem:  # noqa: BLE001 - whatever it is, somebody waits for an answer
        raise HTTPException(*_told(problem)) from None


def _told(problem: Exception) -> tuple[int, str]:
    """What a person is told of an error, and as what."""
    if isinstance(problem, AccessDeniedError):
        return 403, f"{problem}."
    if isinstance(problem, ObjectMissingError):
        return 404, "There is no such object any more, or there never was one."
    foreseen = outage_of(problem) or problem
    if isinstance(foreseen, LedgerError):
        return 503, f"The ledger cannot be read or written: {foreseen}"
    if isinstance(foreseen, PlatformError):
        return 503, str(foreseen)
    if isinstance(foreseen, OSError):
        return 503, f"The object store cannot be read: {foreseen.strerror}."
    log.error("a request failed", exc_info=problem)
    return 500, "Something is wrong with this server; its log says what."
