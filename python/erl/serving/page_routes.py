"""The page as an ASGI application: its files, the events that keep it live, and what it may ask for."""

from __future__ import annotations

import asyncio
import json
import re
import time
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, Router

from erl.serving.page_board import Board
from erl.serving.page_door import COOKIE_SECONDS, Door
from erl.serving.page_pipe import AskError
from erl.terms import Atom

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, Final

    Ask = Callable[[str, object], Awaitable[Any]]

MOST_WATCHERS: Final = 128
GAP_SECONDS: Final = 0.4
"""A browser is told something so often at the most."""
_SILENCE_SECONDS: Final = 15.0
_STALLED_SECONDS: Final = 30.0
_OLD_SECONDS: Final = 3.0
_FRESH_SECONDS: Final = 0.05
_FRESH_TRIES: Final = 40
_BODY_BYTES: Final = 4_096
_STATES: Final = frozenset(
    ("CREATED", "PENDING", "BUILDING", "READY", "RUNNING", "COMPLETED", "ERROR", "STOPPED")
)
_ID: Final = re.compile(r"[0-9a-f]{32}")
_STATUSES: Final = {"there is no such": 404, "too much is asked": 503, "the node": 503, "nobody may ask": 500}
_FILES: Final = {
    "/page.css": "text/css; charset=utf-8",
    "/page.js": "text/javascript; charset=utf-8",
    "/icon.svg": "image/svg+xml",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_HEADERS: Final = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
_ENTERED: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/">'
    '<title>py</title><p><a href="/">Go on to the page</a></p></html>'
)
_SHUT: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    '<title>py: no entry</title><link rel="stylesheet" href="/page.css"><main class="shut"><h1>No entry yet</h1>'
    "<p>This page opens with the URL that was printed when it was started. It ends with <code>?token=</code>; "
    "<code>py_dashboard:url().</code> in the node's shell prints it again.</p>"
    "<p>A browser that has been here keeps a cookie for twelve hours, as long as the page is not stopped.</p>"
    "</main></html>"
)


class Page:
    """The application: what it has of the node is a board and a way to ask."""

    def __init__(self, door: Door, board: Board, ask: Ask, watched: Callable[[int], None]) -> None:
        self._door = door
        self._board = board
        self._ask = ask
        self._watched = watched
        self._watchers = 0
        self._seen = -_OLD_SECONDS
        self._news = asyncio.Event()
        files = Path(__file__).with_name("page_files")
        self._files = {name: (files / name[1:]).read_bytes() for name in _FILES}
        self._page = (files / "page.html").read_bytes()
        self._router = Router(
            [
                Route("/", self._index, methods=["GET"]),
                Route("/runs", self._runs, methods=["GET"]),
                Route("/runs/{id}", self._run, methods=["GET"]),
                Route("/runs/{id}/log", self._log, methods=["GET"]),
                Route("/runs/{id}/stop", self._stop, methods=["POST"]),
                Route("/workers/restart", self._restart, methods=["POST"]),
                Route("/-/metrics", self._metrics, methods=["GET"]),
            ]
        )

    def told(self, view: dict[str, Any]) -> None:
        """The node's next view."""
        self._seen = time.monotonic()
        if self._board.update(view):
            news, self._news = self._news, asyncio.Event()
            news.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Take a request, if it is one for the page and by somebody who may."""
        if scope["type"] != "http":
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        headers = Headers(scope=scope)
        answer = self._refusal(scope, headers)
        if answer is not None:
            await answer(scope, receive, with_headers)
        elif scope["path"] == "/events":
            await self._events(receive, with_headers)
        else:
            await self._router(scope, receive, with_headers)

    def _refusal(self, scope: Any, headers: Headers) -> Any:
        """What is answered at once: the others are let through."""
        server = scope.get("server") or (None,)
        if not self._door.is_host(_single(headers, "host"), server[0]):
            return PlainTextResponse("this page is not served under that name\n", 421)
        path, method = scope["path"], scope["method"]
        if path in _FILES:
            return self._file(path, method)
        if path == "/events" and method != "GET":
            return PlainTextResponse("Method Not Allowed", 405, {"allow": "GET"})
        if path == "/" and method == "GET" and b"token=" in scope["query_string"]:
            return self._entered(scope["query_string"])
        if self._door.is_cookie(self._cookie(headers)):
            return None
        bearer = headers.get("authorization", "")
        if path == "/-/metrics" and bearer[:7].lower() == "bearer " and self._door.is_token(bearer[7:]):
            return None
        return Response(_SHUT, 401, media_type="text/html")

    def _file(self, path: str, method: str) -> Response:
        if method not in ("GET", "HEAD"):
            return PlainTextResponse("Method Not Allowed", 405, {"allow": "GET, HEAD"})
        content = self._files[path]
        answer = Response(b"" if method == "HEAD" else content)
        answer.headers["content-type"] = _FILES[path]
        answer.headers["content-length"] = str(len(content))
        return answer

    def _cookie(self, headers: Headers) -> str | None:
        try:
            found = SimpleCookie(headers.get("cookie", "")[:8_192]).get(self._door.cookie_name)
        except CookieError:
            return None
        return None if found is None else found.value

    def _entered(self, query: bytes) -> Response:
        """The token for a cookie. What follows is a request by the page itself, which a strict cookie goes with."""
        given = re.search(rb"(?:^|&)token=([0-9a-f]{1,256})(?:&|$)", query)
        if given is None or not self._door.is_token(given[1].decode()):
            return Response(_SHUT, 401, media_type="text/html")
        answer = Response(_ENTERED, media_type="text/html")
        answer.set_cookie(
            self._door.cookie_name,
            self._door.cookie(),
            max_age=COOKIE_SECONDS,
            path="/",
            httponly=True,
            samesite="strict",
        )
        return answer

    # What is looked at

    async def _index(self, _request: Any) -> Response:
        return Response(self._page, media_type="text/html")

    async def _events(self, receive: Any, send: Any) -> None:
        """Server-sent events: all there is, then what is new, as fast as this browser takes it."""
        if self._watchers >= MOST_WATCHERS:
            answer = PlainTextResponse("so many look already\n", 503, {"retry-after": "10"})
            await answer({"type": "http"}, receive, send)
            return
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        self._watchers += 1
        self._watched(self._watchers)
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await _said(send, "retry: 2000\n\n")
            # What was seen when somebody looked last is of then.
            for _ in range(_FRESH_TRIES):
                if time.monotonic() - self._seen < _OLD_SECONDS or gone.done():
                    break
                await asyncio.sleep(_FRESH_SECONDS)
            since = 0
            while not gone.done():
                if since != self._board.version:
                    version, text = self._board.version, self._board.changes(since)
                    await _said(send, f"event: view\nid: {version}\ndata: {text}\n\n")
                    since = version
                elif not await _either(gone, self._news.wait(), _SILENCE_SECONDS):
                    await _said(send, ": nothing new\n\n")
                if not gone.done():
                    await asyncio.sleep(GAP_SECONDS)
        except (asyncio.TimeoutError, OSError):
            # It does not read: its connection is aborted by the system (`TCP_USER_TIMEOUT`).
            pass
        finally:
            gone.cancel()
            self._watchers -= 1
            self._watched(self._watchers)

    async def _runs(self, request: Any) -> Response:
        state, before = request.query_params.get("state"), request.query_params.get("before")
        if (state is not None and state not in _STATES) or (before is not None and not _ID.fullmatch(before)):
            return PlainTextResponse("there are no such runs\n", 400)
        return await self._answer("runs", {Atom("state"): _atom(state), Atom("before"): _bytes(before)}, dict)

    async def _run(self, request: Any) -> Response:
        return await self._about("run", request)

    async def _log(self, request: Any) -> Response:
        return await self._about("log", request)

    async def _metrics(self, _request: Any) -> Response:
        try:
            text = await self._ask("metrics", None)
        except AskError as error:
            return PlainTextResponse(f"{error}\n", 503)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    # What is done

    async def _stop(self, request: Any) -> Response:
        if not self._door.is_own(request.headers):
            return _foreign()
        return await self._about("stop_run", request)

    async def _restart(self, request: Any) -> Response:
        if not self._door.is_own(request.headers):
            return _foreign()
        body = await _body(request)
        try:
            name = json.loads(body or b"")["worker"]
            if type(name) is not str:
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError):
            return PlainTextResponse('the body is {"worker": "<0.1.0>"}\n', 400)
        return await self._answer("restart_worker", name.encode("utf-8", "replace"))

    async def _about(self, what: str, request: Any) -> Response:
        id_ = request.path_params["id"]
        if not _ID.fullmatch(id_):
            return PlainTextResponse("there is no such run\n", 404)
        return await self._answer(what, id_.encode())

    async def _answer(
        self, what: str, argument: object, shape: Callable[[Any], Any] | None = None
    ) -> Response:
        try:
            value = await self._ask(what, argument)
        except AskError as error:
            text = str(error)
            status = next((status for begin, status in _STATUSES.items() if text.startswith(begin)), 409)
            return PlainTextResponse(f"{text}\n", status)
        return JSONResponse(value if shape is None else shape(value))


def _foreign() -> Response:
    return PlainTextResponse("only the page itself may ask for that\n", 403)


def _single(headers: Headers, name: str) -> str | None:
    values = headers.getlist(name)
    return values[0] if len(values) == 1 else None


def _atom(text: str | None) -> Atom | None:
    return None if text is None else Atom(text)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


async def _body(request: Any) -> bytes | None:
    """The body, where it is as small as one of ours."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _BODY_BYTES:
            return None
    return body


async def _said(send: Any, text: str) -> None:
    """Have the browser take it. Raises `asyncio.TimeoutError` where it does not."""
    await asyncio.wait_for(
        send({"type": "http.response.body", "body": text.encode(), "more_body": True}), _STALLED_SECONDS
    )


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _either(gone: asyncio.Future[None], news: Any, seconds: float) -> bool:
    """Wait for news, the browser's leaving, or a while; whether it was not just the while."""
    waiting = asyncio.ensure_future(news)
    done, _ = await asyncio.wait({gone, waiting}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    return bool(done)
