"""Frames and messages: any split of the bytes gives the same messages, and what is none is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erl import codec, errors, wire
from erl.codec import Options
from erl.terms import Atom

OPTIONS = Options.from_flags(4)

# The one that specifies it, and the compiled one where there is one.
BUFFERS = [wire.FrameBuffer] if codec.FrameBuffer is None else [wire.FrameBuffer, codec.FrameBuffer]
both = pytest.mark.parametrize("kind", BUFFERS, ids=["Python", "compiled"][: len(BUFFERS)])


def frames_of(buffer: Any) -> list[bytes]:
    return list(iter(buffer.take, None))


def split(kind: Any, frames: list[bytes], packet: int, cuts: list[int], first_bytes: int = 64) -> list[bytes]:
    stream = b"".join(len(frame).to_bytes(packet, "big") + frame for frame in frames)
    buffer = kind(packet, first_bytes)
    seen: list[bytes] = []
    position = 0
    while position < len(stream):
        free = buffer.free()
        step = min(cuts[position % len(cuts)], len(free), len(stream) - position)
        free[:step] = stream[position : position + step]
        del free
        buffer.fill(step)
        position += step
        seen.extend(frames_of(buffer))
    return seen


@both
@given(
    frames=st.lists(st.binary(max_size=200), max_size=20),
    packet=st.sampled_from([1, 2, 4]),
    cuts=st.lists(st.integers(1, 300), min_size=1, max_size=8),
)
def test_any_split_of_the_bytes_gives_the_same_frames(
    kind: Any, frames: list[bytes], packet: int, cuts: list[int]
) -> None:
    assert split(kind, frames, packet, cuts) == frames


@both
def test_a_frame_larger_than_the_buffer_makes_it_grow(kind: Any) -> None:
    frames = [b"a", b"x" * 1_000_000, b"b", b"y" * 3_000_000, b"c"]
    assert split(kind, frames, 4, [65536, 1, 100_000]) == frames


@both
def test_both_buffers_have_the_same_room_at_every_step(kind: Any) -> None:
    frames = [b"a", b"x" * 100_000, b"b", b"y" * 3_000_000, b"c" * 63, b"d" * 5_000_000, b""]
    stream = b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames) + b"\0\0\0"
    one, other = wire.FrameBuffer(4, 64), kind(4, 64)
    position = 0
    while position < len(stream):
        free = one.free()
        assert len(free) == len(other.free())
        step = min(len(free), 200_000, len(stream) - position)
        free[:step] = other.free()[:step] = stream[position : position + step]
        one.fill(step)
        other.fill(step)
        position += step
        assert frames_of(one) == frames_of(other)
    assert len(one.free()) == len(other.free())


@pytest.mark.skipif(codec.FrameBuffer is None, reason="the codec is not compiled here")
@pytest.mark.parametrize("count", [-1, 65, 2**62])
def test_the_compiled_buffer_refuses_more_bytes_than_it_has_room_for(count: int) -> None:
    buffer: Any = BUFFERS[-1](4, 64)
    with pytest.raises(ValueError, match="bytes"):
        buffer.fill(count)


@both
def test_the_buffer_does_not_grow_by_a_claim_alone(kind: Any) -> None:
    buffer = kind(4, 64)
    free = buffer.free()
    free[:4] = (2**32 - 1).to_bytes(4, "big")
    del free
    buffer.fill(4)
    assert buffer.take() is None
    assert len(buffer.free()) < 1024


def fill(buffer: wire.FrameBuffer, stream: bytes) -> None:
    while stream:
        free = buffer.free()
        step = min(len(free), len(stream))
        free[:step] = stream[:step]
        del free
        buffer.fill(step)
        stream = stream[step:]


BUFFERS = [wire.FrameBuffer] if codec.FrameBuffer is None else [wire.FrameBuffer, codec.FrameBuffer]


@pytest.mark.parametrize("kind", BUFFERS)
@pytest.mark.parametrize("packet", [2, 4])
def test_a_dropped_frame_says_how_it_began_and_what_is_missing(
    kind: type[wire.FrameBuffer], packet: int
) -> None:
    buffer = kind(packet, 64)
    fill(buffer, (50_000).to_bytes(packet, "big") + b"abc" + bytes(9_997))
    head, missing = buffer.drop()
    assert (head[:3], len(head), missing) == (b"abc", wire.DROPPED_HEAD_BYTES, 40_000)
    assert frames_of(buffer) == []
    fill(buffer, (1).to_bytes(packet, "big") + b"x")
    assert frames_of(buffer) == [b"x"]


@pytest.mark.parametrize("kind", BUFFERS)
def test_what_is_behind_a_dropped_frame_stays(kind: type[wire.FrameBuffer]) -> None:
    buffer = kind(4, 64)
    fill(buffer, b"\0\0\0\3abc\0\0\0\1x\0\0")
    assert buffer.drop() == (b"abc", 0)
    assert frames_of(buffer) == [b"x"]
    fill(buffer, b"\0\1y")
    assert frames_of(buffer) == [b"y"]


@both
def test_the_buffer_shrinks_again_after_a_large_frame(kind: Any) -> None:
    buffer = kind(4, 64)
    stream = (5_000_000).to_bytes(4, "big") + bytes(5_000_000)
    while stream:
        free = buffer.free()
        step = min(len(free), len(stream))
        free[:step] = stream[:step]
        del free
        buffer.fill(step)
        stream = stream[step:]
    assert [len(frame) for frame in frames_of(buffer)] == [5_000_000]
    assert len(buffer.free()) == 64


@both
def test_frames_are_taken_one_by_one(kind: Any) -> None:
    buffer = kind(1, 64)
    free = buffer.free()
    free[:6] = b"\x01a\x01b\x01c"
    del free
    buffer.fill(6)
    assert buffer.take() == b"a"
    assert frames_of(buffer) == [b"b", b"c"]


@both
@pytest.mark.parametrize("packet", [0, 3, 8, "4", None])
def test_a_packet_length_is_one_two_or_four_bytes(kind: Any, packet: Any) -> None:
    with pytest.raises(ValueError, match="packet"):
        kind(packet)


def parsed(term: object) -> wire.Message:
    return wire.parse(codec.Reader(codec.encode(term, OPTIONS)), OPTIONS)


def test_answers_and_messages_are_parsed_whole() -> None:
    answer = parsed((Atom("e"), 2, Atom("no")))
    assert (answer.kind, answer.id, answer.value) == ("e", 2, Atom("no"))
    message = parsed((Atom("M"), [1]))
    assert (message.kind, message.value) == ("M", [1])


@pytest.mark.parametrize(
    "term",
    [
        (Atom("C"), 1, Atom("m"), Atom("f")),
        (Atom("C"), Atom("one"), Atom("m"), Atom("f"), []),
        (Atom("C"), 1, b"m", Atom("f"), []),
        (Atom("r"), Atom("x"), 1),
        (Atom("Z"), 1),
        (),
    ],
)
def test_a_term_that_is_no_message_is_refused(term: object) -> None:
    reader = codec.Reader(codec.encode(term, OPTIONS))
    assert reader.call_head() is None
    with pytest.raises((errors.ProtocolError, errors.DecodeError)):
        wire.parse(reader, OPTIONS)


@given(st.binary(max_size=100))
def test_random_bytes_are_a_message_or_an_error(data: bytes) -> None:
    for frame in (data, b"\x83" + data, b"\x83h\x05w\x01C" + data):
        try:
            reader = codec.Reader(frame)
            if reader.call_head() is None:
                wire.parse(reader, OPTIONS)
        except (errors.ProtocolError, errors.DecodeError):
            continue


@pytest.mark.parametrize("raised", [RuntimeError("no"), SystemExit(3), KeyboardInterrupt()])
def test_an_exception_whose_text_raises_is_still_reported(raised: BaseException) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise raised

    frame = wire.failure(3, Mute(), [], OPTIONS)
    kind, id_, error = codec.decode(frame, OPTIONS)  # type: ignore[misc]
    assert (kind, id_) == ("e", 3)
    assert "str() failed" in "".join(map(chr, error[2]))


def test_compression_keeps_the_term_and_never_lengthens_the_frame() -> None:
    long = codec.encode([b"x" * 10_000], OPTIONS)
    assert len(wire.compress(long, 6)) < 200
    assert codec.decode(wire.compress(long, 6), OPTIONS) == [b"x" * 10_000]
    short = codec.encode(1, OPTIONS)
    assert wire.compress(short, 6) == short
