"""What a running `python -m erl` makes of bytes that no Erlang sends: it answers and serves on, or it leaves."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import pytest
from conversation import Conversation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from erl import codec
from erl.codec import Options
from erl.terms import Atom

OPTIONS = Options.from_flags(4)
LEAVE_SECONDS = 10

_C = Atom("C")
MESSAGES = [
    codec.encode(term, OPTIONS)
    for term in [
        (_C, 1, Atom("operator"), Atom("add"), [1, 2]),
        (_C, 2, Atom("builtins"), Atom("len"), [[1, 2, 3]]),
        (_C, 3, Atom("erl.calls.objects"), Atom("call"), [0, Atom("operator"), Atom("add"), [1, 2], []]),
        (_C, 4, Atom("erl.calls.objects"), Atom("attr"), [0, b"text", Atom("upper")]),
        (_C, 5, Atom("builtins"), Atom("no-such"), [b"x" * 300, 1.5, (1, (2, [3]))]),
        (Atom("M"), [Atom("a"), 1]),
        (Atom("r"), 1, 2),
        (Atom("e"), 1, (Atom("erlang"), Atom("error"), Atom("why"), [])),
        (Atom("X"), 7),
    ]
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A message with some bytes changed, dropped, doubled or cut off."""
    frame = bytearray(draw(st.sampled_from(MESSAGES)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(frame) - 1)))
        match draw(st.sampled_from(["change", "drop", "double", "cut"])):
            case "change":
                frame[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case "drop":
                del frame[at : at + draw(st.integers(1, 8))]
            case "double":
                frame[at:at] = frame[at : at + draw(st.integers(1, 8))]
            case _:
                del frame[at:]
    return bytes(frame)


@pytest.fixture(scope="module", params=[True, False], ids=["compiled", "python"])
def python(request: pytest.FixtureRequest) -> Iterator[Conversation]:
    with Conversation("--py", compiled=request.param) as running:
        yield running


_ids = itertools.count(1_000_000)


def served(python: Conversation) -> list[object]:
    """The kinds of the messages before the answer to a new call, which must be right."""
    id_ = next(_ids)
    python.call(id_, "operator", "add", [id_, 1])
    kinds: list[object] = []
    while True:
        reader = codec.Reader(python.receive_frame())  # of the others' values some are pickles
        reader.tuple_header()
        kind = reader.raw()
        if kind == "r" and reader.raw() == id_:
            assert reader.raw() == id_ + 1
            return kinds
        kinds.append(kind)


MANY = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY
@given(frames=st.lists(mutated(), min_size=1, max_size=5))
def test_mutated_messages_get_one_answer_at_most_and_the_next_call_is_served(
    python: Conversation, frames: list[bytes]
) -> None:
    python.send_frames(*frames)
    kinds = served(python)
    assert set(kinds) <= {"r", "e"}
    assert len(kinds) <= len(frames)


@MANY
@given(frames=st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_frames_from_nowhere_get_an_error_each_and_the_next_call_is_served(
    python: Conversation, frames: list[bytes]
) -> None:
    python.send_frames(*frames)
    assert served(python) == ["e"] * len(frames)


@MANY
@given(cuts=st.lists(st.integers(1, 60), min_size=1, max_size=6), count=st.integers(1, 8))
def test_any_split_of_the_stream_gets_the_same_answers(
    python: Conversation, cuts: list[int], count: int
) -> None:
    frames = [
        codec.encode((_C, id_, Atom("operator"), Atom("mul"), [id_, [1] * id_]), OPTIONS)
        for id_ in range(1, count + 1)
    ]
    stream = b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)
    for cut in itertools.cycle(cuts):
        if not stream:
            break
        python.send_bytes(stream[:cut])
        stream = stream[cut:]
    assert [python.answer(id_) for id_ in range(1, count + 1)] == [
        [1] * (id_ * id_) for id_ in range(1, count + 1)
    ]


@pytest.mark.parametrize("compiled", [True, False])
@settings(max_examples=15)
@given(data=st.binary(min_size=1, max_size=200))
def test_a_stream_that_is_none_ends_with_the_port(compiled: bool, data: bytes) -> None:
    with Conversation("--py", compiled=compiled) as python:
        with contextlib.suppress(BrokenPipeError):
            python.send_bytes(data)
        python.process.stdin.close()  # type: ignore[union-attr]
        assert python.process.wait(LEAVE_SECONDS) == 0
        assert b"Traceback" not in python.process.stderr.read()  # type: ignore[union-attr]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("packet", [1, 2, 4])
def test_a_frame_that_does_not_end_ends_with_the_port(packet: int, compiled: bool) -> None:
    with Conversation("--py", f"--packet={packet}", packet=packet, compiled=compiled) as python:
        served(python)
        python.send_bytes(b"\xff" * packet + b"\x83h\x05")
        python.process.stdin.close()  # type: ignore[union-attr]
        assert python.process.wait(LEAVE_SECONDS) == 0
