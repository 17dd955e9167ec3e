"""uvicorn's protocol behind `heads`: what is refused never reaches the parser, and who sends too slowly is told so."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from erl.serving.heads import Messages, RefusedError

_HEAD_SECONDS: Final = 10.0
_BODY_SECONDS: Final = 20.0
_LINGER_SECONDS: Final = 2.0


def refusal(status: int, text: str) -> bytes:
    """The last answer on a connection."""
    body = b'{"error": "%s"}' % text.encode("ascii", "replace").replace(b'"', b"'")
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
    more = "retry-after: 1\r\n" if status == 503 else ""
    return f"{head}{more}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body


def protocol(hosts: frozenset[bytes], most_body: int, most_connections: int, refused: Any) -> type:
    """The class of a front's connections, over that of uvicorn which is there; `refused` is told of each status."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    base: Any = H11Protocol
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
            if len(self.connections) > most_connections:
                self._refuse(RefusedError(503, "there are too many connections"))

        def data_received(self, data: bytes) -> None:
            if self._last is not None:
                return  # so that the client reads its answer: a socket that is closed with bytes unread resets
            messages = self._messages
            was_between = messages.is_between
            parts, last = messages.receive(data)
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

        def eof_received(self) -> None:
            last = self._messages.ended()
            if last is not None and self._last is None:
                self._refuse(last)
            return super().eof_received()  # type: ignore[no-any-return]

        def late(self, now: float) -> None:
            """Called now and then: a client that has not sent what it has begun is not waited for."""
            if self.due is not None and now > self.due and self._last is None:
                self._refuse(RefusedError(408, "the request did not come in time"))

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
            refused(last.status)
            cycle = self.cycle
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
