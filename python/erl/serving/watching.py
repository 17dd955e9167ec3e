"""uvicorn's protocol behind `heads`: what is refused never reaches the parser, and who sends too slowly is told so.

A request that is there whole goes past the parser, too, by `direct`. One such is open on a connection at a time; what
comes behind it meanwhile waits here, and the socket is not read on.
"""

from __future__ import annotations

from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from erl.serving.application import BEGUN
from erl.serving.heads import Messages, RefusedError

if TYPE_CHECKING:
    from erl.serving.direct import Direct

_HEAD_SECONDS: Final = 10.0
_BODY_SECONDS: Final = 20.0
_LINGER_SECONDS: Final = 2.0


def refusal(status: int, text: str) -> bytes:
    """The last answer on a connection."""
    body = b'{"error": "%s"}' % text.encode("ascii", "replace").replace(b'"', b"'")
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
    more = "retry-after: 1\r\n" if status == 503 else ""
    return f"{head}{more}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body


def protocol(hosts: frozenset[bytes], most_body: int, most_connections: int, direct: Direct) -> type:
    """The class of a front's connections, over that of uvicorn which is there."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    base: Any = H11Protocol
    figures = direct.figures
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

        base = HttpToolsProtocol
    except ImportError:
        pass

    class Watched(base):  # type: ignore[misc]
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._messages = Messages(hosts, most_body)
            self._last: RefusedError | None = None
            self._is_over = False
            self.due: float | None = self.loop.time() + _HEAD_SECONDS
            # The call of the request that is open by `direct`; its id, when it began, its bytes, whether they ask for a
            # head alone; and what has come behind it.
            self._number: int | None = None
            self._id = b""
            self._begun = 0.0
            self._parts: list[bytes] = []
            self._is_head = False
            self._held = b""
            # Since when nothing is open, where `direct` has answered last.
            self._idle: float | None = None
            # Of the request that the parser is given: what `direct` has got for it.
            self._goes_on: Any = None
            if len(self.connections) > most_connections:
                self._refuse(RefusedError(503, "there are too many connections"))

        def data_received(self, data: bytes) -> None:
            if self._last is not None:
                return  # so that the client reads its answer: a socket that is closed with bytes unread resets
            if self._number is not None:
                self._held += data
                self.flow.pause_reading()
                return
            messages = self._messages
            was_between = messages.is_between
            parts, last = messages.receive(data)
            if last is None and was_between and parts and messages.is_between and self._is_direct(parts):
                self.due = None
                return
            self._idle = None
            for part in parts:
                super().data_received(part)
            if messages.is_between:
                self.due = None
            elif messages.is_in_body:
                self.due = self.loop.time() + _BODY_SECONDS
            elif was_between or parts:
                self.due = self.loop.time() + _HEAD_SECONDS
            if last is not None:
                self._refuse(last)

        def _is_direct(self, parts: list[bytes]) -> bool:
            """Whether this request was begun here."""
            cycle = self.cycle
            if (cycle is not None and not cycle.response_complete) or self.flow.write_paused:
                return False
            link = direct.link()
            head = (
                None if link is None else direct.head(parts, b"https" if self.scheme == "https" else b"http")
            )
            if link is None or head is None or self.transport.is_closing():
                return False
            if self.timeout_keep_alive_task is not None:
                self._unset_keepalive_if_required()
            self._idle = None
            self._parts, self._is_head = parts, head.is_head
            self._number, self._id, self._begun = direct.begin(self, link, head, parts[1:])
            return True

        def came(self, value: Any) -> None:
            """The answer: it is written, whole. What comes in pieces goes on as a request of the application's."""
            if self._number is None:
                return
            if type(value) is bytes:
                defaults = self.server_state.default_headers
                self._answered(*direct.answer(value, self._id, self._is_head, defaults))
                return
            parts, self._parts = self._parts, []
            self._goes_on = self._id, self._number, value
            self._number = None
            figures.ended()
            for part in parts:
                super().data_received(part)
            self._go_on()

        def failed(self, error: Any) -> None:
            """There is none."""
            if self._number is not None:
                defaults = self.server_state.default_headers
                self._answered(*direct.failure(error, self._id, self._is_head, defaults))

        def _answered(self, status: int, pieces: list[bytes]) -> None:
            self._number = None
            self._parts = []
            now = perf_counter()
            figures.answered(status, now - self._begun)
            figures.ended()
            for piece in pieces:
                self.transport.write(piece)
            self._idle = self.loop.time()
            if self._held or self._last is not None:
                self._go_on()

        def _go_on(self) -> None:
            """With what has come meanwhile."""
            held, self._held = self._held, b""
            if held:
                self.flow.resume_reading()
                self.data_received(held)
            elif self._last is not None:
                self._say()

        def on_headers_complete(self) -> None:
            if self._goes_on is not None:
                self.scope[BEGUN], self._goes_on = self._goes_on, None
            super().on_headers_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            number, self._number = self._number, None
            if number is not None:
                direct.cancel(number)
                figures.left += 1
                figures.ended()
            self._parts, self._held = [], b""
            super().connection_lost(exc)

        def eof_received(self) -> None:
            last = self._messages.ended()
            if last is not None and self._last is None:
                self._refuse(last)
            return super().eof_received()  # type: ignore[no-any-return]

        def late(self, now: float) -> None:
            """Called now and then: a client that has not sent what it has begun is not waited for."""
            if self.due is not None and now > self.due and self._last is None:
                self._refuse(RefusedError(408, "the request did not come in time"))
            elif (
                self._idle is not None and now > self._idle + self.timeout_keep_alive and self._number is None
            ):
                self.transport.close()

        def send_400_response(self, msg: str) -> None:
            self._refuse(RefusedError(400, msg))

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self._last is not None and not self.pipeline_left():
                self._say()

        def pipeline_left(self) -> bool:
            return bool(getattr(self, "pipeline", None))

        def _refuse(self, last: RefusedError) -> None:
            self.due = None
            self._last = last
            figures.refused(last.status)
            cycle = self.cycle
            if self._number is not None:
                return  # it is answered first
            if cycle is None or cycle.response_complete:
                self._say()
            elif cycle.more_body:
                # It is that request's own body: whoever reads it hears that the client has gone.
                is_new = not cycle.response_started
                cycle.disconnected = True
                cycle.message_event.set()
                self._say() if is_new else self.transport.close()
            # Else what came before it is answered first.

        def _say(self) -> None:
            if self._is_over or self.transport.is_closing():
                return
            self._is_over = True
            assert self._last is not None
            self._unset_keepalive_if_required()
            self.transport.write(refusal(self._last.status, str(self._last)))
            if self.transport.can_write_eof():
                self.flow.resume_reading()
                self.transport.write_eof()
                self.loop.call_later(_LINGER_SECONDS, self.transport.close)
            else:
                self.transport.close()

    return Watched
