"""The link's messages, with bytes alone: any cut gives the same events, and what is no message is said to be none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erl import codec, errors
from erl.link import protocol
from erl.link.protocol import OPTIONS, Protocol
from erl.terms import Atom

HELLO = protocol.message("hello", 1, {Atom("key"): b"k" * 32, Atom("node"): Atom("n@h")})
DONE = protocol.message("done", 7, Atom("trusted"), codec.encode((Atom("r"), 1, b"x"), OPTIONS))
FAILED = protocol.message("failed", 8, (Atom("worker_down"), Atom("killed")), "it is gone")
PRINT = protocol.message("print", "tea\n")
SESSION = HELLO + DONE + FAILED + PRINT


def opened() -> Protocol:
    made = Protocol()
    assert [event[0] for event in made.receive(HELLO)] == ["hello"]
    return made


def test_events_come_in_order() -> None:
    kinds = [event[0] for event in Protocol().receive(SESSION)]
    assert kinds == ["hello", "done", "failed", "print"]


@given(st.lists(st.integers(0, len(SESSION)), max_size=12))
def test_any_cut_of_the_bytes_gives_the_same_events(cuts: list[int]) -> None:
    ends = [*sorted(cuts), len(SESSION)]
    reads = [SESSION[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    made = Protocol()
    events = [event for read in reads for event in made.receive(read)]
    assert events == Protocol().receive(SESSION)
    assert made.waiting_bytes == 0


@pytest.mark.parametrize(
    "frame",
    [
        protocol.framed(codec.encode(Atom("hello"), OPTIONS)),
        protocol.message("done", 1),
        protocol.message("done", Atom("one"), Atom("trusted"), b""),
        protocol.message("whatever", 1, 2),
        protocol.message("hello", 1, {}),
        protocol.framed(b"\x83"),
        protocol.framed(b"no term"),
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
    ],
)
def test_what_is_no_message_of_a_node_ends_the_link(frame: bytes) -> None:
    with pytest.raises(errors.ProtocolError):
        opened().receive(frame)


@pytest.mark.parametrize("frame", [DONE, PRINT])
def test_nothing_comes_before_hello(frame: bytes) -> None:
    with pytest.raises(errors.ProtocolError):
        Protocol().receive(frame)


def test_a_result_that_has_no_python_value_is_its_calls_error() -> None:
    stale = (Atom("$py.shm"), (Atom("n@h"), b"0123456789abcdef-1-10", (0, 10), Atom("bytes")))
    frame = protocol.framed(
        b"\x83h\x03" + b"".join(codec.encode(each, OPTIONS)[1:] for each in (Atom("result"), 5, stale))
    )
    [event] = opened().receive(frame)
    assert event[0] == "unread"
    assert event[1] == 5
    assert isinstance(event[2], errors.BridgeError)


def test_a_submit_is_the_message_that_the_codec_makes() -> None:
    route = protocol.route("default", None, 1500)
    frame = protocol.submit(9, route, b"payload")
    kind, id_, options, body = codec.decode(frame[4:], OPTIONS)
    assert (kind, id_, options) == ("submit", 9, {"pool": "default", "timeout": 1500})
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    whole = codec.decode(b"\x83h\x03" + body, OPTIONS)
    assert whole == ("erl.calls.tasks", "run", [b"payload"])


def test_text_is_bytes_in_every_message() -> None:
    call = codec.decode(protocol.message("call", 1, Atom("io"), Atom("format"), ["tea"])[4:], OPTIONS)
    assert call == ("call", 1, "io", "format", [b"tea"])
