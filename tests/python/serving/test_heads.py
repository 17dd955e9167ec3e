"""What a client sends: whole requests pass however they are cut, what two readers could differ on does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erl.serving.heads import MOST_HEAD_BYTES, Messages, RefusedError

GET = b"GET /a?b=c HTTP/1.1\r\nHost: localhost:80\r\nX-One: 1\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: LOCALHOST\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED_HEAD = b"POST / HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: Chunked\r\n\r\n"
CHUNKED = CHUNKED_HEAD + b"5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n"


def messages(most_body: int = 100) -> Messages:
    return Messages(frozenset((b"localhost", b"[::1]")), most_body)


@given(st.lists(st.integers(0, 400), max_size=8))
def test_requests_pass_however_they_are_cut(cuts: list[int]) -> None:
    whole = GET + POST + CHUNKED + GET
    reader, passed, start = messages(), b"", 0
    for cut in [*sorted({cut for cut in cuts if cut < len(whole)}), len(whole)]:
        parts, refused = reader.receive(whole[start:cut])
        assert refused is None
        passed, start = passed + b"".join(parts), cut
    assert passed == whole
    assert reader.is_between
    assert reader.ended() is None


def test_a_head_that_comes_again_is_handed_on_again() -> None:
    reader = messages()
    for sent in (GET, GET, POST, POST, GET, GET + GET, GET[:9]):
        parts, refused = reader.receive(sent)
        assert refused is None
        assert b"".join(parts) == (b"" if sent == GET[:9] else sent)
    # Behind the begin of another one it is none.
    assert reader.receive(GET)[1] is not None


def test_what_asks_for_another_protocol_is_none_for_the_parser() -> None:
    parts, _ = messages().receive(GET.replace(b"X-One: 1", b"Upgrade: h2c"))
    assert b"pgrade" not in b"".join(parts)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (GET.replace(b"localhost:80", b"example.org"), 421),
        (GET.replace(b"localhost:80", b"localhost:80x"), 421),
        (GET.replace(b"Host", b"Hos"), 400),
        (GET.replace(b"X-One: 1", b"Host: localhost"), 400),
        (GET.replace(b"X-One: 1", b" folded"), 400),
        (GET.replace(b"X-One: 1", b"X-One : 1"), 400),
        (GET.replace(b"X-One: 1", b"X-One: \x00"), 400),
        (GET.replace(b"X-One: 1", b"X-One: 1\rX: 2"), 400),
        (GET.replace(b"HTTP/1.1", b"HTTP/1.2"), 505),
        (GET.replace(b"/a?b=c", b"*"), 400),
        (GET.replace(b"GET", b"CONNECT"), 400),
        (GET.replace(b"/a?b=c", b"/#a"), 400),
        (POST.replace(b"5\r\n", b"101\r\n"), 413),
        (POST.replace(b"5\r\n", b"5\r\nContent-Length: 5\r\n"), 400),
        (POST.replace(b"5\r\n", b"0x5\r\n"), 400),
        (POST.replace(b"5\r\n", b"5\r\nTransfer-Encoding: chunked\r\n"), 400),
        (CHUNKED.replace(b"Chunked", b"chunked, identity"), 400),
        (CHUNKED.replace(b"5\r\nhello", b"5;a=b\r\nhello"), 400),
        (CHUNKED.replace(b"5\r\nhello", b"5\r\nhello!"), 400),
        (CHUNKED.replace(b"0\r\n\r\n", b"0\r\nTrailer: 1\r\n\r\n"), 400),
        (CHUNKED.replace(b"A\r\n", b"FF\r\n"), 413),
        (b"GET /" + b"a" * MOST_HEAD_BYTES, 414),
        (GET[:-2] + b"X: " + b"a" * MOST_HEAD_BYTES, 431),
        (b"\x16\x03\x01\x02", 400),
        (b"GET / HTTP/1.1\nHost: localhost\n\n", 400),
    ],
)
def test_what_is_refused_passes_in_no_part(sent: bytes, status: int) -> None:
    parts, refused = messages().receive(GET + sent)
    assert isinstance(refused, RefusedError)
    assert refused.status == status
    assert b"".join(parts).startswith(GET)


def test_the_end_in_the_middle_of_a_request_is_told() -> None:
    reader = messages()
    reader.receive(POST[:-1])
    ended = reader.ended()
    assert ended is not None
    assert ended.status == 400
