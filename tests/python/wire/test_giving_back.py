"""Calls that have come are taken back by whoever sent them: a page of two words decides, with two processes on it."""

from __future__ import annotations

import mmap
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from erl import codec

HERE = Path(__file__).parent
NONE = (1 << 64) - 1
FRAMES = 100_000_000
"""As many as `giving_back.c` sends at the most; a sparse file."""
MOST_GIVE_BACKS = int(os.environ.get("PY_GIVE_BACKS", "20000"))
MOST_SECONDS = int(os.environ.get("PY_GIVE_BACK_SECONDS", "6"))

pytestmark = pytest.mark.skipif(codec.FrameBuffer is None, reason="the codec in Python has no fence")


def call(number: int) -> bytes:
    return framed(b"\x83h\x05d\0\x01Cb" + struct.pack(">I", number) + b"j")


def framed(frame: bytes) -> bytes:
    return struct.pack(">I", len(frame)) + frame


def taken(above: int) -> bytes:
    return framed(b"\x83h\x02d\0\x01Tn\x08\0" + struct.pack("<Q", above))


class Buffer:
    """A buffer of frames with a page, fed from a pipe."""

    def __init__(self, words: int = 8) -> None:
        assert codec.FrameBuffer is not None
        self.frames = codec.FrameBuffer(4)
        self.page = memoryview(mmap.mmap(-1, 64)).cast("Q")
        self.page[1] = NONE
        self.frames.count_begun(self.page[:words])
        self.out, self.into = os.pipe()

    def come(self, *frames: bytes) -> None:
        os.write(self.into, b"".join(frames))
        self.frames.read(self.out)

    def begin(self) -> bool:
        turn = self.frames.turn
        return self.frames.next() is not None and bool(self.frames.begin(turn, (), True))

    def close(self) -> None:
        os.close(self.out)
        os.close(self.into)


@pytest.fixture
def buffer() -> Iterator[Buffer]:
    buffer = Buffer()
    yield buffer
    buffer.close()


def test_each_call_tells_its_number(buffer: Buffer) -> None:
    buffer.come(call(1), framed(b"\x83h\x02d\0\x01Mj"), call(2))
    assert buffer.begin()
    assert buffer.page[0] == 1
    assert buffer.frames.next() is not None
    assert buffer.frames.begin(buffer.frames.turn)  # the message, which has none
    assert buffer.begin()
    assert buffer.page[0] == 2
    assert not buffer.begin()


def test_a_call_above_the_limit_is_held_and_then_dropped(buffer: Buffer) -> None:
    buffer.come(call(1), call(2), call(3))
    assert buffer.begin()
    buffer.page[1] = 1
    assert not buffer.begin()
    assert (buffer.page[0], buffer.frames.is_held()) == (1, True)
    buffer.come(taken(1), call(4))
    buffer.frames.sort()
    assert (buffer.page[1], buffer.frames.is_held()) == (NONE, False)
    assert buffer.begin()
    assert (buffer.page[0], buffer.frames.next()) == (4, None)


def test_what_is_kept_begins_after_the_word(buffer: Buffer) -> None:
    buffer.come(call(1), call(2), call(3), call(4))
    buffer.page[1] = 2
    assert buffer.begin()
    assert buffer.begin()
    assert not buffer.begin()
    buffer.come(taken(3))  # the third had begun, as far as could be seen
    buffer.frames.sort()
    assert buffer.begin()
    assert buffer.page[0] == 3
    assert not buffer.begin()
    buffer.come(call(5))
    assert buffer.begin()
    assert buffer.page[0] == 5


def test_whoever_has_looked_at_a_call_that_is_dropped_does_not_begin_it(buffer: Buffer) -> None:
    buffer.come(call(1))
    turn = buffer.frames.turn
    assert buffer.frames.next() is not None
    buffer.page[1] = 0
    buffer.come(taken(0), call(2))
    buffer.frames.sort()
    assert not buffer.frames.begin(turn, (), True)
    assert buffer.begin()
    assert buffer.page[0] == 2


def test_other_messages_are_not_dropped(buffer: Buffer) -> None:
    message = b"\x83h\x02d\0\x01Mj"
    buffer.come(call(1), framed(message), call(2))
    buffer.page[1] = 0
    buffer.come(taken(0))
    buffer.frames.sort()
    assert buffer.frames.next() == message


def test_the_number_of_a_call_that_was_refused_is_used(buffer: Buffer) -> None:
    buffer.come(call(1))
    buffer.frames.sort()
    assert buffer.frames.refuse_call()
    buffer.come(call(3))
    assert buffer.begin()
    assert buffer.page[0] == 1
    assert buffer.begin()
    assert buffer.page[0] == 3
    buffer.page[1] = 3
    assert not buffer.frames.refuse_call()  # taken back meanwhile


def test_a_page_without_a_limit_holds_nobody() -> None:
    buffer = Buffer(words=1)
    buffer.page[1] = 0
    buffer.come(call(1), call(2))
    assert buffer.begin()
    assert buffer.begin()
    assert (buffer.page[0], buffer.frames.keeps_limit) == (2, False)
    buffer.close()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler, which the codec was compiled with somewhere else")
    to = tmp_path_factory.mktemp("giving") / "giving_back"
    subprocess.run([compiler, "-O2", "-o", to, HERE / "giving_back.c"], check=True)
    return to


def gave_back(program: Path, *options: str, kill_after_us: int = 0) -> tuple[list[int], str]:
    """Sent, taken back, in so many times, begun twice, lost; and what was printed."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as directory:
        page, table = Path(directory, "page"), Path(directory, "table")
        page.write_bytes(struct.pack("8Q", 0, NONE, *[0] * 6))
        with open(table, "wb") as file:
            file.truncate(FRAMES)
        command = [sys.executable, str(HERE / "begun_calls.py"), str(page), str(table), *options]
        limits = [str(MOST_GIVE_BACKS), str(MOST_SECONDS), str(kill_after_us)]
        run = subprocess.run(
            [program, page, table, *limits, *command],
            capture_output=True,
            text=True,
            timeout=MOST_SECONDS + 60,
        )
        assert run.returncode in (0, 1), run.stderr
        return [int(number) for number in re.findall(r"\d+", run.stdout)], run.stdout


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="takes two cores")
def test_no_call_begins_twice_and_none_is_lost(program: Path) -> None:
    (_, _, times, twice, lost), said = gave_back(program)
    assert (twice, lost) == (0, 0), said
    # A machine with other things to do makes few; `make test-giving-back` makes a million.
    assert times > 0, said


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="takes two cores")
def test_without_the_fence_calls_begin_twice(program: Path) -> None:
    """The control: what the test above would see."""
    for _ in range(10):
        (_, _, _, twice, _), said = gave_back(program, "unfenced")
        if twice:
            return
    pytest.fail(said)


@pytest.mark.parametrize("after", range(8))
def test_whoever_is_killed_has_told_what_it_had_begun(program: Path, after: int) -> None:
    (_, _, _, twice, _), said = gave_back(program, kill_after_us=150_000 + after * 7_001)
    assert twice == 0, said
