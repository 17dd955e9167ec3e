"""A request on its way to a replica, and what comes back, as bytes. Pure; neither end trusts more than their shape.

    request   <<HeadBytes:32, Head, Body>>              Head: lines of id, method, target, scheme, names and values
    answer    <<Status:16, HeadBytes:32, Head, Body>>   Head: lines of names and values

A line ends with a newline, which HTTP has in no name and no value. Text is latin-1, as HTTP has it.
"""

from __future__ import annotations

import re
from struct import Struct, error

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Final

    Headers = Sequence[tuple[bytes, bytes]]

_REQUEST: Final = Struct(">I")
_ANSWER: Final = Struct(">HI")

_HEADERS: Final = re.compile(r"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+\n[\t\x20-\x7e\x80-\xff]*(?:\n|\Z))*")

REPLICA: Final = "erl.serving.replica"
"""The module whose functions a front may have called, and no other: `handle`, `more`, `close`."""


def request(id_: bytes, method: bytes, target: bytes, scheme: bytes, headers: Headers, body: bytes) -> bytes:
    """The bytes of a request. A name or value with a newline is the caller's error."""
    return with_id(id_, request_tail(method, target, scheme, headers)) + body


def request_tail(method: bytes, target: bytes, scheme: bytes, headers: Headers) -> bytes:
    """What stands behind the id in the head of a request, for `with_id`: it is the same for many."""
    lines = [b"", method, target, scheme]
    for pair in headers:
        lines += pair
    return b"\n".join(lines)


def with_id(id_: bytes, tail: bytes) -> bytes:
    """The bytes of a request up to its body."""
    return _REQUEST.pack(len(id_) + len(tail)) + id_ + tail


def read_request(data: bytes) -> tuple[str, str, str, str, list[tuple[str, str]], bytes]:
    """Id, method, target, scheme, headers and body. Raises `ValueError` for what is none."""
    try:
        (size,) = _REQUEST.unpack_from(data)
        id_, method, target, scheme, *rest = data[4 : 4 + size].decode("latin-1").split("\n")
    except (error, ValueError) as wrong:
        raise ValueError("what came from the front is no request") from wrong
    return id_, method, target, scheme, list(zip(rest[::2], rest[1::2], strict=True)), data[4 + size :]


def answer(status: int, headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
    """The bytes of an answer. Raises `ValueError` for a name or value that would be another one on the wire."""
    lines: list[str] = []
    for pair in headers:
        lines += pair
    text = "\n".join(lines)
    if text.count("\n") != max(0, len(lines) - 1) or not _HEADERS.fullmatch(text):
        raise ValueError(
            "a header of the response has a line break in it, or what is no letter of a name or value"
        )
    head = text.encode("latin-1")
    return b"".join((_ANSWER.pack(status, len(head)), head, body))


def answer_head_bytes(data: bytes) -> int:
    """How many bytes of an answer stand before its body. Raises `ValueError` for what is none."""
    size = _ANSWER.size + int.from_bytes(data[2:6], "big")
    if len(data) < size:
        raise ValueError("what came from the replica is no answer")
    return size


def read_answer(data: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body. Raises `ValueError` for what is none."""
    try:
        status, size = _ANSWER.unpack_from(data)
    except error as wrong:
        raise ValueError("what came from the replica is no answer") from wrong
    rest = data[6 : 6 + size].split(b"\n") if size else []
    return status, list(zip(rest[::2], rest[1::2], strict=True)), data[6 + size :]
