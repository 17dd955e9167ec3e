"""Handlers: what their parameters are given, what they may return, and what a request and an answer are as bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from erl.serving import exchange, handlers, replica, responses
from erl.serving.encoding import Encoder
from erl.serving.events import Event

if TYPE_CHECKING:
    from collections.abc import Callable

JSON = "application/json"


def called(function: Callable[..., Any], body: bytes = b"", content_type: str = JSON) -> Any:
    return handlers.Handler(function).call("the context", Event(body), content_type, body)


def test_parameters_are_found_by_their_names() -> None:
    assert called(lambda: 1) == 1
    assert called(lambda context, event: (context, event.body), b"raw", "text/plain") == (
        "the context",
        b"raw",
    )
    assert called(lambda events: events.body, b"[1]") == b"[1]"
    assert called(lambda a, context, b=2: (a, b, context), b'{"a": 1}') == (1, 2, "the context")
    assert called(lambda **rest: rest, b'{"x": 1}') == {"x": 1}
    assert called(lambda a, /: a, b'{"a": 1}') == 1


@pytest.mark.parametrize(
    ("body", "content_type", "status", "text"),
    [
        (b"", "", 422, "missing: a"),
        (b'{"b": 1, "c": "secret"}', JSON, 422, "missing: a; unknown: b, c"),
        (b'{"a": 1}', "text/plain", 422, "missing: a"),
        (b'{"a": 1', JSON, 400, "no JSON"),
        (b"[]", JSON, 422, "JSON object"),
    ],
)
def test_a_request_without_the_parameters_is_refused(
    body: bytes, content_type: str, status: int, text: str
) -> None:
    with pytest.raises(handlers.RefusedError, match=text) as raised:
        called(lambda a: a, body, content_type)
    assert raised.value.status == status
    assert "secret" not in str(raised.value)


def test_init_parameters_must_fit() -> None:
    def init(context: object, param1: int, param2: int = 2) -> tuple[object, int, int]:
        return context, param1, param2

    assert handlers.run_init(init, "c", {"param1": 1}) == ("c", 1, 2)
    for got in ({}, {"param1": 1, "param3": 3}):
        with pytest.raises(ValueError, match="Init function parameters mismatch") as raised:
            handlers.run_init(init, "c", got)
        assert str(raised.value).endswith(f"Expected: ['param1', 'param2'], Got: {list(got)}")


@pytest.mark.parametrize(
    ("returned", "status", "content_type", "body"),
    [
        ("text", 200, "text/plain", b"text"),
        ("tée", 200, "text/plain; charset=utf-8", "tée".encode()),
        (b"\xff", 200, "text/plain", b"\xff"),
        (2020, 200, "text/plain", b"2020"),
        (12.5, 200, "text/plain", b"12.5"),
        (None, 200, "text/plain", b"None"),
        ({"a": float("nan")}, 200, JSON, b'{"a": "NaN"}'),
        ([1, True], 200, JSON, b"[1, true]"),
        ((201, "made"), 201, "text/plain", b"made"),
        ((201, {"a": 1}), 201, JSON, b'{"a": 1}'),
        (responses.Response(body={"a": 1}, status_code=202), 202, JSON, b'{"a": 1}'),
        (responses.Response({"X": "y"}, "text", "text/html", 404), 404, "text/html", b"text"),
    ],
)
def test_what_is_returned_is_an_answer(returned: object, status: int, content_type: str, body: bytes) -> None:
    said, headers, data = exchange.read_answer(replica._encoded(returned))
    assert (said, dict(headers)[b"content-type"].decode(), data) == (status, content_type, body)


@pytest.mark.parametrize(
    "returned",
    [(99, "text"), ("200", "text"), (600, {}), responses.Response({"X": "a\r\nSet-Cookie: b"}, "text")],
)
def test_what_is_no_answer_is_an_error(returned: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # each says something else
        replica._encoded(returned)


def test_requests_and_answers_are_read_as_they_were_written() -> None:
    headers = [(b"x-one", b"1"), (b"empty", b"")]
    data = exchange.request(b"id", b"GET", b"/a?b", b"http", headers, b"\n\0body")
    assert exchange.read_request(data) == (
        "id",
        "GET",
        "/a?b",
        "http",
        [("x-one", "1"), ("empty", "")],
        b"\n\0body",
    )
    assert exchange.read_answer(exchange.answer(204, [], b"")) == (204, [], b"")
    for wrong in (b"", b"\0", b"\0\0\0\x02ab"):
        with pytest.raises(ValueError, match="no request"):
            exchange.read_request(wrong)


def test_no_object_fails_to_be_said() -> None:
    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError("mute")

    assert (
        Encoder().encode({"a": [Mute(), float("inf")]})
        == '{"a": ["Unable to serialize object: mute", "Infinity"]}'
    )
