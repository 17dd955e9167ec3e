"""What a front does with a request: it goes to the replicas, as bytes, and what comes back goes to the client.

A callable of ASGI without anything around it, as invocations are many; what lies under `/-/` a Starlette application
answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import re
import time
from itertools import count

from erl.link import protocol
from erl.link.loop import FailedError, RaisedError
from erl.serving import exchange

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Final

    from erl.link.loop import LoopLink
    from erl.serving.figures import Figures

    Pairs = list[tuple[bytes, bytes]]
    Begun = tuple[bytes, int, Any]
    """Its id, the number of its call, and what that has come to."""

BEGUN: Final = "erl.begun"
"""In the scope of a request that `direct` has begun, and that is not over as its answer comes in pieces: a `Begun`."""

_WATCH_SECONDS: Final = 0.05
_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_OWN: Final = "/-/"
JSON: Final = (b"content-type", b"application/json")
RETRY: Final = (b"retry-after", b"1")

_WAITING: Final = {
    "ready": "",
    "starting": "the service starts",
    "draining": "the service is about to stop",
}


class _GoneError(Exception):
    """Raised where the client has gone."""


class Application:
    """Requests of one front. `state` is what the node has said last."""

    def __init__(
        self,
        heads: dict[str, bytes],
        timeout_ms: int | None,
        token: bytes | None,
        figures: Figures,
        rest: Any,
    ) -> None:
        self.link: LoopLink | None = None
        self.state = "starting"
        self._heads = heads
        self._route: Callable[[dict[str, object]], bytes] = _route(timeout_ms)
        self.handle = protocol.Calls(self._route({}), heads["handle"])
        self._token = None if token is None else hashlib.sha256(token).digest()
        self.figures = figures
        self._rest = rest
        self._prefix = os.urandom(6).hex().encode()
        self._ids = count(1)
        self._loop = asyncio.get_running_loop()
        self._watched: set[_Watch] = set()
        self._looker: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        path = scope["path"]
        if path.startswith(_OWN) and (path in ("/-/health", "/-/ready") or self.may(scope["headers"])):
            await self._rest(scope, receive, send)
            return
        figures, started = self.figures, time.perf_counter()
        figures.begun()
        begun = scope.get(BEGUN)
        id_ = self.id_of(scope["headers"]) if begun is None else begun[0]
        status = 0
        try:
            if begun is None:
                status = await self._invoke(id_, scope, receive, send)
            else:
                status = await self._go_on(begun, receive, send)
        except _GoneError:
            figures.left += 1
        finally:
            if status:
                figures.answered(status, time.perf_counter() - started)
            figures.ended()

    def may(self, headers: Pairs) -> bool:
        """Whether the token is among these headers, where one is wanted."""
        if self._token is None:
            return True
        given = [value for name, value in headers if name == b"authorization"]
        scheme, _, token = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        # Digests have one length, whatever was given.
        is_same = hmac.compare_digest(hashlib.sha256(token.strip()).digest(), self._token)
        return is_same and scheme.lower() == b"bearer"

    def id_of(self, headers: Pairs) -> bytes:
        """That which a request brings, or a new one."""
        return given_id(headers) or self.new_id()

    def new_id(self) -> bytes:
        """An id that no other request has."""
        return b"%s-%x" % (self._prefix, next(self._ids))

    async def _invoke(self, id_: bytes, scope: Any, receive: Any, send: Any) -> int:
        if not self.may(scope["headers"]):
            # No challenge says which scheme: a browser would ask a person for a password.
            return await self._fail(
                401, "the token is missing or wrong", id_, send, (b"connection", b"close")
            )
        if self.state != "ready" or self.link is None:
            why = _WAITING.get(self.state, "") or "the service starts"
            return await self._fail(503, why, id_, send, RETRY, (b"connection", b"close"))
        body = await _body(receive)
        target = scope["raw_path"]
        if scope["query_string"]:
            target += b"?" + scope["query_string"]
        data = exchange.request(
            id_, scope["method"].encode(), target, scope["scheme"].encode(), scope["headers"], body
        )
        del body
        with self._watching(receive) as watch:
            return await self._answered(watch, data, id_, send)

    async def _go_on(self, begun: Begun, receive: Any, send: Any) -> int:
        """The rest of a request whose answer comes in pieces, and whose call is over."""
        id_, number, value = begun
        with self._watching(receive) as watch:
            return await self._stream(watch, number, value, id_, send)

    @contextlib.contextmanager
    def _watching(self, receive: Any) -> Iterator[_Watch]:
        watch = _Watch(time.perf_counter(), receive)
        self._watched.add(watch)
        if self._looker is None:
            self._looker = self._loop.call_later(_WATCH_SECONDS, self._look)
        try:
            yield watch
        finally:
            self._watched.discard(watch)
            watch.end()

    async def _answered(self, watch: _Watch, data: bytes, id_: bytes, send: Any) -> int:
        try:
            number, value = await self._ask(watch, self.handle, data)
            del data
            if type(value) is bytes:
                return await _answer(value, id_, send)
            return await self._stream(watch, number, value, id_, send)
        except (FailedError, RaisedError) as error:
            status, text, *more = failure(error)
            return await self._fail(status, text, id_, send, *more)

    def _look(self) -> None:
        """One timer for all that are open: of most requests nothing is to be looked for."""
        now = time.perf_counter()
        for watch in self._watched:
            watch.late(now)
        self._looker = self._loop.call_later(_WATCH_SECONDS, self._look) if self._watched else None

    async def _ask(self, watch: _Watch, calls: protocol.Calls, data: bytes) -> tuple[int, Any]:
        link = self.link
        if link is None:
            raise FailedError("link", "", "the node is gone")
        number, future = link.call(calls, data)
        watch.of(future)
        try:
            return number, await future
        except asyncio.CancelledError:
            link.cancel(number)
            if watch.is_gone:
                raise _GoneError from None
            raise

    async def _stream(self, watch: _Watch, number: int, value: Any, id_: bytes, send: Any) -> int:
        """The pieces of an answer, each when the client has taken the one before."""
        first, key = value
        route = self._route({"stream": number})
        more = protocol.Calls(route, self._heads["more"])
        name = key.to_bytes(8, "big")
        is_over = False
        try:
            status, headers, piece = exchange.read_answer(first)
            headers.append((b"x-request-id", id_))
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            while not is_over:
                if watch.is_gone:
                    raise _GoneError
                try:
                    _, said = await self._ask(watch, more, name)
                except (FailedError, RaisedError):
                    # Nothing can be said any more: the connection ends without the end of its answer.
                    is_over = True
                    return status
                is_over = said[:1] == b"\0"
                if len(said) > 1 or is_over:
                    await send({"type": "http.response.body", "body": said[1:], "more_body": not is_over})
            return status
        finally:
            if self.link is not None:
                if not is_over:
                    _, closed = self.link.call(protocol.Calls(route, self._heads["close"]), name)
                    closed.add_done_callback(_unread)
                self.link.cancel(number)

    async def _fail(self, status: int, text: str, id_: bytes, send: Any, *more: tuple[bytes, bytes]) -> int:
        await _send(status, [JSON, *more], failed_body(text, id_), id_, send)
        return status


class _Watch:
    """Looks whether a client goes away, where its answer takes long; one timer of all begins it."""

    __slots__ = ("_begun", "_future", "_receive", "_task", "is_gone")

    def __init__(self, begun: float, receive: Any) -> None:
        self._begun = begun
        self._receive = receive
        self._future: asyncio.Future[Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self.is_gone = False

    def of(self, future: asyncio.Future[Any]) -> None:
        """Its call is this one now."""
        self._future = future

    def late(self, now: float) -> None:
        """Look from now on, if it was begun long enough ago."""
        if self._task is None and now - self._begun > _WATCH_SECONDS:
            self._task = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.is_gone = True
        if self._future is not None:
            self._future.cancel()

    def end(self) -> None:
        """It looks no more."""
        if self._task is not None:
            self._task.cancel()


def _route(timeout_ms: int | None) -> Callable[[dict[str, object]], bytes]:
    always: dict[str, object] = {} if timeout_ms is None else {"timeout": timeout_ms}
    return lambda more: protocol.map_of({**always, **more})


def _unread(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


async def _body(receive: Any) -> bytes:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise _GoneError
    if not message.get("more_body"):
        return message["body"]  # type: ignore[no-any-return]
    parts = [message["body"]]
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        parts.append(message["body"])
    return b"".join(parts)


def given_id(headers: Pairs) -> bytes | None:
    """The id that a request brings."""
    return next((value for name, value in headers if name == b"x-request-id" and _ID.fullmatch(value)), None)


def failed_body(text: str, id_: bytes) -> bytes:
    """What is said where a request has failed."""
    return json.dumps({"error": text, "id": id_.decode()}).encode()


async def _answer(data: bytes, id_: bytes, send: Any) -> int:
    status, headers, body = exchange.read_answer(data)
    await _send(status, headers, body, id_, send)
    return status


async def _send(status: int, headers: Pairs, body: bytes, id_: bytes, send: Any) -> None:
    if status in (204, 304):
        body = b""
    else:
        headers.append((b"content-length", b"%d" % len(body)))
    headers.append((b"x-request-id", id_))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def failure(error: FailedError | RaisedError) -> tuple[int, str] | tuple[int, str, tuple[bytes, bytes]]:
    """What a failed call is to a client: status, text and a header more."""
    if isinstance(error, RaisedError):
        return 500, error.name.removeprefix("builtins.")
    status, text = _status(error)
    return (status, text, RETRY) if status == 503 else (status, text)


def _status(error: FailedError) -> tuple[int, str]:
    """What a failure of the bridge is to a client. 502: the request had begun, and is not made again."""
    if error.reason == "overload":
        return 503, "the queue is full"
    if error.reason == "timeout":
        return 504, "the deadline is over"
    if error.reason == "worker_down":
        if error.detail in ("restarting", "start", "stopped"):
            return 503, "no replica runs"
        return 502, "the replica that ran the request died"
    if error.reason in ("link", "unknown_pool", "not_started", "unknown_service"):
        return 503, "no replica runs"
    if error.reason == "encode":
        return 502, "the answer is too large for one: it can be streamed"
    return 502, "the request could not be run"
