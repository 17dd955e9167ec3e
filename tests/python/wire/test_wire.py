"""Frames and messages: any split of the bytes gives the same messages, and what is none is refused."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erl import codec, errors
from erl.codec import Options
from erl.terms import Atom
from erl.values import steps
from erl.wire import NOTHING, frames, messages

OPTIONS = Options.from_flags(4)

# The one that specifies it, and the compiled one where there is one.
BUFFERS = [frames.FrameBuffer] if codec.FrameBuffer is None else [frames.FrameBuffer, codec.FrameBuffer]
both = pytest.mark.parametrize("kind", BUFFERS, ids=["Python", "compiled"][: len(BUFFERS)])
OUTLETS = [frames.Outlet] if codec.Outlet is None else [frames.Outlet, codec.Outlet]
both_outlets = pytest.mark.parametrize("kind", OUTLETS, ids=["Python", "compiled"][: len(OUTLETS)])
PIPE_BYTES = 65536


class Pipe:
    """Two ends; closed with the block."""

    def __enter__(self) -> Pipe:
        self.inward, self.outward = os.pipe()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.inward)
        if self.outward >= 0:
            os.close(self.outward)

    def fill(self, buffer: Any, data: bytes) -> None:
        """Have these bytes read, as many at once as the buffer has room for."""
        for start in range(0, len(data), PIPE_BYTES):
            os.write(self.outward, data[start : start + PIPE_BYTES])
            while buffer.read(self.inward, 0) > 0:
                pass


def frames_of(buffer: Any) -> list[bytes]:
    found = []
    while (frame := buffer.next()) is not None:
        assert buffer.begin(buffer.turn)
        found.append(frame)
    return found


def split(kind: Any, frames: list[bytes], packet: int, cuts: list[int], first_bytes: int = 64) -> list[bytes]:
    stream = b"".join(len(frame).to_bytes(packet, "big") + frame for frame in frames)
    buffer = kind(packet, first_bytes)
    seen: list[bytes] = []
    position = 0
    with Pipe() as pipe:
        while position < len(stream):
            step = min(cuts[position % len(cuts)], len(stream) - position)
            pipe.fill(buffer, stream[position : position + step])
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
@pytest.mark.parametrize("size", [65_535, 262_143, 262_144, 262_145, 4_200_000])
@pytest.mark.parametrize("first_bytes", [64, 65_536])
def test_a_large_frame_is_the_same_wherever_its_bytes_are_cut(kind: Any, size: int, first_bytes: int) -> None:
    frames = [b"a", bytes(range(256)) * (size // 256) + b"z" * (size % 256), b"b", b"x" * size, b"y" * size]
    for cuts in ([65536], [1, 65536], [131_071, 3], [size + 4, 5]):
        assert split(kind, frames, 4, cuts, first_bytes) == frames


@both
def test_what_is_read_behind_a_large_frame_that_nobody_has_taken_is_the_next(kind: Any) -> None:
    buffer = kind(4)
    large = b"x" * 1_000_000
    with Pipe() as pipe:
        pipe.fill(buffer, len(large).to_bytes(4, "big") + large)
        pipe.fill(buffer, b"\0\0\0\1a\0\0\0\2b")
        assert frames_of(buffer) == [large, b"a"]
        pipe.fill(buffer, b"c")
        assert frames_of(buffer) == [b"bc"]


@both
@pytest.mark.parametrize("come", [400_000, 1_000_000])
def test_a_large_frame_that_is_dropped_says_how_it_began(kind: Any, come: int) -> None:
    buffer = kind(4)
    with Pipe() as pipe:
        pipe.fill(buffer, (1_000_000).to_bytes(4, "big") + b"abc" + bytes(come - 4))
        os.write(pipe.outward, b"\0")
        assert buffer.read(pipe.inward, 0) > 0
        head, missing = buffer.drop()
        assert (head[:3], len(head), missing) == (b"abc", 4096, 1_000_000 - come)
        pipe.fill(buffer, bytes(missing) + b"\0\0\0\1x")
        assert frames_of(buffer) == [b"x"]


@both
@pytest.mark.parametrize("packet", [2, 4])
def test_a_dropped_frame_says_how_it_began_and_its_rest_is_skipped(kind: Any, packet: int) -> None:
    buffer = kind(packet, 64)
    with Pipe() as pipe:
        pipe.fill(buffer, (50_000).to_bytes(packet, "big") + b"abc" + bytes(9_997))
        head, missing = buffer.drop()
        assert (head[:3], len(head), missing) == (b"abc", 4096, 40_000)
        assert frames_of(buffer) == []
        pipe.fill(buffer, bytes(39_999))
        assert frames_of(buffer) == []
        pipe.fill(buffer, b"\0" + (1).to_bytes(packet, "big") + b"x")
        assert frames_of(buffer) == [b"x"]


@both
def test_what_is_behind_a_dropped_frame_stays(kind: Any) -> None:
    buffer = kind(4, 64)
    with Pipe() as pipe:
        pipe.fill(buffer, b"\0\0\0\3abc\0\0\0\1x\0\0")
        assert buffer.drop() == (b"abc", 0)
        assert frames_of(buffer) == [b"x"]
        pipe.fill(buffer, b"\0\1y")
        assert frames_of(buffer) == [b"y"]


@both
def test_answers_that_are_expected_and_words_of_unwanted_calls_are_found(kind: Any) -> None:
    buffer = kind(4, 64)
    buffer.expected.update([1, -300, 2**40])
    sent = [codec.encode((Atom("r"), id_, [id_]), OPTIONS) for id_ in (1, 7, -300, 2**40)]
    failed = codec.encode((Atom("e"), 1, Atom("no")), OPTIONS)
    unwanted = b"\x83h\x02d\0\x01Xb\0\0\1\0"
    with Pipe() as pipe:
        stream = b"".join(len(frame).to_bytes(4, "big") + frame for frame in [*sent, unwanted, failed])
        pipe.fill(buffer, stream)
        buffer.sort()
    assert buffer.answers == {1: failed, -300: sent[2], 2**40: sent[3]}
    assert (set(buffer.answered), buffer.unwanted, buffer.marks) == ({1, -300, 2**40}, [256], {256})
    assert frames_of(buffer) == [sent[1], unwanted]


@both
def test_a_frame_is_begun_by_one_only(kind: Any) -> None:
    buffer = kind(4, 64)
    done: list[int] = []
    with Pipe() as pipe:
        pipe.fill(buffer, b"\0\0\0\1a\0\0\0\1b")
        turn, frame = buffer.turn, buffer.next()
        assert frame == b"a"
        assert buffer.begin(turn, steps.each(done.append, 1))
        assert not buffer.begin(turn, steps.each(done.append, 2))
        assert (done, buffer.next()) == ([1], b"b")


@both
def test_a_wait_ends_where_more_is_there_than_was_seen_and_at_the_end(kind: Any) -> None:
    buffer = kind(4, 64)
    with Pipe() as pipe:
        seen = buffer.moves
        assert buffer.read(pipe.inward, 0, seen) == NOTHING
        pipe.fill(buffer, b"\0\0\0\1a")
        assert buffer.next() == b"a"
        assert buffer.read(pipe.inward, -1, seen) == NOTHING
        os.close(pipe.outward)
        pipe.outward = -1
        assert (buffer.read(pipe.inward), buffer.error) == (frames.CLOSED, 0)
    assert (buffer.read(pipe.inward, 0), buffer.error) == (frames.CLOSED, errno.EBADF)


@both
def test_what_one_thread_has_read_another_can_sort_while_it_reads(kind: Any) -> None:
    buffer = kind(4, 64)
    with Pipe() as pipe:
        pipe.fill(buffer, b"\0\0\0\1x")
        reader = threading.Thread(target=buffer.read, args=(pipe.inward, 20_000))
        reader.start()
        try:
            found: list[bytes] = []
            deadline = time.monotonic() + 5
            while not found and time.monotonic() < deadline:
                time.sleep(0.01)  # the other one is to wait in the read, if it does
                found = frames_of(buffer)
            assert found == [b"x"]
        finally:
            os.write(pipe.outward, b"\0\0\0\1y")
            reader.join()


@both_outlets
def test_what_is_pending_leaves_in_order(kind: Any) -> None:
    outlet = kind()
    sizes = [1, 0, 65_535, 1, 65_536, 65_537, 5, 300_000, 3]
    expected = b""
    with Pipe() as pipe:
        for number, size in enumerate(sizes):
            expected += bytes([number]) * size
            outlet.pending.append(bytes([number]) * size)
        came: list[bytes] = []
        reader = threading.Thread(target=lambda: came.extend(iter(lambda: os.read(pipe.inward, 9999), b"")))
        reader.start()
        assert outlet.flush(pipe.outward) == 0
        os.close(pipe.outward)
        pipe.outward = -1
        reader.join()
        assert (b"".join(came) == expected, outlet.pending) == (True, [])


@both_outlets
def test_a_write_that_fails_says_the_number_of_its_error(kind: Any) -> None:
    outlet = kind()
    outlet.pending.append(b"x")
    with Pipe() as pipe:
        os.close(pipe.outward)
        assert outlet.flush(pipe.outward) == errno.EBADF
        pipe.outward = -1


@both
@pytest.mark.parametrize("packet", [0, 3, 8, "4", None])
def test_a_packet_length_is_one_two_or_four_bytes(kind: Any, packet: Any) -> None:
    with pytest.raises(ValueError, match="packet"):
        kind(packet)


def parsed(term: object) -> messages.Message:
    return messages.parse(codec.Reader(codec.encode(term, OPTIONS)), OPTIONS)


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
        messages.parse(reader, OPTIONS)


@given(st.binary(max_size=100))
def test_random_bytes_are_a_message_or_an_error(data: bytes) -> None:
    for frame in (data, b"\x83" + data, b"\x83h\x05w\x01C" + data):
        try:
            reader = codec.Reader(frame)
            if reader.call_head() is None:
                messages.parse(reader, OPTIONS)
        except (errors.ProtocolError, errors.DecodeError):
            continue


@pytest.mark.parametrize("raised", [RuntimeError("no"), SystemExit(3), KeyboardInterrupt()])
def test_an_exception_whose_text_raises_is_still_reported(raised: BaseException) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise raised

    frame = messages.failure(3, Mute(), [], OPTIONS)
    kind, id_, error = codec.decode(frame, OPTIONS)  # type: ignore[misc]
    assert (kind, id_) == ("e", 3)
    assert "str() failed" in "".join(map(chr, error[2]))


def test_compression_keeps_the_term_and_never_lengthens_the_frame() -> None:
    long = codec.encode([b"x" * 10_000], OPTIONS)
    assert len(messages.compress(long, 6)) < 200
    assert codec.decode(messages.compress(long, 6), OPTIONS) == [b"x" * 10_000]
    short = codec.encode(1, OPTIONS)
    assert messages.compress(short, 6) == short


@both
def test_a_wait_that_is_about_to_begin_is_ended_by_another_thread(kind: Any) -> None:
    """However the two meet: between its last look and the wait, too."""
    read, write = os.pipe()
    main, go, is_over = threading.get_ident(), threading.Semaphore(0), False
    buffer = kind(4)
    buffer.woken = True

    def end_waits() -> None:
        while True:
            go.acquire()
            if is_over:
                return
            buffer.again()
            signal.pthread_kill(main, signal.SIGUSR1)

    # A wait that nobody ended would end by what comes then.
    rescue = threading.Timer(60, os.write, (write, b"late"))
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    waker = threading.Thread(target=end_waits)
    try:
        rescue.start()
        waker.start()
        for _ in range(3000):
            seen = buffer.moves
            go.release()
            while buffer.moves == seen:
                assert buffer.read(read, -1, seen) == NOTHING
    finally:
        is_over = True
        go.release()
        waker.join()
        rescue.cancel()
        rescue.join()
        signal.signal(signal.SIGUSR1, before)
        os.close(read)
        os.close(write)
