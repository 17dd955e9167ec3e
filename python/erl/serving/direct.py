"""Requests that are there whole, answered without an application in between: bytes in, one write out.

Most requests are small, and so are their answers. For those neither parser, task nor event is made: `heads` has looked
at each of their bytes, and the answer is told to the connection, which writes it. All else (long or chunked bodies,
what asks for a connection's end, paths below `/-/`, answers in pieces, a service that does not serve yet) goes the way
of any application of uvicorn's, `application`.
"""

from __future__ import annotations

import re
import time
from http import HTTPStatus

from erl.link.loop import FailedError
from erl.serving import exchange
from erl.serving.application import JSON, failed_body, failure, given_id

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

    from erl.link.loop import LoopLink, RaisedError
    from erl.serving.application import Application

_MOST_BYTES: Final = 65_536
_MOST_KNOWN: Final = 256
_MOST_KNOWN_BYTES: Final = 4_096
_OWN: Final = b"/-/"
_OTHER_WAY: Final = frozenset((b"expect", b"upgrade", b"transfer-encoding", b"te", b"trailer"))
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NO_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_OURS: Final = frozenset(
    (b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"upgrade", b"trailer")
)
"""Names of headers that say where an answer ends, and what comes then: no replica says them."""


class Head:
    """What was read of the head of a request."""

    __slots__ = ("id", "is_head", "length", "may", "tail")

    def __init__(self, may: bool, is_head: bool, length: int, id_: bytes | None, tail: bytes) -> None:
        self.may = may
        self.is_head = is_head
        self.length = length
        self.id = id_
        self.tail = tail


class Direct:
    """Begins requests for the connections of one front, and makes the bytes of their answers."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self.figures = application.figures
        self._read: dict[tuple[bytes, bytes], Head | None] = {}
        self._made: dict[bytes, tuple[int, bytes]] = {}
        self._given: Any = None
        self._default = b""

    def link(self) -> LoopLink | None:
        """Where requests go, while they may."""
        return self._application.link if self._application.state == "ready" else None

    def cancel(self, number: int) -> None:
        """Nobody waits for that answer any more."""
        if self._application.link is not None:
            self._application.link.cancel(number)

    def head(self, parts: Sequence[bytes], scheme: bytes) -> Head | None:
        """The head of a request of these parts, if all of it is there, and it can be answered so."""
        first = parts[0]
        try:
            head = self._read[scheme, first]
        except KeyError:
            head = _head(first, scheme, self._application)
            if len(first) <= _MOST_KNOWN_BYTES:
                if len(self._read) >= _MOST_KNOWN:
                    self._read.clear()
                self._read[scheme, first] = head
        if head is None or not head.may:
            return None
        if head.length:
            # `heads` has cut it: what stands behind the head is its body, or the first bytes of that.
            return head if len(parts) == 2 and len(parts[1]) == head.length <= _MOST_BYTES else None
        return head if len(parts) == 1 else None

    def begin(
        self, asker: Any, link: LoopLink, head: Head, body: Sequence[bytes]
    ) -> tuple[int, bytes, float]:
        """Have a request handled: the number of its call, its id, and when it began."""
        application = self._application
        id_ = head.id or application.new_id()
        self.figures.begun()
        number = link.ask(application.handle, asker, exchange.with_id(id_, head.tail), *body)
        return number, id_, time.perf_counter()

    def answer(self, data: bytes, id_: bytes, is_head: bool, defaults: Any) -> tuple[int, list[bytes]]:
        """Status and bytes for what a replica has answered."""
        try:
            size = exchange.answer_head_bytes(data)
            key = data[:size]
            made = self._made.get(key)
            if made is None:
                made = self._made_of(key)
        except ValueError:
            return self.failure(FailedError("protocol", "", "no answer"), id_, is_head, defaults)
        status, head = made
        if status in (204, 304):
            return status, self._whole(head, defaults, b"", id_, None)
        length = len(data) - size
        body = b"" if is_head else (data[size:] if length < _MOST_BYTES else memoryview(data)[size:])
        return status, self._whole(head, defaults, b"content-length: %d\r\n" % length, id_, body)

    def failure(
        self, error: FailedError | RaisedError, id_: bytes, is_head: bool, defaults: Any
    ) -> tuple[int, list[bytes]]:
        """Status and bytes where there is none."""
        status, text, *more = failure(error)
        body = failed_body(text, id_)
        head = _status_line(status) + _lines([JSON, *more])
        length = b"content-length: %d\r\n" % len(body)
        return status, self._whole(head, defaults, length, id_, b"" if is_head else body)

    def _whole(self, head: bytes, defaults: Any, length: bytes, id_: bytes, body: Any) -> list[bytes]:
        if defaults is not self._given:  # uvicorn makes them anew each second
            self._given = defaults
            self._default = _lines(defaults)
        whole = b"".join((head, self._default, length, b"x-request-id: ", id_, b"\r\n\r\n"))
        if not body:
            return [whole]
        return [whole + body] if type(body) is bytes else [whole, body]

    def _made_of(self, key: bytes) -> tuple[int, bytes]:
        status, headers, _ = exchange.read_answer(key)
        check(status, headers)
        made = status, _status_line(status) + _lines(headers)
        if len(key) <= _MOST_KNOWN_BYTES:
            if len(self._made) >= _MOST_KNOWN:
                self._made.clear()
            self._made[key] = made
        return made


def check(status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Whether an answer may have these. Raises `ValueError`."""
    if not 200 <= status <= 599:
        raise ValueError(f"{status} is no status of an answer")
    for name, value in headers:
        if not _NAME.fullmatch(name) or name.lower() in _OURS or _NO_VALUE.search(value):
            raise ValueError("what came from the replica has a header that is none")


def _head(data: bytes, scheme: bytes, application: Application) -> Head | None:
    """What a head says that `heads` has found right; nothing where it goes the other way."""
    line, *rest = data[:-4].split(b"\r\n")
    method, target, version = line.split(b" ")
    # A path may be spelled otherwise, and be one of the front's.
    if (
        version != b"HTTP/1.1"
        or not target.startswith(b"/")
        or target.startswith(_OWN)
        or b"%" in target.partition(b"?")[0][:9]
    ):
        return None
    headers = []
    length = 0
    for each in rest:
        name, _, value = each.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if name in _OTHER_WAY or (name == b"connection" and value.lower() != b"keep-alive"):
            return None
        if name == b"content-length":
            length = int(value)
        headers.append((name, value))
    tail = exchange.request_tail(method, target.removesuffix(b"?"), scheme, headers)
    return Head(application.may(headers), method == b"HEAD", length, given_id(headers), tail)


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


def _lines(headers: Any) -> bytes:
    return b"".join(b"%s: %s\r\n" % (name.lower(), value) for name, value in headers)
