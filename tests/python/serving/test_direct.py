"""Requests that a front answers without an application in between: which, and with what bytes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from erl import codec
from erl.link import protocol
from erl.link.loop import FailedError, RaisedError
from erl.serving import application, direct, exchange, figures
from erl.serving.heads import Messages
from erl.terms import Atom

HOST = b"Host: localhost\r\n"
DEFAULTS = [(b"date", b"now")]


def made(token: bytes | None = None) -> direct.Direct:
    async def make() -> direct.Direct:
        heads = dict.fromkeys(("handle", "more", "close"), protocol.body_head(exchange.REPLICA, "handle"))
        return direct.Direct(application.Application(heads, None, token, figures.Figures(), None))

    return asyncio.run(make())


def parts_of(data: bytes) -> list[bytes]:
    parts, refused = Messages(frozenset((b"localhost",)), 1_000_000).receive(data)
    assert refused is None
    return parts


@pytest.mark.parametrize(
    ("data", "is_direct"),
    [
        (b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", True),
        (b"DELETE /a?b=%20 HTTP/1.1\r\n" + HOST + b"Connection: Keep-Alive\r\n\r\n", True),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc", True),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nab", False),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 70000\r\n\r\n" + b"a" * 70_000, False),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", False),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\na", False),
        (b"GET / HTTP/1.0\r\n" + HOST + b"\r\n", False),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", False),
        (b"GET /-/metrics HTTP/1.1\r\n" + HOST + b"\r\n", False),
        (b"GET /%2D/metrics HTTP/1.1\r\n" + HOST + b"\r\n", False),
        (b"GET /%2d%2fmetrics HTTP/1.1\r\n" + HOST + b"\r\n", False),
        (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", False),
        (b"GET / HTTP/1.1\r\n" + HOST + b"\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n", False),
    ],
)
def test_a_request_goes_directly_if_it_is_there_whole_and_asks_for_nothing_else(
    data: bytes, is_direct: bool
) -> None:
    there, parts = made(), parts_of(data)
    assert [(there.head(parts, b"http") is not None) for _ in range(2)] == [is_direct, is_direct]


def test_who_has_no_token_goes_the_other_way() -> None:
    there = made(b"a token of tokens")
    for line, is_direct in ((b"", False), (b"Authorization: Bearer a token of tokens\r\n", True)):
        parts = parts_of(b"GET / HTTP/1.1\r\n" + HOST + line + b"\r\n")
        assert (there.head(parts, b"http") is not None) == is_direct


def test_what_a_replica_reads_is_what_an_application_would_have_sent() -> None:
    data = (
        b"PUT /a?b=c HTTP/1.1\r\n"
        + HOST
        + b"X-Request-ID: one\r\nX-A:  \xe4 b \t\r\nContent-Length: 2\r\n\r\n\n\0"
    )
    head = made().head(parts_of(data), b"https")
    assert head is not None
    assert (head.id, head.is_head, head.length) == (b"one", False, 2)
    headers = [("host", "localhost"), ("x-request-id", "one"), ("x-a", "ä b"), ("content-length", "2")]
    read = exchange.read_request(exchange.with_id(b"one", head.tail) + b"\n\0")
    assert read == ("one", "PUT", "/a?b=c", "https", headers, b"\n\0")


def test_a_head_that_is_read_again_says_the_same_and_few_are_kept() -> None:
    there = made()
    for number in [*range(300), 0]:
        head = there.head(parts_of(b"GET /%d HTTP/1.1\r\n" % number + HOST + b"\r\n"), b"http")
        assert head is not None
        assert exchange.read_request(exchange.with_id(b"i", head.tail))[2] == f"/{number}"
    assert len(there._read) <= 256


def answered(status: int, headers: list[tuple[str, str]], body: bytes, is_head: bool = False) -> bytes:
    data = exchange.answer(status, headers, body)
    return b"".join(made().answer(data, b"one", is_head, DEFAULTS)[1])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            (200, [("content-type", "text/plain")], b"ok"),
            b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"
            b"date: now\r\ncontent-length: 2\r\nx-request-id: one\r\n\r\nok",
        ),
        (
            (200, [], b"ok", True),
            b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 2\r\nx-request-id: one\r\n\r\n",
        ),
        ((204, [], b"ok"), b"HTTP/1.1 204 No Content\r\ndate: now\r\nx-request-id: one\r\n\r\n"),
        ((599, [], b""), b"HTTP/1.1 599 \r\ndate: now\r\ncontent-length: 0\r\nx-request-id: one\r\n\r\n"),
    ],
)
def test_an_answer_is_one_write(given: Any, said: bytes) -> None:
    assert answered(*given) == said


def test_a_large_body_is_not_copied() -> None:
    _, pieces = made().answer(exchange.answer(200, [], b"x" * 100_000), b"one", False, DEFAULTS)
    assert [type(each) for each in pieces] == [bytes, memoryview]
    assert b"".join(pieces).endswith(b"\r\n\r\n" + b"x" * 100_000)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\xc8",
        b"\0\x63\0\0\0\0",
        b"\x03\xe8\0\0\0\0",
        b"\0\xc8\0\0\0\5a\nb\nc",
        b"\0\xc8\0\0\0\4a\nb",
        b"\0\xc8\0\0\0\5a b\nc",
        b"\0\xc8\0\0\0\x0bset\n1\r\nx: 2",
        b"\0\xc8\0\0\0\x10content-length\n1",
        b"\0\xc8\0\0\0\x19Transfer-Encoding\nchunked",
    ],
)
def test_what_no_replica_of_ours_says_is_502(data: bytes) -> None:
    status, pieces = made().answer(data, b"one", False, DEFAULTS)
    whole = b"".join(pieces)
    assert status == 502
    assert whole.startswith(b"HTTP/1.1 502 Bad Gateway\r\ncontent-type: application/json\r\n")
    assert whole.endswith(b'{"error": "the request could not be run", "id": "one"}')


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (RaisedError("builtins.MemoryError", ""), 500, "MemoryError"),
        (FailedError("overload", "", ""), 503, "the queue is full"),
        (FailedError("encode", "", ""), 502, "the answer is too large for one: it can be streamed"),
        (FailedError("timeout", "", ""), 504, "the deadline is over"),
        (FailedError("worker_down", "noproc", ""), 502, "the replica that ran the request died"),
        (FailedError("worker_down", "restarting", ""), 503, "no replica runs"),
    ],
)
def test_a_failure_is_told(error: Any, status: int, text: str) -> None:
    got, pieces = made().failure(error, b"one", False, DEFAULTS)
    whole = b"".join(pieces)
    assert got == status
    assert whole.endswith(b'{"error": "%s", "id": "one"}' % text.encode())
    assert (b"retry-after: 1\r\n" in whole) == (status == 503)


@pytest.mark.parametrize("payload", [b"", b"a", b"\x83" * 70_000])
def test_a_frame_of_calls_is_that_of_submit(payload: bytes) -> None:
    route, head = protocol.map_of({"timeout": 5}), protocol.body_head("math", "sqrt")
    calls = protocol.Calls(route, head)
    for id_ in (1, 255, protocol.MOST_IDS):
        said = protocol.submit_to(id_, route, head, payload)
        assert calls.frame(id_, payload) == calls.frame(id_, payload[:1], payload[1:]) == said


def done(number: int, value: object, kind: str = "r", trust: bytes = b"w\7trusted", id_: int = 7) -> bytes:
    answer = codec.encode((Atom(kind), number, value), protocol.OPTIONS).replace(b"d\0\1", b"w\1", 1)
    head = b"\x83h\4w\4doneb" + id_.to_bytes(4, "big") + trust
    return head + b"m" + len(answer).to_bytes(4, "big") + answer


def test_a_result_of_bytes_is_read_without_being_decoded() -> None:
    for number in (1, 255, 256, protocol.MOST_IDS):
        for value in (b"", b"a" * 300):
            frame = done(number, value)
            assert protocol.done_bytes(frame) == (7, value)
            assert protocol.answer(codec.decode(frame, protocol.OPTIONS)[3], True) == (True, value)


def test_everything_else_is_decoded() -> None:
    whole = done(1, b"some bytes")
    others = [done(1, 5), done(1, (b"a", 1)), done(1, b"a", "e"), done(1, b"a", trust=b"w\3box")]
    others += [whole[:at] for at in range(len(whole))] + [whole + b"x"]
    assert [each for each in others if protocol.done_bytes(each) is not None] == []
